import pytest

from mrcz_dask.values.checks import parse_seconds
from mrcz_dask.values.errors import ParameterError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("1.5m", 90),
        ("30min", 1800),
        ("2h", 7200),
        ("1d", 86400),
        (" 5 s ", 5),
        ("0", 0),
        (".5", 0.5),
        ("2.0", 2),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_seconds(text, "--settle") == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "5 weeks", "1h30m", "nan", "inf"])
def test_what_is_none(text: str) -> None:
    with pytest.raises(ParameterError, match=r"--settle is .*expected a time such as 90s"):
        parse_seconds(text, "--settle")
