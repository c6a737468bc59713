"""Exports the outputs of a run into a new folder for RELION, MotionCor, cryoSPARC or Warp."""

from __future__ import annotations

import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np

from mrcz_dask.correction.tasks import STORE_NAME
from mrcz_dask.export.movies import (
    DEFECTS,
    MOVIES,
    Movie,
    movies_of,
    place_of,
    shown_mask,
    write_dark_and_gain,
    write_movie,
)
from mrcz_dask.export.texts import GAIN, TEXTS, Optics
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.defects import DefectsKind, write_defects
from mrcz_dask.formats.mrc.writer import write
from mrcz_dask.formats.places import measure
from mrcz_dask.formats.text.star import is_word
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values import messages
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import OutputExistsError, ParameterError, SessionError
from mrcz_dask.values.messages import Listener
from mrcz_dask.values.texts import some

FEWEST_FRAMES = 3  # RELION skips shorter movies
PHASE = "export"
DEFECT_FILES: dict[str, DefectsKind] = {".mrc": "map", ".txt": "boxes", "_serialem.txt": "serialem"}


@dataclass(frozen=True, slots=True)
class Exported:
    """Record of an export: the folder, the movies in it, and why others were left out."""

    folder: Path
    movies: tuple[str, ...]
    left_out: dict[str, str]


def export(
    folder: Path, target: Path, program: Program, optics: Optics, listen: Listener = messages.silent
) -> Exported:
    """Write movies, defects, gains and a README for one program into a new folder.

    Parameters
    ----------
    folder
        A run's output folder.
    target
        A folder that is not there yet, or empty.
    program
        The program that goes on with the movies.
    optics
        Optics of the microscope.
    listen
        Gets a message about every movie.

    Raises
    ------
    OutputExistsError
        When something is in the target folder.
    ParameterError
        When the program takes movies as they are alone.
    SessionError
        When there is nothing to hand on, or two outputs of one stack.
    SpaceError, FormatError
        When the disk is full, or an output is damaged.
    """
    if program not in TEXTS:
        raise ParameterError(
            f"{program} finds movies by their names in .mdoc files, so it takes movies as they are: "
            "run koma --write references, and give --refined-gain SESSION"
        )
    movies, left_out = movies_of(folder)
    numbers = Counter(movie.stem for movie in movies)
    if twice := sorted(movie.path.name for movie in movies if numbers[movie.stem] > 1):
        raise SessionError(f"{folder}: {', '.join(twice)}: several outputs of one stack; leave one of each")
    left_out |= {movie.stem: reason for movie in movies if (reason := _unfit(movie, program))}
    good = [movie for movie in movies if movie.stem not in left_out]
    if not good:
        raise SessionError(
            f"{folder}: no movie to hand on: {some(f'{n} ({why})' for n, why in left_out.items())}"
        )
    store = SessionStore(folder / STORE_NAME)
    with whole_folder(target) as place:
        for name in (MOVIES, DEFECTS):
            (place / name).mkdir()
        _write_movies(good, place, store, program, listen)
        write(place / GAIN, np.ones(good[0].shape[1:], np.float32), footer=False)
        common = reduce(np.logical_and, (shown_mask(store, movie) for movie in good))
        write_defects(place / "defects_common.txt", common, "boxes", "bottom")
        write_defects(place / "defects_common.mrc", common, "map", "bottom")
        with_zeros = np.where(common, np.float32(0), np.float32(1))
        write(place / "gain_ones_zero_at_defects.mrc", with_zeros, footer=False)
        text = TEXTS[program](good, place, store, optics)
        write_atomic(place / "README.md", text.encode())
    return Exported(target, tuple(m.stem for m in good), left_out)


def _unfit(movie: Movie, program: Program) -> str | None:
    """Return why a program cannot take a movie, or None."""
    if movie.shape[0] < FEWEST_FRAMES:
        return f"{movie.shape[0]} frames; {FEWEST_FRAMES} at least"
    if not movie.counts and movie.dtype == np.float64:
        return (
            "its counts lie on a constant offset, beside which float32 loses them; "
            "export outputs of koma --write recompressed, whose movies are without it"
        )
    if program == "motioncor" and movie.counts and movie.dtype.itemsize > 2 and movie.dtype.kind in "iu":
        return f"MotionCor reads no {movie.dtype} counts; write them as uint16 or float32, run koma again"
    if program == "relion" and not is_word(movie.stem):
        return "a STAR file cannot hold a name with a quote or a line break; rename the stack, run koma again"
    return None


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder, which gets the target's name when the block ends without an error."""
    if target.exists() and any(target.iterdir()):
        raise OutputExistsError(f"{target}: is not empty; choose another folder (-o)")
    place = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        place.mkdir(parents=True)
        yield place
        if target.exists():
            target.rmdir()
        place.rename(target)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _write_movies(
    good: Sequence[Movie], target: Path, store: SessionStore, program: Program, listen: Listener
) -> None:
    sizes = {movie.stem: measure(movie.path).size for movie in good}
    listen(messages.PhaseStarted(PHASE, len(good), sum(sizes.values())))
    for movie in good:
        as_counted = program == "motioncor" and movie.counts
        if as_counted:
            write_dark_and_gain(movie, target, store)
        write_movie(movie, target, corrected=not as_counted)
        for end, kind in DEFECT_FILES.items():
            write_defects(place_of(movie, target / DEFECTS, end), shown_mask(store, movie), kind, "bottom")
        listen(messages.StackDone(PHASE, movie.stem, sizes[movie.stem]))
    listen(messages.PhaseFinished(PHASE))
