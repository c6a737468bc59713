"""The commands with which programs go on from movies as they are, a refined gain and defects."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from shlex import quote
from typing import Any

import numpy as np
import xxhash

from mrcz_dask.export.texts import Optics, optics_table
from mrcz_dask.formats.atomic import write_atomic
from mrcz_dask.formats.text.mdoc import SUFFIX, read_mdoc
from mrcz_dask.formats.text.star import is_word, write_star
from mrcz_dask.values.choices import Program
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.params import GainParams, InputParams
from mrcz_dask.values.texts import some

DIVIDES_EER: tuple[Program, ...] = ("relion", "warp")  # they divide EER frames by a gain in MRC
TAKES_DARK: tuple[Program, ...] = ("motioncor", "aretomo")
SAMPLINGS = {1: 1, 2: 2, 4: 3}  # of MotionCor3 and AreTomo3, by sub-pixels along an edge
PATH = "S512"
# Fields of cryoSPARC's exposures: name, type, number of values if more than one.
EXPOSURE: tuple[tuple[str, str, int | None], ...] = (
    ("uid", "<u8", None),
    ("movie_blob/path", PATH, None),
    ("movie_blob/shape", "<u4", 3),
    ("movie_blob/psize_A", "<f4", None),
    ("movie_blob/is_gain_corrected", "<u4", None),
    ("movie_blob/format", "S8", None),
    ("movie_blob/has_defect_file", "<u4", None),
    ("movie_blob/import_sig", "<u8", None),
    ("gain_ref_blob/path", PATH, None),
    ("gain_ref_blob/idx", "<u4", None),
    ("gain_ref_blob/shape", "<u4", 2),
    ("gain_ref_blob/flip_x", "<u4", None),
    ("gain_ref_blob/flip_y", "<u4", None),
    ("gain_ref_blob/rotate_num", "<u4", None),
    ("mscope_params/accel_kv", "<f4", None),
    ("mscope_params/cs_mm", "<f4", None),
    ("mscope_params/total_dose_e_per_A2", "<f4", None),
    ("mscope_params/phase_plate", "<u4", None),
    ("mscope_params/neg_stain", "<u4", None),
    ("mscope_params/exp_group_id", "<u4", None),
    ("mscope_params/defect_path", PATH, None),
)


@dataclass(frozen=True, slots=True)
class RawMovie:
    """Record of a movie that stays as it is: its path, and what a run found.

    Attributes
    ----------
    path, name, stem
        Path of the movie; its name in the session; the stem of its files in the store.
    acquired
        In ISO form.
    shape, dose
        Frames, rows and columns; counts per pixel and frame.
    pixel_size
        Angstrom, or None.
    gain
        Gain and defects that the run applied, with the stack's gamma.
    raw_frames, inputs
        Raw frames of an EER movie, 0 of another; how the run read it.
    top_down
        Whether rows are in the order of TIFF: programs reverse these.
    """

    path: Path
    name: str
    stem: str
    acquired: str
    shape: tuple[int, int, int]
    dose: float
    pixel_size: float | None
    gain: GainParams
    raw_frames: int
    inputs: InputParams
    top_down: bool


@dataclass(frozen=True, slots=True)
class Epoch:
    """Record of the movies between two changes of the pattern, and of the folder with links to them.

    Attributes
    ----------
    folder
        Name of the folder.
    movies
        Its movies, in order of time.
    program
        The program that goes on.
    has_dark
        Whether a dark was written for it.
    """

    folder: str
    movies: tuple[RawMovie, ...]
    program: Program
    has_dark: bool = False

    def file(self, name: str) -> str:
        """Return the name of a file of this epoch."""
        return f"{self.folder}_{name}"

    def link(self, movie: RawMovie) -> str:
        """Return the path of the link to a movie."""
        return f"{self.folder}/{movie.name.replace('/', '_')}"

    @property
    def eer(self) -> InputParams | None:
        """Options with which the run read EER movies; None for other movies."""
        return self.movies[0].inputs if self.movies[0].raw_frames else None

    @property
    def suffixes(self) -> list[str]:
        """Suffixes of the movies, each once."""
        return sorted({movie.path.suffix for movie in self.movies})

    def dose(self, size: float, *, whole: bool = False) -> float:
        """Return the mean dose of a frame, or of a whole movie, for pixels of `size`, in e-/A^2."""
        doses = [movie.dose * (movie.shape[0] if whole else 1) for movie in self.movies]
        return float(np.mean(doses) / size**2)


def _relion(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    if odd := [movie.name for movie in epoch.movies if not is_word(epoch.link(movie))]:
        raise SessionError(f"{some(odd)}: a STAR file cannot hold a name with a quote or a line break")
    links = [epoch.link(movie) for movie in epoch.movies]
    table: dict[str, list[Any]] = {"rlnMicrographMovieName": links, "rlnOpticsGroup": [1] * len(links)}
    write_star(place / f"{epoch.folder}.star", {"optics": optics_table(size, optics), "movies": table})
    fractions = ""
    if eer := epoch.eer:
        if eer.eer_upsampling > 2:
            raise ParameterError("RELION takes EER with 1 or 2 sub-pixels; run koma with --eer-upsampling 2")
        fractions = f"--eer_grouping {eer.eer_frames} --eer_upsampling {eer.eer_upsampling} "
    return [
        f"relion_run_motioncorr --i {epoch.folder}.star --o MotionCorr/{epoch.folder}/ --use_own "
        f"--gainref {epoch.file('gain.mrc')} --bfactor 150 --j 4 --dose_per_frame {epoch.dose(size):.4g} "
        f"{fractions}--patch_x 5 --patch_y 5"
    ]


def _options(epoch: Epoch) -> str:
    """Return the options for dark and sub-pixels, which MotionCor3 and AreTomo3 have in common."""
    dark = f" -Dark {epoch.file('dark.mrc')}" if epoch.has_dark else ""
    return dark + (f" -EerSampling {SAMPLINGS[epoch.eer.eer_upsampling]}" if epoch.eer else "")


def _motioncor(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    dose, fractions, kinds = epoch.dose(size), "", {".tif": "Tiff", ".tiff": "Tiff", ".eer": "Eer"}
    if eer := epoch.eer:
        dose /= eer.eer_frames
        raw = min(movie.raw_frames for movie in epoch.movies) // eer.eer_frames * eer.eer_frames
        table = epoch.file("fractions.txt")
        write_atomic(place / table, f"{raw} {eer.eer_frames} {dose:.6g}\n".encode())
        fractions = f" -FmIntFile {table}"
    return [
        f"mkdir -p aligned/{epoch.folder}",
        *(
            f"MotionCor3 -In{kinds.get(suffix.lower(), 'Mrc')} {epoch.folder}/ "
            f"-InSuffix {quote(suffix)} -OutMrc aligned/{epoch.folder}/ -Serial 1 "
            f"-Gain {epoch.file('gain.mrc')} -DefectMap {epoch.file('defects.mrc')} -PixSize {size:g} "
            f"-kV {optics.voltage:g} -FmDose {dose:.4g}{fractions}{_options(epoch)}"
            for suffix in epoch.suffixes
        ),
    ]


def _aretomo(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    if below := [movie.name for movie in epoch.movies if "/" in movie.name]:
        raise SessionError(
            f"{some(below)}: AreTomo finds movies beside their .mdoc; hand on each folder of movies alone"
        )
    first, names = epoch.movies[0], {movie.name for movie in epoch.movies}
    lines: list[str] = []
    for mdoc in sorted(path for path in first.path.parent.iterdir() if path.suffix.casefold() == SUFFIX):
        tilts = [PureWindowsPath(tilt.get("SubFramePath") or "").name for tilt in read_mdoc(mdoc).tilts]
        missing = len(tilts) - sum(name in names for name in tilts)
        if tilts and not missing:
            beside = (place / epoch.link(first)).readlink().with_name(mdoc.name)
            (place / epoch.folder / mdoc.name).symlink_to(beside)
        elif missing < len(tilts):
            why = f"left out: {missing} of its {len(tilts)} movies are not in {epoch.folder}"
            lines.append(f"echo {quote(f'{mdoc.name}: {why}')}")
    if not any((place / epoch.folder).glob(f"*{SUFFIX}")):
        raise SessionError(
            f"{first.path.parent}: no .mdoc of a tilt series whose movies are all in {epoch.folder}; AreTomo "
            "needs them beside the movies"
        )
    fractions = f" -FmInt {epoch.eer.eer_frames}" if epoch.eer else ""
    dose = epoch.dose(size) / (epoch.eer.eer_frames if epoch.eer else 1)
    return [
        *lines,
        f"mkdir -p aligned/{epoch.folder}",
        f"AreTomo3 -InPrefix {epoch.folder}/ -InSuffix {SUFFIX} -OutDir aligned/{epoch.folder}/ -Serial 1 "
        f"-Gain {epoch.file('gain.mrc')} -DefectFile {epoch.file('defects.txt')} -PixSize {size:g} "
        f"-kV {optics.voltage:g} -Cs {optics.cs:g} -FmDose {dose:.4g}{fractions}{_options(epoch)}",
    ]


def _cryosparc(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    if eer := epoch.eer:  # how cryoSPARC's tables say it is not published
        more = f", {epoch.movies[0].shape[0]} EER fractions, EER upsampling {eer.eer_upsampling}"
    else:
        _write_exposures(epoch, place, size, optics)
        more = f"; or Import Result Group: {epoch.folder}.csg"
    return [
        f"echo 'Import Movies: data path {epoch.folder}/*, gain reference {epoch.file('gain.mrc')}, "
        f"defect file {epoch.file('defects.txt')}, pixel size {size:g} A, {optics.voltage:g} kV, "
        f"Cs {optics.cs:g} mm, total exposure {epoch.dose(size, whole=True):.4g} e-/A^2{more}'"
    ]


def _write_exposures(epoch: Epoch, place: Path, size: float, optics: Optics) -> None:
    """Write cryoSPARC's table of exposures, which joins each movie with its gain and defects, and its group.

    The fields are those of cryosparc-tools (`models/exposure.py`); ``>`` means beside the table.
    """
    rows = []
    for movie in epoch.movies:
        uid = xxhash.xxh3_64_intdigest(movie.name.encode())
        kind = "TIFF" if movie.path.suffix.lower().startswith(".tif") else "MRC"
        dose = movie.dose * movie.shape[0] / size**2
        blob = (f">{epoch.link(movie)}".encode(), movie.shape, size, 0, kind.encode(), 1, uid)
        gain = (f">{epoch.file('gain.mrc')}".encode(), 0, movie.shape[1:], 0, 0, 0)
        defects = f">{epoch.file('defects.txt')}".encode()
        rows.append((uid, *blob, *gain, optics.voltage, optics.cs, dose, 0, 0, 1, defects))
    table = np.array(rows, [(name, kind) if n is None else (name, kind, n) for name, kind, n in EXPOSURE])
    with io.BytesIO() as file:
        np.save(file, table, allow_pickle=False)
        write_atomic(place / f"{epoch.folder}.cs", file.getvalue())
    results = "".join(
        f"  {slot}:\n    metafile: '>{epoch.folder}.cs'\n    num_items: {len(rows)}\n"
        f"    type: exposure.{slot}\n"
        for slot in ("movie_blob", "gain_ref_blob", "mscope_params")
    )
    group = f"group:\n  description: movies of {epoch.folder}\n  name: {epoch.folder}\n"
    group += f"  title: {epoch.folder}\n  type: exposure\nresults:\n{results}version: v4.0\n"
    write_atomic(place / f"{epoch.folder}.csg", group.encode())


def _warp(epoch: Epoch, place: Path, size: float, optics: Optics) -> list[str]:
    fractions = f" --eer_ngroups -{epoch.eer.eer_frames}" if epoch.eer else ""
    return [
        f"WarpTools create_settings --folder_data {epoch.folder} --folder_processing warp_{epoch.folder} "
        f"--output {epoch.folder}.settings --extension {quote(f'*{suffix}')} --angpix {size:g} "
        f"--exposure {epoch.dose(size, whole=True):.4g} --gain_path {epoch.file('gain.mrc')} "
        f"--defects_path {epoch.file('defects.mrc')}{fractions}"
        for suffix in epoch.suffixes
    ]


COMMANDS: Mapping[Program, Callable[[Epoch, Path, float, Optics], list[str]]] = {
    "relion": _relion,
    "motioncor": _motioncor,
    "cryosparc": _cryosparc,
    "warp": _warp,
    "aretomo": _aretomo,
}
