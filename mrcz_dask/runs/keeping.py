"""Whether an output that is there already is the one this run would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrcz_dask.formats.digest import file_digest
from mrcz_dask.formats.reader import read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.runs.finish import FinishTask
from mrcz_dask.runs.outputs import mask_path, output_path
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.values.errors import OutputExistsError
from mrcz_dask.values.records import StackResult


def kept_result(task: FinishTask) -> StackResult | None:
    """Return the result of an output that is there, sound, from the same inputs and parameters; else None.

    None, too, where something beside it is gone (a mask, its correction in the store).

    Raises
    ------
    OutputExistsError
        When a file is there that is damaged, or was made from something else; says which.
    """
    path = output_path(task)
    if not path.exists():
        return None
    report = verify_file(path)
    if report.status != "sound":
        raise OutputExistsError(
            f"{path.name}: an output is there but {report.status}: {'; '.join(report.problems)}; "
            "use --overwrite to write it again"
        )
    footer = read_footer(path) or {}
    last = last_steps(footer)
    if last.get("write", {}).get("results", {}).get("key") != task.key:
        raise OutputExistsError(
            f"{path.name}: an output is there that was made from other inputs or parameters; "
            "use --overwrite to replace it, or another output folder (-o)"
        )
    return _result(task, path, last) if _has_the_rest(task, footer) else None


def _has_the_rest(task: FinishTask, footer: dict[str, Any]) -> bool:
    """Whether mask and correction are there too, where the way to write asks for them."""
    stem, store = task.record.stem, SessionStore(task.store)
    match task.settings.write.write:
        case "recompressed":
            return store.has_correction(stem, footer["recipe"]["digest"])
        case "references":
            digest = footer["pixels"]["correction"]
            return store.has_correction(stem, digest, "references") and mask_path(task).exists()
        case _:
            return True


def last_steps(footer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the last provenance step of each name."""
    return {step["name"]: step for step in footer.get("provenance", [])}


def _result(task: FinishTask, path: Path, last: dict[str, dict[str, Any]]) -> StackResult:
    mask = task.record.outliers
    return StackResult(
        name=task.name,
        output=path.name,
        bytes_in=task.record.size,
        bytes_out=path.stat().st_size,
        hot=int(mask["n_hot"]),
        dead=int(mask["n_dead"]),
        usable=task.usable,
        score=task.score,
        noise=last["koma"]["results"]["correlated_noise"],
        caveats=tuple(last["koma"]["caveats"]),
        digest=file_digest(path),
        kept=True,
    )
