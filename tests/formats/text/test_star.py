import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrcz_dask.formats.text.star import read_star, star_text
from mrcz_dask.values.errors import ParameterError

words = st.text(
    st.characters(codec="ascii", exclude_categories=["C"], exclude_characters="\"'#"), max_size=20
).filter(lambda text: text == text.strip() and not text.startswith(("_", "data_", "loop_")))


@given(st.lists(st.tuples(words, words), max_size=8))
def test_there_and_back(rows: list[tuple[str, str]]) -> None:
    table = {"rlnA": [a for a, _ in rows], "rlnB": [b for _, b in rows]}
    assert read_star(star_text({"optics": {"rlnX": [1]}, "movies": table})) == {
        "optics": {"rlnX": ["1"]},
        "movies": table,
    }


def test_it_looks_as_relion_writes_it() -> None:
    text = star_text({"movies": {"rlnMicrographMovieName": ["a.mrcs"], "rlnVoltage": [300.0]}})
    assert text == (
        "# version 30001\n\ndata_movies\n\nloop_\n_rlnMicrographMovieName #1\n_rlnVoltage #2\n"
        "a.mrcs 300.000000\n\n"
    )


@pytest.mark.parametrize("name", ['a"b', "a\nb", "it's"])
def test_names_that_cannot_be_in_it(name: str) -> None:
    with pytest.raises(ParameterError, match="rename"):
        star_text({"movies": {"rlnA": [name]}})


def test_columns_of_one_length() -> None:
    with pytest.raises(ParameterError, match="length"):
        star_text({"movies": {"rlnA": [1, 2], "rlnB": [1]}})


def test_quotes_close_at_a_blank_and_a_backslash_is_itself() -> None:
    text = "data_a\nloop_\n_rlnA\n_rlnB\n'x y' C:\\new\n\"\" it's\n"
    assert read_star(text) == {"a": {"rlnA": ["x y", ""], "rlnB": ["C:\\new", "it's"]}}
