from pathlib import Path
from typing import Any

import pytest

from benchmarks.codecs.params import PARTS, BenchParams
from mrcz_dask.values.errors import ParameterError


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"threads": ()}, "threads is empty"),
        ({"doses": (1.0, 0.0)}, "dose is 0"),
        ({"codecs": ("nonsense",)}, "nonsense"),
        ({"codecs": ("none",)}, "Table 1"),
        ({"codecs": ("zstd:x",)}, "zstd:x"),
        ({"shape": (3, 4)}, "frames, rows, columns"),
        ({"shape": (0, 3, 4)}, "shape is 0"),
        ({"levels": (0, 3)}, "level is 0"),
        ({"block_sizes": (-1,)}, "block size is -1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"metadata_bytes": 1}, "metadata size"),
        ({"only": "figure"}, "figure"),
    ],
)
def test_what_makes_no_sense_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        BenchParams(**{"threads": (1,), **wrong})


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ParameterError, match=r"threads is 0.*repeats is 0"):
        BenchParams(threads=(0,), repeats=0)


def test_parts() -> None:
    assert BenchParams(threads=(1,)).parts == PARTS
    assert BenchParams(threads=(1,), only="dose").parts == ("dose",)


def test_a_stack_is_known_by_its_name_alone() -> None:
    params = BenchParams(threads=(1,), stack=Path("/home/somebody/stack.mrcz"))
    assert params.to_dict()["stack"] == "stack.mrcz"
    assert BenchParams(threads=(1,)).to_dict()["stack"] is None


def test_levels_are_those_that_a_codec_knows() -> None:
    params = BenchParams(threads=(1,), codecs=("zstd:1", "zstd:5", "noise:1:none", "auto"), levels=(1, 4))
    assert params.level_codecs == ("zstd:1:bit", "zstd:4:bit", "noise:1:none")
    assert BenchParams(threads=(1,)).level_dose == 1.5
    assert BenchParams(threads=(1,), doses=(4.0, 1.0)).level_dose == 1.0
    kinds = {text.split(":")[0] for text in BenchParams(threads=(1,)).level_codecs}
    assert kinds == {"lz4", "zlib", "zstd"}


def test_auto_chooses_its_blocks_itself() -> None:
    params = BenchParams(threads=(1,), block_sizes=(4096, 8192))
    assert params.blocks_for("auto:small") == (0,)
    assert params.blocks_for("zstd:1") == (4096, 8192)
