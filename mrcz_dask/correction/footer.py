"""Provenance for the footers of outputs, and the decision whether an output of an earlier run can be kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from filecmp import cmp
from pathlib import Path
from typing import Any

from mrcz_dask.correction.tasks import CorrectionTask, output_name
from mrcz_dask.formats import provenance
from mrcz_dask.formats.digest import files_in, whole_digest
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.provenance import steps_in
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
from mrcz_dask.values.texts import some
from mrcz_dask.version import __version__

Noise = dict[str, float | None]
NO_GOOD = "Some of its own data are in its reference: look for copies of it; this is no improvement"
WITH_KOMA = ("contrast", "input")  # groups of settings that are kept with KOMA's
LONGEST = 40
ASK = "use --overwrite to replace it, or another output folder (-o)"


@dataclass(frozen=True, slots=True)
class Findings:
    """Record of what the fit of a stack gave: its correction, the fits of its bands, its caveats, what of
    its references is the specimen's, the evidence of its pattern, and the outliers that only others show.
    """

    correction: Correction
    fits: tuple[BandFit, ...]
    caveats: tuple[str, ...]
    shared: dict[str, Any]
    evidence: dict[str, Any]
    added: dict[str, int]

    def all_caveats(self, noise: Noise, shape: tuple[int, int, int]) -> tuple[str, ...]:
        """Return the stack's caveats, with one more if R after correction is too low to be true."""
        after, pixels = noise["corrected"], noise_rows(shape[1:]).size * shape[2]
        too_low = far_below_zero(after, noise["filtered"], shape[0] // 2, pixels)
        if is_too_quiet(self.caveats) or not too_low:
            return self.caveats
        return *self.caveats, f"{QUIET}: R is {after:.2e} after the correction, far below 0. {NO_GOOD}"


def provenance_steps(
    task: CorrectionTask, findings: Findings, noise: Noise, stored: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the provenance steps for an output's footer: gain (if any), outliers, koma, write.

    Nothing volatile is in them, so that equal runs give equal files.

    Parameters
    ----------
    task, findings, noise
        Task of the stack, results of its fit, and R by kind.
    stored
        How the pixels are stored.
    """
    record, settings = task.record, task.settings
    inputs = [{"role": "stack", "name": record.name, "size": record.size, "digest": record.digest}]
    steps = []
    if settings.gain.gain:
        about = SessionStore(task.store).gain_about(settings.gain.gain) or {}
        steps.append(
            provenance.step(
                "gain",
                parameters=settings.gain.to_dict(),
                inputs=inputs,
                results=about | {"gamma": record.gamma},
                skipped=_not_given(about),
            )
        )
    pool, pooled = task.pool, {}
    if pool is not None:
        role = {"role": "outlier evidence", "block": [pool.start, pool.stop]}
        names, digests = ([getattr(m, about) for m in pool.members] for about in ("name", "digest"))
        inputs = [*inputs, role | {"names": names, "digests": digests}]
        pooled = {"pooled": findings.added}
    outliers = provenance.step(
        "outliers",
        parameters=settings.outliers.to_dict(),
        inputs=inputs,
        results={
            **pooled,
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
        skipped=[] if settings.gain.gain else _not_given({}),
    )
    own = {"key": task.key, "pixel_size": task.pixel_size, "pattern_step": findings.correction.step}
    write = provenance.step("write", parameters=settings.write.to_dict(), results=stored | own)
    return [*steps, outliers, _koma_step(task, findings, noise), write]


def _koma_step(task: CorrectionTask, findings: Findings, noise: Noise) -> dict[str, Any]:
    settings = task.settings.to_dict()
    windows = (("short window", task.short), ("long window", task.long))
    return provenance.step(
        "koma",
        parameters=settings["koma"] | {name: settings[name] for name in WITH_KOMA},
        inputs=[
            {"role": role, "names": [m.name for m in members], "digests": [m.digest for m in members]}
            for role, members in windows
        ],
        results={
            "usable_as_reference": task.usable,
            "provisional": task.provisional,
            "breaks": [item.to_dict() for item in task.breaks],
            **({"groups": [asdict(group) for group in task.groups]} if task.groups else {}),
            "bands": [fit.to_dict() for fit in findings.fits],
            **({"shared_structure": findings.shared} if findings.shared else {}),
            **({"evidence": findings.evidence} if findings.evidence else {}),
            "correlated_noise": noise,
            "acquired": task.acquired,
            "acquired_from": task.acquired_from,
        },
        caveats=list(findings.all_caveats(noise, task.record.shape)),
    )


def _not_given(about_gain: Mapping[str, Any]) -> list[str]:
    return [f"{name}: none given" for name in ("dark", "gain", "defects") if name not in about_gain]


def last_steps(footer: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the newest provenance step of each name (gain, outliers, koma, write) in a footer."""
    return {str(step.get("name")): step for step in steps_in(footer.get("provenance"), "the footer")}


def settings_in(steps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the parameters with which an output was made, read from its provenance steps."""
    groups = {name: steps[name].get("parameters") or {} for name in ("outliers", "koma", "write")}
    # older versions had neither
    groups["outliers"] = {"lines": False, **groups["outliers"]}
    koma = {"pool": 0, **groups["koma"]}
    with_koma = {name: koma.pop(name, {}) for name in WITH_KOMA}
    gain = steps["gain"]["parameters"] if "gain" in steps else GainParams().to_dict()
    return groups | with_koma | {"koma": koma, "gain": gain}


def settings_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return how two sets of parameters differ, as texts such as ``radius 12 -> 16``, for messages."""
    changes = []
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if isinstance(old, Mapping) or isinstance(new, Mapping):
            changes += settings_changes(old or {}, new or {})
        elif old != new:
            texts = ["none" if value in (None, "") else str(value) for value in (old, new)]
            changes.append(
                f"{name} " + " -> ".join(t if len(t) <= LONGEST else f"{t[:LONGEST]}..." for t in texts)
            )
    return changes


def forbidding(last: Mapping[str, Any], settings: Settings) -> str | None:
    """Return why an output must not be replaced without `--overwrite`, such as changed parameters; None if it
    may.

    Parameters
    ----------
    last
        Last provenance step of each name in the output's footer.
    settings
        Settings of the run that would replace it.
    """
    if not {"outliers", "koma", "write"} <= last.keys():
        return "no output of a run, as its footer says"
    if changes := settings_changes(settings_in(last), settings.to_dict()):
        return f"parameters changed: {some(changes)}"
    version = last["koma"].get("version")
    return None if version == __version__ else f"version changed: {version} -> {__version__}"


def kept_result(task: CorrectionTask, known: StackResult | None, *, overwrite: bool) -> StackResult | str:
    """Return the result of an output that can be kept, or the reason why its stack must be corrected again.

    Parameters
    ----------
    task
        Task that would write the output.
    known
        Last result of this output in the log, of a run over this session. A file of that size and time is
        not read again, only what belongs to it.
    overwrite
        Whether any file may be replaced.

    Raises
    ------
    OutputExistsError
        If a file is there that no run over this folder made with these parameters from the stack's pixels;
        says which.
    """
    path = task.output
    if not path.exists():
        return "no output yet" if known is None else "output gone"
    if (
        known is not None
        and known.files
        and known.key == task.key
        and measure(path) == (known.bytes_out, known.mtime_ns)
    ):
        if lost := _lost(task, known):
            return f"{some(lost)} gone or changed"
        return replace(known, kept=True)
    last: Mapping[str, Any] = {}
    with suppress(FormatError):
        last = last_steps(read_footer(path) or {})
    made_from = last["outliers"]["inputs"][0]["digest"] if "outliers" in last else task.record.digest
    if not overwrite and made_from != task.record.digest:
        raise OutputExistsError(
            f"{path.name}: was made from other pixels than {task.name} has now, and may be the only copy "
            f"of them; {ASK}"
        )
    report = verify_file(path)
    if report.status not in ("sound", "partly-checked"):
        problem = f"{report.status}: {'; '.join(report.problems)}"
        if not overwrite and (known is None or report.status != "damaged"):
            raise OutputExistsError(
                f"{path.name}: a file is there that is {problem}, and no run over this folder is known to "
                f"have made it; {ASK}"
            )
        return f"output {problem}"
    if last.get("write", {}).get("results", {}).get("key") == task.key:
        if not _is_complete(task):
            return "output incomplete"
        koma = last["koma"]
        noise, caveats = koma["results"]["correlated_noise"], tuple(koma["caveats"])
        evidence, added = koma["results"].get("evidence", {}), last["outliers"]["results"].get("pooled", {})
        return stack_result(task, noise, caveats, evidence, added, kept=True)
    if not overwrite and (why := forbidding(last, task.settings)):
        raise OutputExistsError(f"{path.name}: an output is there that differs ({why}); {ASK}")
    return _reason(task, last)


def stack_result(
    task: CorrectionTask,
    noise: Noise,
    caveats: tuple[str, ...],
    evidence: dict[str, Any],
    added: dict[str, int],
    *,
    kept: bool = False,
) -> StackResult:
    """Build the record of a finished output: file size, digest, outliers, R, caveats and evidence."""
    size, mtime_ns = measure(task.output)
    mask = task.record.outliers
    return StackResult(
        name=task.name,
        output=output_name(task.record.stem, task.settings.write),
        bytes_in=task.record.size,
        bytes_out=size,
        hot=int(mask["n_hot"]) + added.get("n_hot", 0),
        dead=int(mask["n_dead"]) + added.get("n_dead", 0),
        usable=task.usable,
        score=task.score,
        noise=noise,
        caveats=caveats,
        digest=whole_digest(task.output),
        mtime_ns=mtime_ns,
        key=task.key,
        provisional=task.provisional,
        kept=kept,
        files=files_in((task.output, *task.belongings), Path(task.folder)),
        evidence=evidence,
    )


def _lost(task: CorrectionTask, known: StackResult) -> list[str]:
    """Return the names of files that belong to an output and are gone, or not those that the run wrote."""
    folder, own = Path(task.folder), known.output
    wrote = {file for file in known.files if not f"{file[0]}/".startswith(f"{own}/")}
    changed = wrote ^ set(files_in(task.belongings, folder))
    store, stem = SessionStore(task.store), task.record.stem
    gone = [group for group in ("thumbnails", "lasting") if not store.is_whole(group, stem)]
    return sorted({name for name, _ in changed}) + gone


def _is_complete(task: CorrectionTask) -> bool:
    """Whether the .mdoc, the mask and the correction that belong to the output are there, too."""
    stem, store, write = task.record.stem, SessionStore(task.store), task.settings.write.write
    if not all(store.is_whole(group, stem) for group in ("thumbnails", "lasting")):
        return False
    mdoc = Path(f"{task.output}.mdoc")
    if task.mdoc is not None and not (mdoc.exists() and cmp(mdoc, task.mdoc, shallow=False)):
        return False
    try:
        footer = {} if write == "normalized" else read_footer(task.output) or {}
        if write == "recompressed":
            return store.has_correction(stem, footer["recipe"]["digest"])
        if write == "references":
            digest = footer["pixels"]["correction"]
            return (
                store.has_correction(stem, digest, "references")
                and task.mask_output.exists()
                and verify_file(task.mask_output).status == "sound"
            )
    except (FormatError, KeyError):
        return False
    return True


def _reason(task: CorrectionTask, last: Mapping[str, Any]) -> str:
    """Name the change since an output was made."""
    why = forbidding(last, task.settings)
    if why is not None:
        return why
    koma = last["koma"]
    if last["outliers"]["inputs"][0]["digest"] != task.record.digest:
        return "input changed"
    if koma["results"].get("provisional") and not task.provisional:
        return "provisional until now"
    inputs = [*koma["inputs"], *last["outliers"]["inputs"][1:]]
    pool = [] if task.pool is None else [task.pool.members]
    for window, members in zip(inputs, (task.short, task.long, *pool), strict=False):
        before = dict(zip(window["names"], window["digests"], strict=True))
        now = {member.name: member.digest for member in members}
        if changed := [name for name in now if name in before and before[name] != now[name]]:
            return f"neighbor changed: {some(changed)}"
        joined, left = [n for n in now if n not in before], [n for n in before if n not in now]
        if parts := [
            f"{some(names)} {change}" for names, change in ((joined, "joined"), (left, "left")) if names
        ]:
            return f"neighbors changed: {', '.join(parts)}"
    return "its time, its pixel size or the verdict on its contrast changed"
