"""What a stack's footer says of its processing; nothing volatile, so that equal runs give equal files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mrcz_dask.formats import provenance
from mrcz_dask.numerics.correction import Correction
from mrcz_dask.numerics.regression import BandFit
from mrcz_dask.runs.window import MemberRef

if TYPE_CHECKING:
    from mrcz_dask.runs.finish import FinishTask

Noise = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What the second pass decided for a stack before it wrote it."""

    correction: Correction
    fits: tuple[BandFit, ...]
    caveats: tuple[str, ...]


def steps(task: FinishTask, findings: Findings, noise: Noise, stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps that a run appends to a stack's provenance: outliers, koma, write."""
    return [_outliers(task), _koma(task, findings, noise), _written(task, findings, stored)]


def _outliers(task: FinishTask) -> dict[str, Any]:
    record = task.record
    return provenance.step(
        "outliers",
        parameters=task.settings.outliers.to_dict(),
        inputs=[_input(task)],
        results={
            "mask": record.outliers,
            "mask_even_frames": record.outliers_even,
            "dose_per_frame": record.dose,
            "statistics": {
                "min": record.low,
                "max": record.high,
                "mean": record.average,
                "rms": record.rms,
            },
        },
        caveats=list(record.caveats),
        skipped=["dark: none given", "gain: none given"],
    )


def _koma(task: FinishTask, findings: Findings, noise: Noise) -> dict[str, Any]:
    return provenance.step(
        "koma",
        parameters=task.settings.koma.to_dict() | {"contrast": task.settings.contrast.to_dict()},
        inputs=[_members("short window", task.short), _members("long window", task.long)],
        results={
            "usable_as_reference": task.usable,
            "provisional": task.provisional,
            "bands": [fit.to_dict() for fit in findings.fits],
            "correlated_noise": noise,
            "acquired": task.acquired,
            "acquired_from": task.acquired_from,
        },
        caveats=list(findings.caveats),
    )


def _written(task: FinishTask, findings: Findings, stored: dict[str, Any]) -> dict[str, Any]:
    own = {"key": task.key, "pixel_size": task.pixel_size, "pattern_step": findings.correction.step}
    return provenance.step(
        "write",
        parameters=task.settings.write.to_dict(),
        results=stored | own,
    )


def _input(task: FinishTask) -> dict[str, Any]:
    record = task.record
    return {"role": "stack", "name": record.name, "size": record.size, "digest": record.digest}


def _members(role: str, members: Sequence[MemberRef]) -> dict[str, Any]:
    return {"role": role, "names": [m.name for m in members], "digests": [m.digest for m in members]}
