"""What the footers say."""

import getpass
import socket
from pathlib import Path
from typing import Any

import pytest

import mrcz_dask
from mrcz_dask.formats.provenance import verify_chain
from tests.correction.conftest import WRITES

SHAPE = (4, 64, 80)


class TestProvenance:
    """What the footers say."""

    @pytest.mark.parametrize("write", WRITES)
    def test_nothing_volatile_and_no_name_of_a_person_or_machine(
        self, night: Path, tmp_path: Path, koma: Any, write: str
    ) -> None:
        outcome = koma(night, tmp_path / "out", write=write)
        names = {str(tmp_path), str(night), socket.gethostname()} | ({getpass.getuser()} - {"root"})
        for result in outcome.results:
            text = repr(mrcz_dask.read_footer(tmp_path / "out" / result.output))
            assert [name for name in names if name in text] == []
            assert result.name in text

    def test_is_appended_to_what_the_input_carried(self, night: Path, koma: Any) -> None:
        from mrcz_dask.formats import provenance

        victim = sorted(night.glob("*.mrcz"))[0]
        before = provenance.append(None, provenance.step("camera", parameters={"mode": "counting"}))
        mrcz_dask.write(victim, mrcz_dask.read(victim), provenance=before, meta={"voltage": 300})
        koma(night)
        footer = mrcz_dask.read_footer(night / "koma" / victim.name) or {}
        assert footer["provenance"][:1] == before
        assert [s["name"] for s in footer["provenance"]] == ["camera", "outliers", "koma", "write"]
        assert verify_chain(footer["provenance"]) == []
        assert footer["meta"] == {"voltage": 300}

    def test_holds_what_was_decided(self, night: Path, koma: Any) -> None:
        outcome = koma(night)
        result = outcome.results[2]
        footer = mrcz_dask.read_footer(night / "koma" / result.output) or {}
        outliers, window, write = footer["provenance"][-3:]
        own, added = outliers["results"]["mask"], outliers["results"]["pooled"]
        assert own["n_hot"] + added["n_hot"] == result.hot and own["n_dead"] + added["n_dead"] == result.dead
        assert outliers["inputs"][0]["name"] == result.name
        assert outliers["inputs"][1]["names"] == [s.name for s in outcome.plan.stacks]
        names = [s.name for s in outcome.plan.stacks]
        assert window["inputs"][0]["names"] == [names[k] for k in (0, 1, 3, 4)]
        assert all(len(d) == 32 for d in window["inputs"][0]["digests"])
        assert window["results"]["correlated_noise"] == result.noise
        assert window["results"]["acquired_from"] == "mdoc"
        assert window["parameters"]["radius"] == 2
        assert write["results"]["generator"] == "Philox4x32-10"
        assert {s["version"] for s in footer["provenance"]} == {mrcz_dask.__version__}
