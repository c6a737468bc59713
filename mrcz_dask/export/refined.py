"""Hands on a session without copies: per epoch a gain that holds the pattern, defects, and the commands."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.tasks import REFERENCE, STORE_NAME
from mrcz_dask.export.run import DEFECT_FILES, Exported, whole_folder
from mrcz_dask.export.texts import Optics, optics_table
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.defects import write_defects
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.sources import open_source, read_footer
from mrcz_dask.formats.text.star import is_word, write_star
from mrcz_dask.formats.writers import is_top_down
from mrcz_dask.gain.applied import gain_for
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import MrczDaskError, ParameterError, PlaceError, SessionError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.params import GainParams
from mrcz_dask.values.texts import some

MOSTLY = 0.4  # of an epoch's stacks: a pixel that is an outlier in as many is a defect of the epoch
PLAIN = (".mrc", ".mrcs", ".tif", ".tiff")  # what all the programs read
PHASE = "refined gain"

Image = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawMovie:
    """Record of a movie that stays as it is: its path, and what a run found.

    Attributes
    ----------
    path, name, stem
        Path of the movie; its name in the session; the stem of its files in the store.
    acquired
        In ISO form.
    frames, dose
        Number of frames; counts per pixel and frame.
    pixel_size
        Angstrom, or None.
    gain
        Gain and defects that the run applied, with the stack's gamma.
    top_down
        Whether rows are in the order of TIFF: programs reverse these.
    """

    path: Path
    name: str
    stem: str
    acquired: str
    frames: int
    dose: float
    pixel_size: float | None
    gain: GainParams
    top_down: bool


@dataclass(frozen=True, slots=True)
class Epoch:
    """Record of the movies between two changes of the pattern, and of the folder with links to them."""

    folder: str
    movies: tuple[RawMovie, ...]

    def file(self, name: str) -> str:
        """Return the name of a file of this epoch."""
        return f"{self.folder}_{name}"

    def link(self, movie: RawMovie) -> str:
        """Return the path of the link to a movie."""
        return f"{self.folder}/{movie.name.replace('/', '_')}"


def export_refined_gain(
    folder: Path,
    session: Path,
    target: Path,
    program: Program,
    optics: Optics,
    listen: Listener = messages.silent,
) -> Exported:
    """Write for each epoch of a session the gain that takes its mean pattern off, and links to its movies.

    The refined gain is gain / (1 + pattern), with 0 at pixels that are outliers in most stacks.

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
        When nothing says the pixel size, or no gain can do what the run did: it took a dark off, or the gain
        had other exponents in one epoch.
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
        epochs = _epochs(movies, starts)
        for epoch in epochs:
            (place / epoch.folder).mkdir()
            for movie in epoch.movies:
                to = os.path.relpath(movie.path.absolute(), target.absolute() / epoch.folder)
                (place / epoch.link(movie)).symlink_to(to)
            _write_gain(epoch, place, store, listen)
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
    for path in paths:
        stem = path.relative_to(folder).as_posix().removesuffix(REFERENCE)
        try:
            steps = last_steps(read_footer(path) or {})
            if not {"outliers", "koma"} <= steps.keys():
                raise SessionError(f"{path}: no reference of koma; expected its provenance in the footer")
            results = steps["koma"]["results"]
            times[steps["outliers"]["inputs"][0]["name"]] = results["acquired"]
            starts |= {one["first"] for one in results["breaks"]}
            movies.append(_raw_movie(session, stem, steps, store))
        except (MrczDaskError, OSError) as error:
            left_out[stem] = str(error)
    if unknown := sorted(starts - times.keys()):
        raise SessionError(f"{folder}: at {some(unknown)} the pattern changes, and its reference is gone")
    movies.sort(key=lambda movie: (movie.acquired, movie.stem))
    return movies, sorted(times[name] for name in starts), left_out


def _raw_movie(
    session: Path, stem: str, steps: Mapping[str, Mapping[str, Any]], store: SessionStore
) -> RawMovie:
    source, koma, gain = steps["outliers"]["inputs"][0], steps["koma"], GainParams()
    if "gain" in steps:
        gamma = (steps["gain"]["results"]["gamma"],)
        gain = GainParams(steps["gain"]["parameters"]["gain"], gamma)
    path = session / source["name"]
    if path.suffix.lower() not in PLAIN:
        kinds = ", ".join(PLAIN)
        raise SessionError(f"{path}: only {kinds} can be handed on as they are; export movies instead")
    if path.stat().st_size != source["size"]:
        raise SessionError(f"{path}: has {path.stat().st_size} bytes, the movie of the run {source['size']}")
    record = store.record(stem)
    if record is not None and record.offset:
        raise SessionError(f"{path}: all pixels have {record.offset} counts too many; no gain mends that")
    if koma["parameters"]["form"] == "subtract-raw":
        raise ParameterError("--form subtract-raw gives an additive pattern, which no gain takes off")
    with open_source(path) as reader:
        return RawMovie(
            path=path,
            name=source["name"],
            stem=stem,
            acquired=koma["results"]["acquired"],
            frames=reader.shape[0],
            dose=float(steps["outliers"]["results"]["dose_per_frame"]),
            pixel_size=reader.pixel_size[0] if reader.pixel_size else None,
            gain=gain,
            top_down=is_top_down(reader),
        )


def _epochs(movies: Sequence[RawMovie], starts: Sequence[str]) -> list[Epoch]:
    """Split movies, in order of time, at the times from which on the pattern is another."""
    parts = groupby(movies, lambda movie: bisect_right(starts, movie.acquired))
    return [Epoch(f"epoch_{k}", tuple(part)) for k, (_, part) in enumerate(parts, 1)]


def _write_gain(epoch: Epoch, place: Path, store: SessionStore, listen: Listener) -> None:
    """Write an epoch's refined gain and its defects, with rows in MRC's order."""
    first, used = epoch.movies[0], 0
    total = outliers = np.zeros((), np.float64)
    for movie in epoch.movies:
        correction = store.correction(movie.stem, "references")
        outliers = outliers + is_masked(correction.weight)
        if correction.pattern.any():  # a stack without references has none
            unit = movie.dose if correction.form == "subtract" else 1.0
            total = total + correction.pattern * (correction.step / unit) - float(correction.form == "divide")
            used += 1
        listen(messages.StackDone(PHASE, movie.stem, movie.path.stat().st_size))
    response = 1 + total / max(used, 1)
    if len({movie.gain.gamma for movie in epoch.movies}) > 1:
        raise ParameterError(
            "the exponent of the gain differs from stack to stack, which one gain cannot have; write movies "
            "with koma, and export those"
        )
    gain = gain_for(str(store.path), first.gain, first.gain.gamma[0])
    if gain is not None and gain.dark is not None:
        raise ParameterError(
            "the run took a dark off, which no gain does; write movies with koma, and export those"
        )
    image = (1 if gain is None else gain.image) / np.maximum(response, 0.1)
    defects = outliers >= MOSTLY * len(epoch.movies)
    if gain is not None:
        defects |= gain.bad
    rows = slice(None, None, -1 if first.top_down else 1)  # as in MRC files
    shown, bad = np.where(defects, 0, image)[rows].astype(np.float32), np.ascontiguousarray(defects[rows])
    write(place / epoch.file("gain.mrc"), np.ascontiguousarray(shown), footer=False)
    for end, kind in DEFECT_FILES.items():
        write_defects(place / epoch.file(f"defects{end}"), bad, kind, "bottom")


def _relion(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    if odd := [movie.name for movie in epoch.movies if not is_word(epoch.link(movie))]:
        raise SessionError(f"{some(odd)}: a STAR file cannot hold a name with a quote or a line break")
    links = [epoch.link(movie) for movie in epoch.movies]
    table: dict[str, list[Any]] = {"rlnMicrographMovieName": links, "rlnOpticsGroup": [1] * len(links)}
    write_star(place / f"{epoch.folder}.star", {"optics": optics_table(size, optics), "movies": table})
    dose = np.mean([movie.dose for movie in epoch.movies]) / size**2
    return [
        f"relion_run_motioncorr --i {epoch.folder}.star --o MotionCorr/{epoch.folder}/ --use_own "
        f"--gainref {epoch.file('gain.mrc')} --bfactor 150 --j 4 --dose_per_frame {dose:.4g} "
        "--patch_x 5 --patch_y 5"
    ]


def _motioncor(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    dose = np.mean([movie.dose for movie in epoch.movies]) / size**2
    suffixes = sorted({movie.path.suffix for movie in epoch.movies})
    return [
        f"mkdir -p aligned/{epoch.folder}",
        *(
            f"MotionCor3 -In{'Tiff' if suffix.lower().startswith('.tif') else 'Mrc'} {epoch.folder}/ "
            f"-InSuffix {quote(suffix)} -OutMrc aligned/{epoch.folder}/ -Serial 1 "
            f"-Gain {epoch.file('gain.mrc')} -DefectMap {epoch.file('defects.mrc')} -PixSize {size:g} "
            f"-kV {optics.voltage:g} -FmDose {dose:.4g}"
            for suffix in suffixes
        ),
    ]


def _cryosparc(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    exposure = np.mean([movie.dose * movie.frames for movie in epoch.movies]) / size**2
    return [
        f"echo 'Import Movies: data path {epoch.folder}/*, gain reference {epoch.file('gain.mrc')}, "
        f"defect file {epoch.file('defects.txt')}, pixel size {size:g} A, {optics.voltage:g} kV, "
        f"Cs {optics.cs:g} mm, total exposure {exposure:.4g} e-/A^2'"
    ]


def _warp(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    exposure = np.mean([movie.dose * movie.frames for movie in epoch.movies]) / size**2
    return [
        f"WarpTools create_settings --folder_data {epoch.folder} --folder_processing warp_{epoch.folder} "
        f"--output {epoch.folder}.settings --extension {quote(f'*{suffix}')} --angpix {size:g} "
        f"--exposure {exposure:.4g} --gain_path {epoch.file('gain.mrc')}"
        for suffix in sorted({movie.path.suffix for movie in epoch.movies})
    ]


COMMANDS: Mapping[Program, Callable[[Epoch, Path, float, Optics], list[str]]] = {
    "relion": _relion,
    "motioncor": _motioncor,
    "cryosparc": _cryosparc,
    "warp": _warp,
}


def _readme(epochs: Sequence[Epoch], program: Program) -> str:
    lines = "\n".join(
        f"| `{epoch.folder}/` | {len(epoch.movies)} | {epoch.movies[0].name} | `{epoch.file('gain.mrc')}` | "
        f"`{epoch.file('defects.*')}` |"
        for epoch in epochs
    )
    return f"""# Movies as they were recorded, and a refined gain, for {program}

`sh run.sh` runs {program} on all movies. Each folder has links to the movies of one epoch: between two
epochs the pattern of the detector changed.

| folder | movies | first | gain reference | defects |
|---|---|---|---|---|
{lines}

**Apply these gains, and no other.** A refined gain is the gain that was given to `koma`, or ones, divided by
1 + the mean pattern of the epoch. It is 0 at pixels that are outliers in {MOSTLY:.0%} of the stacks or more.

What it cannot do: outliers that come and go within an epoch stay in the movies, and so does the part of the
pattern that changes from stack to stack. Where that matters, write the movies with `koma` and export those.
"""
