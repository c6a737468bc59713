from __future__ import annotations

from pathlib import Path

import pytest

from mrcz_dask.gain.options import GainOptions, parse_gamma, stated_exposure
from mrcz_dask.numerics.gain.gain import K2
from mrcz_dask.values.errors import ParameterError


def test_gamma_in_all_its_forms() -> None:
    assert parse_gamma(None).at(None) == 1
    assert parse_gamma("1.25").at(None) == 1.25
    assert parse_gamma("auto").at(2.0) == K2.at(2.0)
    assert parse_gamma("0.12,-1.04,-0.0336,1.04").at(1e9) == K2.at(9.0)
    assert parse_gamma("0.12,-1.04,-0.0336,1.04,1,2").at(1e9) == K2.at(2.0)
    assert parse_gamma("auto").to_dict()["calibrated"] == [0.25, 9.0]
    assert parse_gamma("2").to_dict() == {"value": 2.0}


@pytest.mark.parametrize("text", ["", "k2", "1,2", "-1", "nan", "11", "1,2,3,x", "nan,1,1,1"])
def test_other_gammas_are_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="gamma"):
        parse_gamma(text)


def test_a_curve_without_a_rate_says_what_to_do() -> None:
    with pytest.raises(ParameterError, match="--frame-time"):
        parse_gamma("auto").at(None)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"gain": "g", "rotate": 4}, "--gain-rotate"),
        ({"gain": "g", "flip": 3}, "--gain-flip"),
        ({"gain": "g", "auto": True, "rotate": 1}, "give one"),
        ({"gain": "g", "auto": True, "divide": True}, "give one"),
        ({"divide": True}, "--gain FILE"),
        ({"auto": True}, "--gain FILE"),
        ({"gamma": "auto"}, "--gain FILE"),
        ({"flip": 1, "defects": "d"}, "--gain FILE"),
        ({"gain": "g", "frame_time": 0.0}, "--frame-time"),
        ({"gain": "g", "gamma": "x"}, "--gain-gamma"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        GainOptions(**options)  # type: ignore[arg-type]


def test_options_go_through_a_dictionary() -> None:
    options = GainOptions("g.mrc", rotate=2, flip=1, dark="d.mrc", gamma="1.1", frame_time=0.2)
    assert GainOptions.from_dict(options.to_dict()) == options
    assert options.any_file
    assert not GainOptions().any_file


def test_the_mdoc_says_how_long_a_stack_was_exposed(tmp_path: Path) -> None:
    mdoc = tmp_path / "m.mdoc"
    mdoc.write_text("[FrameSet = 0]\nExposureTime = 6.0\n")
    assert stated_exposure(mdoc) == 6
    for content in ("", "ExposureTime = soon", "ExposureTime = -1", "ExposureTime = 1e9"):
        mdoc.write_text(f"[FrameSet = 0]\n{content}\n")
        assert stated_exposure(mdoc) is None
    assert stated_exposure(None) is stated_exposure(tmp_path / "no.mdoc") is None
