"""Handing a run's outputs on to the next program: movies, defects, a gain of ones, tables, the commands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.defects import write_defects
from mrcz_dask.formats.reader import StackReader, open_reader
from mrcz_dask.formats.star import write_star
from mrcz_dask.formats.writer import StackWriter, write
from mrcz_dask.numerics.weights import is_masked
from mrcz_dask.runs.keeping import last_steps
from mrcz_dask.runs.opening import open_stack
from mrcz_dask.runs.outputs import STORE_NAME
from mrcz_dask.runs.store import SessionStore
from mrcz_dask.values import events
from mrcz_dask.values.errors import OutputExistsError, ParameterError, SessionError
from mrcz_dask.values.events import Listener

Program = Literal["relion", "motioncor", "cryosparc", "warp"]
PROGRAMS: tuple[Program, ...] = ("relion", "motioncor", "cryosparc", "warp")
MOVIES, DEFECTS, DARK = "movies", "defects", "dark"
GAIN = "gain_ones.mrc"
FEWEST_FRAMES = 3  # RELION skips shorter movies
PHASE = "export"


@dataclass(frozen=True, slots=True)
class Optics:
    """What the microscope was set to.

    Attributes
    ----------
    voltage
        Kilovolt.
    cs
        Spherical aberration, millimetre.
    contrast
        Amplitude contrast, 0 to 1.
    pixel_size
        Angstrom; None = what the stacks say.
    """

    voltage: float = 300.0
    cs: float = 2.7
    contrast: float = 0.1
    pixel_size: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("voltage", 10, 2000), ("cs", 0, 100), ("contrast", 0, 1)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ParameterError(f"{name} is {value}; expected {low} to {high}")


@dataclass(frozen=True, slots=True)
class Movie:
    """An output of a run.

    Attributes
    ----------
    path
        Of the output.
    stem
        What its files are called.
    acquired
        When the stack was recorded, in ISO form.
    pixel_size
        Angstrom, or None.
    counts
        Whether the file holds the counts, and what corrects them is in the store.
    dose
        Counts per pixel and frame.
    shape
        (n, ny, nx).
    """

    path: Path
    stem: str
    acquired: str
    pixel_size: float | None
    counts: bool
    dose: float
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the folder, the movies, and what could not be."""

    folder: Path
    movies: tuple[str, ...]
    left_out: dict[str, str]


def movies_of(folder: Path) -> list[Movie]:
    """Return the outputs in a run's folder, in order of acquisition.

    Raises
    ------
    SessionError
        When there is none.
    """
    found = []
    for path in sorted(folder.glob("*.mrcz")):
        with open_reader(path) as reader:
            steps = last_steps(reader.footer or {})
            if "koma" in steps:
                found.append(_movie(path, reader, steps))
    if not found:
        raise SessionError(f"{folder}: no outputs of koma; expected .mrcz files that a run wrote there")
    return sorted(found, key=lambda movie: (movie.acquired, movie.stem))


def _movie(path: Path, reader: StackReader, steps: dict[str, dict[str, Any]]) -> Movie:
    return Movie(
        path=path,
        stem=path.stem,
        acquired=steps["koma"]["results"]["acquired"],
        pixel_size=reader.pixel_size[0] if reader.pixel_size else None,
        counts="recipe" in (reader.footer or {}),
        dose=float(steps["outliers"]["results"]["dose_per_frame"]),
        shape=reader.shape,
    )


def export(
    folder: Path, target: Path, program: Program, optics: Optics, listen: Listener = events.silent
) -> Exported:
    """Write what a program takes into a folder of its own.

    Parameters
    ----------
    folder
        A run's output folder.
    target
        A folder that is not there yet, or empty.
    program
        Which one.
    optics
        Of the microscope.
    listen
        Is told of every movie.

    Raises
    ------
    OutputExistsError
        When something is in the target folder.
    SessionError
        When there is nothing to hand on.
    SpaceError, FormatError
        When the disk is full, or an output is damaged.
    """
    if target.exists() and any(target.iterdir()):
        raise OutputExistsError(f"{target}: is not empty; choose another folder (-o)")
    found = movies_of(folder)
    short = {
        m.stem: f"{m.shape[0]} frames; {FEWEST_FRAMES} at least" for m in found if m.shape[0] < FEWEST_FRAMES
    }
    good = [movie for movie in found if movie.stem not in short]
    if not good:
        raise SessionError(f"{folder}: no movie of {FEWEST_FRAMES} frames or more")
    store = SessionStore(folder / STORE_NAME)
    for name in (MOVIES, DEFECTS):
        (target / name).mkdir(parents=True, exist_ok=True)
    listen(events.PhaseStarted(PHASE, len(good), sum(m.path.stat().st_size for m in good)))
    for movie in good:
        _write_movie(movie, target, store, program)
        listen(events.StackDone(PHASE, movie.stem, movie.path.stat().st_size))
    listen(events.PhaseFinished(PHASE))
    write(target / GAIN, np.ones(good[0].shape[1:], np.float32), footer=False)
    _common_defects(good, target, store)
    tell: dict[Program, Callable[..., str]] = {
        "relion": _for_relion,
        "motioncor": _for_motioncor,
        "cryosparc": _for_cryosparc,
        "warp": _for_warp,
    }
    text = tell[program](good, target, store, optics)
    write_atomic(target / "README.md", text.encode())
    return Exported(target, tuple(m.stem for m in good), short)


def _is_short(movie: Movie) -> bool:
    return movie.shape[0] < FEWEST_FRAMES


def mask_of(store: SessionStore, stem: str) -> NDArray[np.bool_]:
    """Return the outliers of a stack, (ny, nx), True = outlier."""
    return is_masked(store.load(stem, "weight"))


def _write_movie(movie: Movie, target: Path, store: SessionStore, program: Program) -> None:
    """Write the movie as plain MRC, and its outliers in every form."""
    raw = program == "motioncor" and movie.counts
    with StackWriter(
        target / MOVIES / f"{movie.stem}.mrcs",
        movie.shape,
        _plain_type(movie) if raw else np.dtype(np.float32),
        codec="none",
        pixel_size=movie.pixel_size,
        footer=False,
    ) as writer:
        for frame in _counts(movie) if raw else _corrected(movie):
            writer.append(frame)
    mask = mask_of(store, movie.stem)
    place = target / DEFECTS / movie.stem
    write_defects(f"{place}.mrc", mask, "map", "bottom")
    write_defects(f"{place}.txt", mask, "boxes", "bottom")
    write_defects(f"{place}_serialem.txt", mask, "serialem", "bottom")
    if raw:
        _write_dark(movie, target, store)


def _plain_type(movie: Movie) -> np.dtype[Any]:
    """Return a type that every program reads alike: bytes are signed for some, unsigned for others."""
    with open_reader(movie.path) as reader:
        return np.dtype(np.int16) if reader.dtype.itemsize == 1 else reader.dtype


def _counts(movie: Movie) -> Iterator[NDArray[Any]]:
    dtype = _plain_type(movie)
    with open_reader(movie.path) as reader:
        yield from (frame.astype(dtype) for frame in reader)


def _corrected(movie: Movie) -> Iterator[NDArray[Any]]:
    stack = open_stack(movie.path, corrected=movie.counts)
    yield from (np.asarray(stack[k].compute(), np.float32) for k in range(movie.shape[0]))


def _write_dark(movie: Movie, target: Path, store: SessionStore) -> None:
    """Write what is taken off every frame, counts per frame, as MotionCor's dark reference."""
    correction = store.correction(movie.stem)
    if correction.form == "divide":
        raise ParameterError(
            f"{movie.path}: --form divide has no additive reference for MotionCor; use --form subtract"
        )
    (target / DARK).mkdir(exist_ok=True)
    image = correction.pattern.astype(np.float32) * np.float32(correction.step)
    write(target / DARK / f"{movie.stem}.mrc", image, footer=False)


def _common_defects(good: Sequence[Movie], target: Path, store: SessionStore) -> None:
    """Write the pixels that are outliers in every stack: for programs that take one list for all."""
    common = mask_of(store, good[0].stem)
    for movie in good[1:]:
        common &= mask_of(store, movie.stem)
    write_defects(target / "defects_common.txt", common, "boxes", "bottom")
    write_defects(target / "defects_common.mrc", common, "map", "bottom")
    gain = np.where(common, np.float32(0), np.float32(1))
    write(target / "gain_ones_zero_at_defects.mrc", gain, footer=False)


def _pixel_size(good: Sequence[Movie], optics: Optics) -> float:
    found = optics.pixel_size or next((m.pixel_size for m in good if m.pixel_size), None)
    if found is None:
        raise ParameterError("the stacks say no pixel size; give it with --pixel-size")
    return found


ABOUT = """# {n} movies for {program}

In `{movies}/` are plain MRC movies{kind}. **Apply no gain reference to them**: it was applied before,
and what of the pattern was left was taken off. Where a program demands one, `{gain}` is a gain of ones.
`{defects}/` lists the outliers of each movie as a map (`.mrc`, 1 = defect), as boxes `x y w h` (`.txt`,
from 0, row 0 the first in the file) and as SerialEM's text (`_serialem.txt`, row 0 at the top).
`defects_common.*` has those that are outliers in every movie.

Movies are in order of acquisition in every list. Dose: {dose:.4g} counts/pixel/frame on average.

"""
CORRECTED = " in float32, corrected: outliers filled, fixed pattern subtracted, mean dose kept"
COUNTS = " of the counts as they are; MotionCor takes off the dark reference of each"


def _about(good: Sequence[Movie], program: str, kind: str = CORRECTED) -> str:
    dose = float(np.mean([movie.dose for movie in good]))
    return ABOUT.format(
        n=len(good), program=program, movies=MOVIES, kind=kind, gain=GAIN, defects=DEFECTS, dose=dose
    )


def _for_relion(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    size = _pixel_size(good, optics)
    write_star(
        target / "movies.star",
        {
            "optics": {
                "rlnOpticsGroupName": ["opticsGroup1"],
                "rlnOpticsGroup": [1],
                "rlnMicrographOriginalPixelSize": [float(size)],
                "rlnVoltage": [float(optics.voltage)],
                "rlnSphericalAberration": [float(optics.cs)],
                "rlnAmplitudeContrast": [float(optics.contrast)],
            },
            "movies": {
                "rlnMicrographMovieName": [f"{MOVIES}/{movie.stem}.mrcs" for movie in good],
                "rlnOpticsGroup": [1] * len(good),
            },
        },
    )
    (target / "hot_pixels").mkdir(exist_ok=True)
    for movie in good:
        y, x = np.nonzero(mask_of(store, movie.stem))
        columns = {"rlnCoordinateX": x.astype(float).tolist(), "rlnCoordinateY": y.astype(float).tolist()}
        write_star(target / "hot_pixels" / f"{movie.stem}.star", {"hot_pixels": columns})
    return _about(good, "RELION") + (
        "Run in this folder, which then is the project's:\n\n"
        "    relion_run_motioncorr --i movies.star --o MotionCorr/job001/ --use_own --bfactor 150 --j 4 "
        f"--dose_per_frame {np.mean([m.dose for m in good]) / size**2:.4g} --patch_x 5 --patch_y 5\n\n"
        "`--dose_per_frame` is in electrons per square Angstrom, if a count is an electron. `hot_pixels/` "
        "has the tables `data_hot_pixels` as RELION writes them into each movie's STAR file.\n"
    )


def _for_motioncor(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    size = _pixel_size(good, optics)
    raw = good[0].counts
    dark = f" -Dark {DARK}/STEM.mrc" if raw else ""
    first = good[0].stem
    return _about(good, "MotionCor", COUNTS if raw else CORRECTED) + (
        (f"`{DARK}/` has what is to be taken off every frame of each movie.\n\n" if raw else "")
        + "For each movie, such as the first:\n\n"
        + f"    MotionCor3 -InMrc {MOVIES}/STEM.mrcs -OutMrc STEM_aligned.mrc -PixSize {size:g} "
        f"-kV {optics.voltage:g} -Gain {GAIN}{dark} -DefectMap {DEFECTS}/STEM.mrc\n\n".replace("STEM", first)
        + "`-Gain` is a gain of ones: MotionCor applies a dark reference only together with one.\n"
    )


def _for_cryosparc(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    size = _pixel_size(good, optics)
    return _about(good, "cryoSPARC") + (
        "Import Movies:\n\n"
        f"- Movies data path: `{MOVIES}/*.mrcs`\n- Gain reference path: none\n"
        "- Defect file path: `defects_common.txt` (boxes), or as gain reference "
        "`gain_ones_zero_at_defects.mrc`\n"
        f"- Raw pixel size (A): {size:g}\n- Accelerating voltage (kV): {optics.voltage:g}\n"
        f"- Spherical aberration (mm): {optics.cs:g}\n"
        f"- Total exposure dose (e/A^2): {np.mean([m.dose * m.shape[0] for m in good]) / size**2:.4g}, "
        "if a count is an electron\n"
    )


def _for_warp(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    size = _pixel_size(good, optics)
    return _about(good, "Warp") + (
        "Run in this folder:\n\n"
        f"    WarpTools create_settings --folder_data {MOVIES} --folder_processing warp "
        f"--output warp.settings --extension '*.mrcs' --angpix {size:g} --exposure "
        f"{np.mean([m.dose * m.shape[0] for m in good]) / size**2:.4g}\n\n"
        "Give no `--gain_path`. `--exposure` is the whole movie's dose per square Angstrom, if a count is an "
        "electron. In Warp's window `defects_common.mrc` can be chosen as the defect map.\n"
    )
