"""Writes the README of an exported folder, and the tables that RELION reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from mrcz_dask.export.movies import DARK, DEFECTS, GAINS, MOVIES, Movie, place_of, shown_mask
from mrcz_dask.formats.text.star import write_star
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import ParameterError

GAIN = "gain_ones.mrc"


@dataclass(frozen=True, slots=True)
class Optics:
    """Settings of the microscope: voltage, spherical aberration, amplitude contrast, pixel size.

    Attributes
    ----------
    voltage
        Kilovolt.
    cs
        Spherical aberration, millimeter.
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


def _pixel_size(good: Sequence[Movie], optics: Optics) -> float:
    size = optics.pixel_size or next((movie.pixel_size for movie in good if movie.pixel_size), None)
    if size is None:
        raise ParameterError("the stacks say no pixel size; give it with --pixel-size")
    return size


ABOUT = """# {n} movies for {program}

In `{movies}/` are plain MRC movies{kind}. Where a program demands a gain, `{gain}` is one of ones.
`{defects}/` lists the outliers of each movie: `.mrc` is a map (1 = defect), `.txt` has boxes `x y w h`
(from 0, row 0 the first in the file), `_serialem.txt` is SerialEM's text (row 0 at the top).
`defects_common.*` has those that are outliers in every movie.

Movies are in order of acquisition in every list. Dose: {dose:.4g} counts/pixel/frame on average.

"""
CORRECTED = (
    " in float32, corrected: outliers filled, fixed pattern subtracted, mean dose\nkept. **Apply no gain "
    "reference to them**: it was applied before, and what of the pattern was left was taken off"
)
COUNTS = (
    " of the counts as they are. **Apply no other gain or dark to them\nthan each movie's own** (below), "
    "which take off the fixed pattern, too"
)


def _about(good: Sequence[Movie], program: str, kind: str = CORRECTED) -> str:
    dose = float(np.mean([movie.dose for movie in good]))
    return ABOUT.format(
        n=len(good), program=program, movies=MOVIES, kind=kind, gain=GAIN, defects=DEFECTS, dose=dose
    )


def optics_table(size: float, optics: Optics) -> dict[str, list[Any]]:
    """Return RELION's table of one optics group, for movies of a pixel size in Angstrom."""
    return {
        "rlnOpticsGroupName": ["opticsGroup1"],
        "rlnOpticsGroup": [1],
        "rlnMicrographOriginalPixelSize": [float(size)],
        "rlnVoltage": [float(optics.voltage)],
        "rlnSphericalAberration": [float(optics.cs)],
        "rlnAmplitudeContrast": [float(optics.contrast)],
    }


def for_relion(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    """Write RELION's STAR files of movies and hot pixels; return the README with its command."""
    size = _pixel_size(good, optics)
    write_star(
        target / "movies.star",
        {
            "optics": optics_table(size, optics),
            "movies": {
                "rlnMicrographMovieName": [f"{MOVIES}/{movie.stem}.mrcs" for movie in good],
                "rlnOpticsGroup": [1] * len(good),
            },
        },
    )
    for movie in good:
        y, x = np.nonzero(shown_mask(store, movie))
        columns = {"rlnCoordinateX": x.astype(float).tolist(), "rlnCoordinateY": y.astype(float).tolist()}
        write_star(place_of(movie, target / "hot_pixels", ".star"), {"hot_pixels": columns})
    return _about(good, "RELION") + (
        "Run in this folder, which then is the project's:\n\n"
        "    relion_run_motioncorr --i movies.star --o MotionCorr/job001/ --use_own --bfactor 150 --j 4 "
        f"--dose_per_frame {np.mean([m.dose for m in good]) / size**2:.4g} --patch_x 5 --patch_y 5\n\n"
        "`--dose_per_frame` is in electrons per square Angstrom, if a count is an electron. `hot_pixels/` "
        "has the tables `data_hot_pixels` as RELION writes them into each movie's STAR file.\n"
    )


def for_motioncor(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    """Return the README of a folder for MotionCor: the command for all movies, or for one of counts."""
    size, raw, first = _pixel_size(good, optics), good[0].counts, good[0].stem
    movie, gain, dark, defects = (
        quote(f"{folder}/{first}{end}")
        for folder, end in ((MOVIES, ".mrcs"), (GAINS, ".mrc"), (DARK, ".mrc"), (DEFECTS, ".mrc"))
    )
    aligned = quote(f"{first.replace('/', '_')}_aligned.mrc")
    facts = f"-PixSize {size:g} -kV {optics.voltage:g} -FmDose {good[0].dose / size**2:.4g}"
    if raw:
        return _about(good, "MotionCor", COUNTS) + (
            "For each movie, such as the first:\n\n"
            f"    MotionCor3 -InMrc {movie} -OutMrc {aligned} {facts} -Gain {gain} -Dark {dark} "
            f"-DefectMap {defects}\n\n{OF_COUNTS}"
        )
    commands = ""
    for folder in sorted({f"{MOVIES}/{movie.stem}".rpartition("/")[0] for movie in good}):
        movies, aligned = quote(f"{folder}/"), quote(f"aligned/{folder}/")
        commands += (
            f"    mkdir -p {aligned} && MotionCor3 -InMrc {movies} -InSuffix .mrcs -OutMrc {aligned} "
            f"-Serial 1 {facts} -Gain {GAIN}\n"
        )
    return _about(good, "MotionCor", CORRECTED) + (
        f"All movies:\n\n{commands}\n`-FmDose` is in electrons per square Angstrom, if a count is an "
        "electron. `-Gain` is a gain of ones. Outliers are filled already.\n"
    )


OF_COUNTS = (
    f"`{DARK}/` has what is to be taken off every frame of a movie before its gain, `{GAINS}/` its gain: the "
    "camera's if the run\nwas given one (gamma taken, 0 at defects), else ones, as MotionCor applies a dark "
    "only together with a gain.\n"
)


def for_cryosparc(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    """Return the README of a folder for cryoSPARC, with the values for Import Movies."""
    size = _pixel_size(good, optics)
    depths = {movie.stem.count("/") for movie in good}
    paths = ", ".join(f"`{MOVIES}/{'*/' * depth}*.mrcs`" for depth in sorted(depths))
    return _about(good, "cryoSPARC") + (
        "Import Movies:\n\n"
        f"- Movies data path: {paths}\n- Gain reference path: none\n"
        "- Defect file path: `defects_common.txt` (boxes), or as gain reference "
        "`gain_ones_zero_at_defects.mrc`\n"
        f"- Raw pixel size (A): {size:g}\n- Accelerating voltage (kV): {optics.voltage:g}\n"
        f"- Spherical aberration (mm): {optics.cs:g}\n"
        f"- Total exposure dose (e/A^2): {np.mean([m.dose * m.shape[0] for m in good]) / size**2:.4g}, "
        "if a count is an electron\n"
    )


def for_warp(good: Sequence[Movie], target: Path, store: SessionStore, optics: Optics) -> str:
    """Return the README of a folder for Warp, with the command that creates its settings."""
    size = _pixel_size(good, optics)
    below = " --recursive" if any("/" in movie.stem for movie in good) else ""
    return _about(good, "Warp") + (
        "Run in this folder:\n\n"
        f"    WarpTools create_settings --folder_data {MOVIES} --folder_processing warp "
        f"--output warp.settings --extension '*.mrcs'{below} --angpix {size:g} --exposure "
        f"{np.mean([m.dose * m.shape[0] for m in good]) / size**2:.4g}\n\n"
        "Give no `--gain_path`. `--exposure` is the whole movie's dose per square Angstrom, if a count is an "
        "electron. In Warp's window `defects_common.mrc` can be chosen as the defect map.\n"
    )


TEXTS: Mapping[Program, Callable[[Sequence[Movie], Path, SessionStore, Optics], str]] = {
    "relion": for_relion,
    "motioncor": for_motioncor,
    "cryosparc": for_cryosparc,
    "warp": for_warp,
}
