"""Hands on a session without copies: per epoch a gain that holds the pattern, defects, and the commands."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.tasks import REFERENCE, STORE_NAME
from mrcz_dask.export.commands import COMMANDS, DIVIDES_EER, TAKES_DARK, Epoch, RawMovie
from mrcz_dask.export.run import DEFECT_FILES, Exported, whole_folder
from mrcz_dask.export.texts import Optics
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.defects import write_defects
from mrcz_dask.formats.foreign.eer import EerReader
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source, read_footer
from mrcz_dask.formats.writers import is_top_down
from mrcz_dask.gain.applied import gain_for
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.session.entries import StackEntry
from mrcz_dask.session.listing import list_stacks
from mrcz_dask.session.probe import probe
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import MrczDaskError, ParameterError, PlaceError, SessionError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.params import GainParams, InputParams
from mrcz_dask.values.texts import some

MOSTLY = 0.4  # of an epoch's stacks: a pixel that is an outlier in as many is a defect of the epoch
PLAIN = (".mrc", ".mrcs", ".tif", ".tiff", ".eer")  # what all the programs read
PHASE = "refined gain"
RUNS = {"warp": "writes WarpTools' settings of each epoch", "cryosparc": "prints what to enter in cryoSPARC"}


def export_refined_gain(
    folder: Path,
    session: Path,
    target: Path,
    program: Program,
    optics: Optics,
    listen: Listener = messages.silent,
) -> Exported:
    """Write for each epoch of a session the gain that takes its mean pattern off, and links to its movies.

    The refined gain is gain / (1 + pattern), with 0 at pixels that are outliers in 40 % of the stacks.
    Programs that take a dark get that of the run, with the additive pattern of ``--form subtract-raw``.

    Parameters
    ----------
    folder
        Output folder of ``koma --write references``.
    session
        Folder of the movies.
    target
        A folder that is not there yet, or empty.
    program
        The program that goes on.
    optics
        Optics of the microscope.
    listen
        Gets a message about every movie.

    Raises
    ------
    OutputExistsError
        When something is in the target folder.
    PlaceError, SessionError
        When the run wrote no references, or no movie can be handed on.
    ParameterError
        When nothing says the pixel size, or the program cannot do what the run did: it took a dark off, or
        the gain had other exponents in one epoch.
    SpaceError, FormatError
        When the disk is full, or the session store is damaged.
    """
    store = SessionStore(folder / STORE_NAME)
    movies, starts, left_out = _raw_movies(folder, session, store)
    if not movies:
        reasons = some(f"{name} ({why})" for name, why in left_out.items())
        raise SessionError(f"{folder}: no movie to hand on: {reasons}")
    size = optics.pixel_size or next((m.pixel_size for m in movies if m.pixel_size), None)
    if size is None:
        raise ParameterError("the stacks say no pixel size; give it with --pixel-size")
    listen(messages.PhaseStarted(PHASE, len(movies), sum(m.path.stat().st_size for m in movies)))
    with whole_folder(target) as place:
        epochs = []
        for epoch in _epochs(movies, starts, program):
            (place / epoch.folder).mkdir()
            for movie in epoch.movies:
                to = os.path.relpath(movie.path.absolute(), target.absolute() / epoch.folder)
                (place / epoch.link(movie)).symlink_to(to)
            has_dark = _write_gain(epoch, place, store, listen)
            epochs.append(replace(epoch, has_dark=has_dark))
        commands = [line for epoch in epochs for line in COMMANDS[program](epoch, place, size, optics)]
        script = "\n".join(["#!/bin/sh", "set -e", 'cd "$(dirname "$0")"', *commands, ""])
        write_atomic(place / "run.sh", script.encode())
        (place / "run.sh").chmod(0o755)
        write_atomic(place / "README.md", _readme(epochs, program).encode())
    listen(messages.PhaseFinished(PHASE))
    return Exported(target, tuple(movie.stem for movie in movies), left_out)


def _raw_movies(
    folder: Path, session: Path, store: SessionStore
) -> tuple[list[RawMovie], list[str], dict[str, str]]:
    """Find the movies whose references a run wrote, in order of time.

    Also return the times of the first stacks after breaks, which may be no such movies, and why others are
    left out.
    """
    movies, left_out, times, starts = [], {}, {}, set()
    paths = sorted(folder.rglob(f"*{REFERENCE}"))
    if not paths:
        raise PlaceError(f"{folder}: no references; expected the output folder of koma --write references")
    mdocs = list_stacks(session, recursive=True).mdocs
    for path in paths:
        stem = path.relative_to(folder).as_posix().removesuffix(REFERENCE)
        try:
            steps = last_steps(read_footer(path) or {})
            if not {"outliers", "koma"} <= steps.keys():
                raise SessionError(f"{path}: no reference of koma; expected its provenance in the footer")
            results = steps["koma"]["results"]
            times[steps["outliers"]["inputs"][0]["name"]] = results["acquired"]
            starts |= {one["first"] for one in results["breaks"]}
            movies.append(_raw_movie(session, stem, steps, store, mdocs))
        except (MrczDaskError, OSError) as error:
            left_out[stem] = str(error)
    if unknown := sorted(starts - times.keys()):
        raise SessionError(f"{folder}: at {some(unknown)} the pattern changes, and its reference is gone")
    movies.sort(key=lambda movie: (movie.acquired, movie.stem))
    return movies, sorted(times[name] for name in starts), left_out


def _raw_movie(
    session: Path,
    stem: str,
    steps: Mapping[str, Mapping[str, Any]],
    store: SessionStore,
    mdocs: Mapping[Path, Mapping[str, str]],
) -> RawMovie:
    source, koma, gain = steps["outliers"]["inputs"][0], steps["koma"], GainParams()
    if "gain" in steps:
        gamma = (steps["gain"]["results"]["gamma"],)
        gain = GainParams(steps["gain"]["parameters"]["gain"], gamma)
    path = session / source["name"]
    if path.suffix.lower() not in PLAIN:
        kinds = ", ".join(PLAIN)
        raise SessionError(f"{path}: only {kinds} can be handed on as they are; export movies instead")
    if not path.exists():
        raise SessionError(f"{path}: is not there; give the folder that the run had")
    inputs = InputParams(**koma["parameters"]["input"])
    entry = probe(session, mdocs, path, inputs).found
    if not isinstance(entry, StackEntry):
        raise SessionError(entry.reason)
    if entry.size != source["size"]:
        raise SessionError(f"{path}: has {entry.size} bytes, the movie of the run {source['size']}")
    results, time = koma["results"], entry.acquired
    recorded, then = time.time.isoformat(sep=" "), results["acquired"]
    if time.source == results["acquired_from"] != "mtime" and recorded != then:
        raise SessionError(f"{path}: was recorded at {recorded}, the movie of the run at {then}")
    record = store.record(stem)
    if record is not None and record.offset:
        raise SessionError(f"{path}: all pixels have {record.offset} counts too many; no gain mends that")
    with open_source(path, inputs) as reader:
        return RawMovie(
            path=path,
            name=source["name"],
            stem=stem,
            acquired=then,
            shape=entry.shape,
            dose=float(steps["outliers"]["results"]["dose_per_frame"]),
            pixel_size=entry.pixel_size,
            gain=gain,
            raw_frames=reader.bounds[-1] if isinstance(reader, EerReader) else 0,
            inputs=inputs,
            top_down=is_top_down(reader),
        )


def _epochs(movies: Sequence[RawMovie], starts: Sequence[str], program: Program) -> list[Epoch]:
    """Split movies, in order of time, at the times from which on the pattern is another."""
    if len({(movie.raw_frames > 0, movie.top_down) for movie in movies}) > 1:
        raise SessionError(
            "the session has movies whose rows run up and others whose rows run down, or EER and others; one "
            "gain cannot be for both: run koma on each kind in a folder of its own"
        )
    parts = groupby(movies, lambda movie: bisect_right(starts, movie.acquired))
    return [Epoch(f"epoch_{k}", tuple(part), program) for k, (_, part) in enumerate(parts, 1)]


def _write_gain(epoch: Epoch, place: Path, store: SessionStore, listen: Listener) -> bool:
    """Write an epoch's refined gain, dark and defects, rows as in MRC; return whether there is a dark."""
    first, used = epoch.movies[0], 0
    if len({movie.gain.gamma for movie in epoch.movies}) > 1:
        raise ParameterError(
            "the exponent of the gain differs from stack to stack, which one gain cannot have; write movies "
            "with koma, and export those"
        )
    outliers = np.zeros(first.shape[1:], np.int64)
    relative, counts = np.zeros((2, *first.shape[1:]))
    for movie in epoch.movies:
        correction = store.correction(movie.stem, "references")
        outliers += is_masked(correction.weight)
        if correction.pattern.any():  # a stack without references has none
            pattern = correction.pattern * correction.step
            if correction.form == "subtract-raw":
                counts += pattern
            else:
                relative += pattern / (movie.dose if correction.form == "subtract" else 1)
            used += 1
        listen(messages.StackDone(PHASE, movie.stem, movie.path.stat().st_size))
    gain = gain_for(str(store.path), first.gain, first.gain.gamma[0])
    known = np.ones(first.shape[1:], np.float32) if gain is None else gain.image
    number = max(used, 1)
    image = known / np.maximum(1 + relative / number, 0.1)
    dark = counts / number / known + (0 if gain is None or gain.dark is None else gain.dark)
    if dark.any() and epoch.program not in TAKES_DARK:
        raise ParameterError(
            f"the run took a dark off, or --form subtract-raw a pattern, which no gain does; {epoch.program} "
            f"takes no dark, {' and '.join(TAKES_DARK)} do: write movies with koma, and export those"
        )
    defects = outliers >= MOSTLY * len(epoch.movies)
    if gain is not None:
        defects |= gain.bad
    if epoch.eer and epoch.program in DIVIDES_EER:
        image = 1 / image
    rows = slice(None, None, -1 if first.top_down else 1)  # as in MRC files
    for name, shown in (("gain", np.where(defects, 0, image)), ("dark", dark)):
        if name == "gain" or dark.any():
            pixels = np.ascontiguousarray(shown[rows], np.float32)
            write(place / epoch.file(f"{name}.mrc"), pixels, footer=False)
    bad = np.ascontiguousarray(defects[rows])
    for end, kind in DEFECT_FILES.items():
        write_defects(place / epoch.file(f"defects{end}"), bad, kind, "bottom")
    return bool(dark.any())


def _readme(epochs: Sequence[Epoch], program: Program) -> str:
    lines = "\n".join(
        f"| `{epoch.folder}/` | {len(epoch.movies)} | {epoch.movies[0].name} | `{epoch.file('gain.mrc')}` | "
        f"`{epoch.file('defects.*')}` |"
        for epoch in epochs
    )
    inverse = program in DIVIDES_EER and epochs[0].eer is not None
    divides = f"\n{program} divides EER movies by the gain: these files are the inverse, 1 / gain.\n"
    return f"""# Movies as they were recorded, and a refined gain, for {program}

`sh run.sh` {RUNS.get(program, f"runs {program} on all movies")}. Each folder has links to the movies
of one epoch: between two epochs the pattern of the detector changed.

| folder | movies | first | gain reference | defects |
|---|---|---|---|---|
{lines}

**Apply these gains, and no other.** A refined gain is the gain that was given to `koma`, or ones, divided by
1 + the mean pattern of the epoch. It is 0 at pixels that are outliers in {MOSTLY:.0%} of the stacks or more.
{divides if inverse else ""}
What it cannot do: outliers that come and go within an epoch stay in the movies, and so does the part of the
pattern that changes from stack to stack. Where that matters, write the movies with `koma` and export those.
"""
