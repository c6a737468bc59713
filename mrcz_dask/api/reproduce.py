"""Makes outputs again from their inputs, as their footers say, and compares bit for bit."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from mrcz_dask.api.comparison import Reproduction as Reproduction
from mrcz_dask.api.comparison import compare
from mrcz_dask.correction.correct_stack import correct_stack
from mrcz_dask.correction.footer import last_steps, settings_in
from mrcz_dask.correction.plan import Plan
from mrcz_dask.correction.run import carry_out
from mrcz_dask.correction.sum_stack import sum_and_mask
from mrcz_dask.correction.tasks import (
    MASK,
    REFERENCE,
    STORE_NAME,
    CorrectionTask,
    Pool,
    SumTask,
    member_ref,
    output_stem,
    store_of,
)
from mrcz_dask.counting.again import count_again, differing, is_events, steps_of
from mrcz_dask.counting.recording import STEP
from mrcz_dask.counting.rendering import STEP as FRACTIONS
from mrcz_dask.counting.rendering import stem_of_events
from mrcz_dask.engine.client import SerialClient
from mrcz_dask.formats.digest import whole_digest
from mrcz_dask.formats.places import distinct_name, stem_of
from mrcz_dask.formats.sources import read_footer
from mrcz_dask.formats.text.mdoc import find_mdoc
from mrcz_dask.gain.options import stated_exposure
from mrcz_dask.session.discovery import discover
from mrcz_dask.session.entries import Acquired, Discovery
from mrcz_dask.session.groups import Group
from mrcz_dask.session.log import last_results, read_messages
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import FormatError, PlaceError, ReferenceNotFoundError, SessionError
from mrcz_dask.values.messages import Listener, Message, PhaseStarted, StackDone, silent
from mrcz_dask.values.params import Settings
from mrcz_dask.values.records import Break, StackRecord, StackResult
from mrcz_dask.values.texts import some

Steps = dict[str, dict[str, Any]]


def reproduce(
    path: Path,
    session: Path | None = None,
    listen: Listener = silent,
    *,
    calibration: Path | None = None,
    detector: str | None = None,
) -> Reproduction:
    """Make an output of `koma` or `count` again from its inputs as its footer says, and compare.

    Parameters
    ----------
    path
        An output of `koma`, normalized or recompressed; a counted stack, or an event list.
    session
        Folder of the inputs; by default the folder above the file or its own.
    listen
        Gets messages about the progress.
    calibration, detector
        Calibration and detector function of counted stacks, if they are not beside it: see `count_again`.

    Raises
    ------
    PlaceError, FormatError
        When the file is no output of `koma`, or its footer does not say how it was made.
    ReferenceNotFoundError
        When an input is not where it should be.
    SessionError
        When an input is not the one that was used.
    """
    counted = steps_of(path)
    if counted and counted[-1]["name"] in (STEP, FRACTIONS):
        return _counted(path, counted, session, listen, calibration, detector)
    steps = _steps(path)
    folder = session or _session(path, steps["outliers"]["inputs"][0]["name"])
    version = str(steps["koma"].get("version"))
    with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as temporary:
        place = Path(temporary)
        (place / "again").mkdir()
        store = SessionStore(place / "again" / STORE_NAME)
        store.create()
        own = _stem(path, steps)
        _take_gain(path, own, settings_of(steps).gain.gain, store)
        records = _prepare_all(folder, own, steps, store, listen)
        again = _finish(path, steps, records, folder, place)
        if path.name.endswith(MASK):
            again = again.with_name(again.name.replace(REFERENCE, MASK))
        return compare(path, again, version)


def reproduce_session(
    folder: Path, session: Path | None = None, listen: Listener = silent
) -> dict[Path, Reproduction]:
    """Make all outputs of a folder again from their inputs, in one run, and compare each bit for bit.

    Parameters
    ----------
    folder
        The output folder.
    session
        Folder of the inputs; by default the folder above.
    listen
        Gets messages about the progress.

    Returns
    -------
    dict
        The outputs that are there, by path. What is made for a comparison is removed after it; the sums of
        the session are in a temporary folder until the end.

    Raises
    ------
    PlaceError
        When no output of `koma` is there.
    ReferenceNotFoundError
        When inputs are not where they should be.
    """
    results = last_results(read_messages(folder), StackResult)
    paths = {
        result.output: folder / result.output
        for result in results.values()
        if (folder / result.output).exists()
    }
    if not paths:
        raise PlaceError(f"{folder}: no output of `mrcz-dask koma` is there; check the folder")
    chains = {output: _steps(path) for output, path in paths.items()}
    steps = {chain["outliers"]["inputs"][0]["name"]: chain for chain in chains.values()}
    first = next(iter(paths))
    settings, own = settings_of(chains[first]), _stem(paths[first], chains[first])
    place = session or _session(paths[first], chains[first]["outliers"]["inputs"][0]["name"])
    discovery = _recorded_inputs(place, folder, settings, steps)
    compared: dict[Path, Reproduction] = {}
    with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as work:
        plan = Plan(discovery, Path(work) / "again", settings)
        plan.folder.mkdir()
        store = SessionStore(plan.store)
        store.create()
        _take_gain(paths[first], own, settings.gain.gain, store)

        def take(message: Message) -> None:
            """Compare each stack when it is made again, then remove it: one at a time takes room."""
            listen(message)
            if isinstance(message, StackDone) and isinstance(message.found, StackResult):
                output = message.found.output
                masks = [name for name, _ in message.found.files if name.endswith(MASK)]
                for name in (output, *masks) if output in paths else ():
                    if (folder / name).exists():
                        version = str(chains[output]["koma"].get("version"))
                        compared[folder / name] = compare(folder / name, plan.folder / name, version)
                for name, _ in message.found.files:
                    if not name.startswith(STORE_NAME):
                        (plan.folder / name).unlink(missing_ok=True)

        outcome = carry_out(plan, SerialClient(), take)
    for output, path in paths.items():
        reason = outcome.failed.get(chains[output]["outliers"]["inputs"][0]["name"], "it was not made again")
        version = str(chains[output]["koma"].get("version"))
        compared.setdefault(path, Reproduction(str(path), False, (), version, math.inf, (reason,)))
    return compared


def _counted(
    path: Path,
    steps: list[dict[str, Any]],
    session: Path | None,
    listen: Listener,
    calibration: Path | None,
    detector: str | None,
) -> Reproduction:
    count = next(step for step in reversed(steps) if step["name"] == STEP)
    raw = count["inputs"][0]
    if "size" not in raw:
        raise FormatError(f"{path}: its frames came from a stream; expected an output of raw frames in files")
    # the stack beside an event list may be called as its input is
    stack = path.with_name(f"{stem_of_events(path)}.mrcz") if is_events(path) else path
    frames = (session or _session(stack, raw["name"])) / raw["name"]
    if not frames.exists():
        raise ReferenceNotFoundError(f"{frames}: an input of this file, and not there; give --session")
    with tempfile.TemporaryDirectory(prefix="mrcz-dask-") as place:
        again = count_again(path, frames, Path(place), listen, calibration, detector)
        again = again.rename(again.with_name(path.name))
        version = str(count["version"])
        if is_events(path):
            same = whole_digest(again) == whole_digest(path)
            return Reproduction(str(path), same, () if same else differing(path, again), version)
        return compare(path, again, version)


def _steps(path: Path) -> Steps:
    footer = read_footer(path) or {}
    steps = last_steps(footer)
    missing = [name for name in ("outliers", "koma", "write") if name not in steps]
    if missing:
        raise PlaceError(
            f"{path}: its footer has no step {', '.join(missing)}; expected an output of `mrcz-dask koma` "
            "or `count`"
        )
    after = footer["provenance"][-1]["name"]
    if after != "write":
        raise FormatError(
            f"{path}: the step {after!r} came after koma's; reproduce the file that koma wrote, whose pixels "
            "this one took over"
        )
    return steps


def _session(path: Path, name: str) -> Path:
    """Return the folder of the inputs: that of the output's folder, as `koma` makes it, or its own."""
    parents = path.absolute().parents
    above = parents[min(name.count("/"), len(parents) - 1)]  # outputs keep the tree of their inputs
    for folder in (above.parent, above, parents[0].parent, parents[0]):
        if (folder / name).exists() and (folder / name).absolute() != path.absolute():
            return folder
    raise ReferenceNotFoundError(
        f"{path}: its input {name} is neither in {above.parent} nor in {above}; say where with --session"
    )


def _stem(path: Path, steps: Steps) -> str:
    """Return the stem that a stack had in its run: its name's, with suffix or digest if the output has it."""
    recipe: dict[str, str] = (read_footer(path) or {}).get("recipe", {})
    if recipe:
        return recipe["stem"]
    name: str = steps["outliers"]["inputs"][0]["name"]
    file, kept = PurePosixPath(name).name, output_stem(path.name)
    distinct = PurePosixPath(distinct_name(name)).name
    return name.removesuffix(file) + (kept if kept in (file, distinct) else stem_of(file))


def settings_of(steps: Steps) -> Settings:
    """Return the settings with which an output was made, from the steps of its provenance."""
    return Settings.from_dict(settings_in(steps))


def _inputs(steps: Steps) -> dict[str, str]:
    """Return name and digest of every input: the stack itself first, then the members of its windows."""
    own = steps["outliers"]["inputs"][0]
    digests = {own["name"]: own["digest"]}
    for window in (*steps["outliers"]["inputs"][1:], *steps["koma"]["inputs"]):
        digests |= dict(zip(window["names"], window["digests"], strict=True))
    return digests


def _take_gain(path: Path, own: str, digest: str, store: SessionStore) -> None:
    """Take over the gain that an output was made with, which the store beside it keeps."""
    if not digest:
        return
    beside = SessionStore(store_of(path, own))
    about = beside.gain_about(digest)
    if about is None:
        raise ReferenceNotFoundError(
            f"{beside.path}: the gain {digest} that {path.name} was made with is not there; expected the "
            "session store of its run beside it"
        )
    store.put_gain(digest, beside.gain(digest), about)


def _prepare_all(
    folder: Path, own: str, steps: Steps, store: SessionStore, listen: Listener
) -> dict[str, StackRecord]:
    settings, inputs = settings_of(steps), _inputs(steps)
    listen(PhaseStarted("inputs", len(inputs), 0))
    records: dict[str, StackRecord] = {}
    for k, (name, digest) in enumerate(inputs.items()):
        path = folder / name
        if not path.exists():
            raise ReferenceNotFoundError(f"{path}: an input of this file, and not there; give --session")
        stem = f"{own}/{k}" if k else own  # inputs may have one stem, in two formats or folders
        exposure = stated_exposure(find_mdoc(path)) if settings.gain.by_rate else None
        task = SumTask(str(path), name, stem, str(store.path), settings, exposure)
        records[name] = sum_and_mask(task)
        if records[name].digest != digest:
            raise SessionError(
                f"{path}: its pixels have digest {records[name].digest}, the footer names {digest}; "
                "it is not the input that was used"
            )
        listen(StackDone("inputs", name, 0))
    return records


def _finish(path: Path, steps: Steps, records: dict[str, StackRecord], folder: Path, place: Path) -> Path:
    koma, write = steps["koma"], steps["write"]["results"]
    members = [tuple(member_ref(records[name]) for name in window["names"]) for window in koma["inputs"]]
    own = records[steps["outliers"]["inputs"][0]["name"]]
    task = CorrectionTask(
        path=str(folder / own.name),
        folder=str(place / "again"),
        store=str(place / "again" / STORE_NAME),
        record=own,
        short=members[0],
        long=members[1],
        usable=koma["results"]["usable_as_reference"],
        score=None,
        breaks=tuple(Break.from_dict(item) for item in koma["results"]["breaks"]),
        provisional=koma["results"]["provisional"],
        groups=tuple(Group(**group) for group in koma["results"].get("groups", ())),
        settings=settings_of(steps),
        acquired=koma["results"]["acquired"],
        acquired_from=koma["results"]["acquired_from"],
        pixel_size=write["pixel_size"],
        mdoc=None,
        pool=_pool(steps, records, place),
    )
    return place / "again" / correct_stack(task).output


def _pool(steps: Steps, records: dict[str, StackRecord], place: Path) -> Pool | None:
    """Return the stacks that showed lasting outliers of an output, as its footer says; None if none did."""
    if len(steps["outliers"]["inputs"]) < 2:
        return None
    evidence = steps["outliers"]["inputs"][1]
    members = [records[name] for name in evidence["names"]]
    return Pool(
        str(place / "again" / STORE_NAME),
        members[0].shape[1:],
        tuple(map(member_ref, members)),
        evidence["block"][0],
        evidence["block"][1],
        settings_of(steps).outliers.tail_fdr,
    )


def _recorded_inputs(session: Path, folder: Path, settings: Settings, steps: dict[str, Steps]) -> Discovery:
    """Find the inputs that provenance steps name, with the times that these record; `steps` are by input."""
    discovery = discover(session, output=folder, recursive=True, inputs=settings.input)
    names = {name for chain in steps.values() for name in _inputs(chain)}
    if gone := sorted(names - {stack.name for stack in discovery.stacks}):
        raise ReferenceNotFoundError(
            f"{session}: {some(gone)} not there, {len(gone)} of the {len(names)} inputs; give --session"
        )
    stacks = []
    for stack in discovery.stacks:
        if stack.name in steps:
            koma, write = (steps[stack.name][name]["results"] for name in ("koma", "write"))
            when = Acquired(datetime.fromisoformat(koma["acquired"]), koma["acquired_from"])
            stacks.append(replace(stack, acquired=when, pixel_size=write["pixel_size"]))
        elif stack.name in names:
            stacks.append(stack)
    stacks.sort(key=lambda stack: (stack.acquired.time, stack.name))
    return replace(discovery, stacks=tuple(stacks), rejected=(), skipped=())
