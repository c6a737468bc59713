"""What a footer says of a stack's processing, and whether an output is the one that a task would write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mrcz_dask.correction.tasks import (
    CorrectionTask,
    MemberRef,
    mask_path,
    output_files,
    output_name,
    output_path,
)
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import whole_digest
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.formats.verify import verify_file
from mrcz_dask.numerics.noise.correlation import noise_rows
from mrcz_dask.numerics.noise.quiet import far_below_zero
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.regression import BandFit
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import FormatError, OutputExistsError
from mrcz_dask.values.params import GainParams, Settings
from mrcz_dask.values.records import QUIET, StackResult, is_too_quiet
from mrcz_dask.values.sizes import some
from mrcz_dask.version import __version__

Noise = dict[str, float | None]
NO_GOOD = "Some of its own data are in its reference: look for copies of it; this is no improvement"
WITH_KOMA = ("contrast", "input")  # groups of settings that are kept with KOMA's
LONGEST = 40
ASK = "use --overwrite to replace it, or another output folder (-o)"


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


def steps(
    task: CorrectionTask, findings: Findings, noise: Noise, stored: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the steps that a run appends to a stack's provenance: gain (if any), outliers, koma, write."""
    gain = [_gain(task)] if task.settings.gain.gain else []
    return [*gain, _outliers(task), _koma(task, findings, noise), _written(task, findings, stored)]


def _gain(task: CorrectionTask) -> dict[str, Any]:
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


def _outliers(task: CorrectionTask) -> dict[str, Any]:
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


def _koma(task: CorrectionTask, findings: Findings, noise: Noise) -> dict[str, Any]:
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


def _written(task: CorrectionTask, findings: Findings, stored: dict[str, Any]) -> dict[str, Any]:
    own = {"key": task.key, "pixel_size": task.pixel_size, "pattern_step": findings.correction.step}
    return provenance.step(
        "write",
        parameters=task.settings.write.to_dict(),
        results=stored | own,
    )


def _input(task: CorrectionTask) -> dict[str, Any]:
    record = task.record
    return {"role": "stack", "name": record.name, "size": record.size, "digest": record.digest}


def _members(role: str, members: Sequence[MemberRef]) -> dict[str, Any]:
    return {"role": role, "names": [m.name for m in members], "digests": [m.digest for m in members]}


@dataclass(frozen=True, slots=True)
class Due:
    """A stack is to be corrected, because of this."""

    reason: str


def kept_result(task: CorrectionTask, known: StackResult | None, *, overwrite: bool) -> StackResult | Due:
    """Return the result of an output that is there, sound, from the same inputs and parameters; or why not.

    Parameters
    ----------
    task
        What would be done.
    known
        What the log says of this output. A file of that size and time is not read again.
    overwrite
        Whether what is there may be replaced whatever it is.

    Raises
    ------
    OutputExistsError
        When a file is there that no run over this folder made with these parameters; says which.
    """
    path = output_path(task)
    if not path.exists():
        return Due("no output yet" if known is None else "output gone")
    if known is not None and known.key == task.key and _untouched(path, known):
        files = known.files or output_files(task)
        return replace(known, kept=True, files=files) if _has_the_rest(task) else Due("output incomplete")
    report = verify_file(path)
    if report.status != "sound":
        found = f"{report.status}: {'; '.join(report.problems)}"
        ours = known is not None and report.status == "damaged"
        return _damaged(path, found, ours=ours or overwrite)
    last = last_steps(read_footer(path) or {})
    if last.get("write", {}).get("results", {}).get("key") == task.key:
        return _result(task, path, last) if _has_the_rest(task) else Due("output incomplete")
    if not overwrite and (why := forbidding(last, task.settings)):
        raise OutputExistsError(f"{path.name}: an output is there that differs ({why}); {ASK}")
    return Due(_change(task, last))


def forbidding(last: Mapping[str, Any], settings: Settings) -> str | None:
    """Return why an output must not be replaced unasked: made otherwise, or by something else; or None."""
    if not {"outliers", "koma", "write"} <= last.keys():
        return "no output of a run, as its footer says"
    changes = settings_changes(settings_in(last), settings.to_dict())
    if changes:
        return f"parameters changed: {some(changes)}"
    version = last["koma"].get("version")
    return None if version == __version__ else f"version changed: {version} -> {__version__}"


def settings_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs between two sets of parameters, such as ``radius 12 -> 16``; long ones are cut."""
    found = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            found += settings_changes(old or {}, new or {})
        elif old != new:
            found.append(f"{name} {_short(old)} -> {_short(new)}")
    return found


def _short(value: object) -> str:
    text = "none" if value is None or value == "" else str(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def last_steps(footer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the last provenance step of each name."""
    return {step["name"]: step for step in footer.get("provenance", [])}


def _untouched(path: Path, known: StackResult) -> bool:
    return tuple(measure(path)) == (known.bytes_out, known.mtime_ns)


def _damaged(path: Path, found: str, *, ours: bool) -> Due:
    if not ours:
        raise OutputExistsError(
            f"{path.name}: a file is there that is {found}, and no run over this folder is known to have "
            f"made it; {ASK}"
        )
    return Due(f"output {found}")


def _change(task: CorrectionTask, last: Mapping[str, Any]) -> str:
    """Return in what the inputs of an output differ from those of a task."""
    why = forbidding(last, task.settings)
    if why is not None:
        return why
    before, koma = last["outliers"]["inputs"][0], last["koma"]
    if before["digest"] != task.record.digest:
        return "input changed"
    if koma["results"].get("provisional") and not task.provisional:
        return "provisional until now"
    for window, members in zip(koma["inputs"], (task.short, task.long), strict=True):
        if change := _window_change(window, members):
            return change
    return "its time, its pixel size or the verdict on its contrast changed"


def _window_change(window: Mapping[str, Any], members: Sequence[MemberRef]) -> str | None:
    before = dict(zip(window["names"], window["digests"], strict=True))
    now = {one.name: one.digest for one in members}
    changed = [name for name in now if name in before and before[name] != now[name]]
    if changed:
        return f"neighbour changed: {some(changed)}"
    new, gone = [n for n in now if n not in before], [n for n in before if n not in now]
    parts = [f"{some(names)} {what}" for names, what in ((new, "joined"), (gone, "left")) if names]
    return f"neighbours changed: {', '.join(parts)}" if parts else None


def _has_the_rest(task: CorrectionTask) -> bool:
    """Whether mask and correction are there too, where the way to write asks for them."""
    stem, store, path = task.record.stem, SessionStore(task.store), output_path(task)
    try:
        match task.settings.write.write:
            case "recompressed":
                return store.has_correction(stem, (read_footer(path) or {})["recipe"]["digest"])
            case "references":
                digest = (read_footer(path) or {})["pixels"]["correction"]
                return store.has_correction(stem, digest, "references") and mask_path(task).exists()
            case _:
                return True
    except (FormatError, KeyError):
        return False


def _result(task: CorrectionTask, path: Path, last: Mapping[str, Any]) -> StackResult:
    mask = task.record.outliers
    return StackResult(
        name=task.name,
        output=output_name(task.record.stem, task.settings.write),
        bytes_in=task.record.size,
        bytes_out=measure(path).size,
        hot=int(mask["n_hot"]),
        dead=int(mask["n_dead"]),
        usable=task.usable,
        score=task.score,
        noise=last["koma"]["results"]["correlated_noise"],
        caveats=tuple(last["koma"]["caveats"]),
        digest=whole_digest(path),
        mtime_ns=measure(path).mtime_ns,
        key=task.key,
        provisional=task.provisional,
        kept=True,
        files=output_files(task),
    )
