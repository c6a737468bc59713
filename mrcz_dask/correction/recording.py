"""What a stack's footer says of its processing; nothing volatile, so that equal runs give equal files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrcz_dask.correction.finish_task import FinishTask
from mrcz_dask.correction.window import MemberRef
from mrcz_dask.formats import provenance
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.noise.quiet import far_below_zero
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.regression import BandFit
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.params import GainParams
from mrcz_dask.values.records import QUIET, is_too_quiet

Noise = dict[str, float | None]
NO_GOOD = "Some of its own data are in its reference: look for copies of it; this is no improvement"
WITH_KOMA = ("contrast", "input")  # groups of settings that are kept with KOMA's


def settings_in(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters that the steps of an output record, in the groups of `Settings`."""
    found = {name: steps[name].get("parameters") or {} for name in ("outliers", "koma", "write")}
    koma = dict(found["koma"])
    with_koma = {name: koma.pop(name, {}) for name in WITH_KOMA}
    gain = steps["gain"]["parameters"] if "gain" in steps else GainParams().to_dict()
    return found | with_koma | {"koma": koma, "gain": gain}


@dataclass(frozen=True, slots=True)
class Findings:
    """What the second pass decided for a stack before it wrote it."""

    correction: Correction
    fits: tuple[BandFit, ...]
    caveats: tuple[str, ...]

    def all_caveats(self, noise: Noise, shape: tuple[int, int, int]) -> tuple[str, ...]:
        """Return the caveats, with that of a stack of a shape whose noise is too low after the correction."""
        after, pixels = noise["corrected"], noise_rows(shape[1:]).size * shape[2]
        quiet = far_below_zero(after, noise["filtered"], shape[0] // 2, pixels)
        if is_too_quiet(self.caveats) or not quiet:
            return self.caveats
        return *self.caveats, f"{QUIET}: R is {after:.2e} after the correction, far below 0. {NO_GOOD}"


def steps(task: FinishTask, findings: Findings, noise: Noise, stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the steps that a run appends to a stack's provenance: gain (if any), outliers, koma, write."""
    gain = [_gain(task)] if task.settings.gain.gain else []
    return [*gain, _outliers(task), _koma(task, findings, noise), _written(task, findings, stored)]


def _gain(task: FinishTask) -> dict[str, Any]:
    params = task.settings.gain
    about = SessionStore(task.store).gain_about(params.gain) or {}
    return provenance.step(
        "gain",
        parameters=params.to_dict(),
        inputs=[_input(task)],
        results=about | {"gamma": task.record.gamma},
        skipped=_skipped(about),
    )


def _skipped(about: Mapping[str, Any]) -> list[str]:
    return [f"{name}: none given" for name in ("dark", "gain", "defects") if name not in about]


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
        skipped=[] if task.settings.gain.gain else _skipped({}),
    )


def _koma(task: FinishTask, findings: Findings, noise: Noise) -> dict[str, Any]:
    groups = task.settings.to_dict()
    return provenance.step(
        "koma",
        parameters=task.settings.koma.to_dict() | {name: groups[name] for name in WITH_KOMA},
        inputs=[_members("short window", task.short), _members("long window", task.long)],
        results={
            "usable_as_reference": task.usable,
            "provisional": task.provisional,
            "breaks": [one.to_dict() for one in task.breaks],
            "bands": [fit.to_dict() for fit in findings.fits],
            "correlated_noise": noise,
            "acquired": task.acquired,
            "acquired_from": task.acquired_from,
        },
        caveats=list(findings.all_caveats(noise, task.record.shape)),
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
