"""Results of stacks between runs: the same, or not at all."""

from pathlib import Path

import pytest

from mrcz_dask.noise.kept import Kept
from mrcz_dask.noise.results import NoiseParams, StackCurve, StackNoise, StackPairs
from mrcz_dask.values.errors import ParameterError

NOISE = StackNoise("a b.mrcz", 5, {"raw": [0.1, 1e-17], "filter": [None, None]}, {"raw": [1 / 3, None]})
PAIRS = StackPairs("a", ("b", "c"), (1.5, 2.5), (0.1, None), (0.2, 0.3))
CURVE = StackCurve("a", (1, 2), (10, 20), {"raw": [0.3, None]}, {"fit": [[0.1, 0.2, 0.3, None]] * 2})


@pytest.mark.parametrize("result", [NOISE, PAIRS, CURVE], ids=lambda r: type(r).__name__)
def test_what_is_kept_comes_back(tmp_path: Path, result) -> None:
    kept = Kept(tmp_path, "part", type(result))
    assert kept.get("a", "key") is None

    kept.put("a", "key", result)

    assert kept.get("a", "key") == result
    assert kept.get("a", "other") is None and kept.get("b", "key") is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"key": "key"}', '{"key": "key", "result": {}}', "null"])
def test_what_is_damaged_is_not_known(tmp_path: Path, text: str) -> None:
    kept = Kept(tmp_path, "stacks", StackNoise)
    kept.put("a", "key", NOISE)
    (tmp_path / "noise" / "stacks" / "a.json").write_text(text)

    assert kept.get("a", "key") is None


@pytest.mark.parametrize("wrong", [{"parts": ("a",)}, {"parts": ()}, {"sample": 0}, {"anchors": 0}])
def test_parameters_that_make_no_sense(wrong) -> None:
    with pytest.raises(ParameterError, match="expected some of stacks, dose, radius"):
        NoiseParams(**wrong)
