"""Writes the outputs of a run as plain MRC movies, with rows in the order of other programs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.footer import last_steps
from mrcz_dask.correction.opening import open_stack
from mrcz_dask.correction.outputs import REVERSED
from mrcz_dask.correction.tasks import output_stem
from mrcz_dask.formats.frames import FrameSource
from mrcz_dask.formats.mrc.writer import StackWriter, write
from mrcz_dask.formats.places import distinct_name, stem_of
from mrcz_dask.formats.sources import open_source
from mrcz_dask.formats.writers import OUTPUT_SUFFIXES, is_top_down
from mrcz_dask.gain.applied import gain_for
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.session.entries import relative_name
from mrcz_dask.session.listing import list_stacks
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.errors import MrczDaskError, NoStacksError, ParameterError, PlaceError
from mrcz_dask.values.params import GainParams

MOVIES, DEFECTS, DARK, GAINS = "movies", "defects", "dark", "gain"


@dataclass(frozen=True, slots=True)
class Movie:
    """Record of one output of a run, to be exported to another program: path, dose, gain, order of rows.

    Attributes
    ----------
    path
        Path of the output.
    stem
        Name of its files without suffix, with folders.
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
    dtype
        Type of its frames in their unit.
    gain
        Gain, dark and defects that a run applied, with the stack's gamma.
    top_down, input_top_down
        Whether the rows of the output, and of the input, are in the order of TIFF: programs reverse these.
    """

    path: Path
    stem: str
    acquired: str
    pixel_size: float | None
    counts: bool
    dose: float
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    gain: GainParams
    top_down: bool
    input_top_down: bool

    def as_shown(self, image: NDArray[Any]) -> NDArray[Any]:
        """Flip an image of the detector if its rows run otherwise in MRC files than in the input."""
        return image[::-1] if self.input_top_down else image


def movies_of(folder: Path) -> tuple[list[Movie], dict[str, str]]:
    """Find the outputs of a run in its folder and below; also return files that cannot be read.

    Returns
    -------
    movies
        In order of acquisition.
    failed
        Files that cannot be read, with reasons.

    Raises
    ------
    SessionError
        When there is none.
    """
    movies: list[Movie] = []
    failed: dict[str, str] = {}
    try:
        files = list_stacks(folder, recursive=True).files
    except (NoStacksError, FileNotFoundError):
        files = ()
    for path in (path for path in files if path.name.endswith(tuple(OUTPUT_SUFFIXES.values()))):
        name = relative_name(path, folder)
        try:
            with open_source(path) as reader:
                steps = last_steps(reader.footer or {})
                if "koma" not in steps:
                    continue
                # koma puts outputs into the folder of their input; elsewhere they are copies
                source = PurePosixPath(steps["outliers"]["inputs"][0]["name"])
                distinct = PurePosixPath(distinct_name(str(source))).name
                if output_stem(PurePosixPath(name).name) not in (source.name, stem_of(source.name), distinct):
                    failed[name] = (
                        f"made from {source}, as its footer says; give it the name of its stack back"
                    )
                elif "/" not in name or source.parent == PurePosixPath(name).parent:
                    movies.append(_movie(path, name, reader, steps))
        except (MrczDaskError, OSError) as error:
            failed[name] = str(error)
    if not movies:
        raise PlaceError(f"{folder}: no outputs of koma; expected files that a run wrote there")
    return sorted(movies, key=lambda movie: (movie.acquired, movie.stem)), failed


def _movie(path: Path, name: str, reader: FrameSource, steps: dict[str, dict[str, Any]]) -> Movie:
    gain = steps.get("gain")
    top_down = is_top_down(reader)
    chain = reader.provenance
    written = max(k for k, step in enumerate(chain) if step["name"] == "write")
    reversals = sum(bool((step.get("results") or {}).get(REVERSED)) for step in chain[written:])
    return Movie(
        path=path,
        stem=name.removesuffix(path.name) + stem_of(path.name),
        acquired=steps["koma"]["results"]["acquired"],
        pixel_size=reader.pixel_size[0] if reader.pixel_size else None,
        counts=(reader.footer or {}).get("recipe") is not None,
        dose=float(steps["outliers"]["results"]["dose_per_frame"]),
        shape=reader.shape,
        dtype=reader.physical_dtype,
        gain=GainParams(gain["parameters"]["gain"], (gain["results"]["gamma"],)) if gain else GainParams(),
        top_down=top_down,
        input_top_down=top_down != (reversals % 2 == 1),
    )


def shown_mask(store: SessionStore, movie: Movie) -> NDArray[np.bool_]:
    """Return a movie's outlier mask, (ny, nx) bool, True = outlier, with rows in MRC's order."""
    return np.ascontiguousarray(movie.as_shown(store.mask(movie.stem)))


def place_of(movie: Movie, folder: Path, end: str) -> Path:
    """Return the path of a movie's file in an exported folder, and make its folder."""
    path = folder / f"{movie.stem}{end}"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_movie(movie: Movie, target: Path, *, corrected: bool) -> None:
    """Write a movie as plain MRC: corrected, float32, or its counts.

    8-bit counts become int16, as programs differ about the sign of bytes.
    """
    stack = open_stack(movie.path, corrected=corrected and movie.counts)
    dtype = np.dtype(np.float32) if corrected else stack.dtype
    with StackWriter(
        place_of(movie, target / MOVIES, ".mrcs"),
        movie.shape,
        np.int16 if dtype.itemsize == 1 else dtype,
        codec="none",
        pixel_size=movie.pixel_size,
        footer=False,
        reverse_rows=movie.top_down,
    ) as writer:
        for k in range(movie.shape[0]):
            writer.append(np.asarray(stack[k].compute(), writer.dtype))


def write_dark_and_gain(movie: Movie, target: Path, store: SessionStore) -> None:
    """Write for a movie the dark and gain with which MotionCor corrects its counts.

    The dark is the camera's plus the pattern over the gain. The gain has its gamma and the scale of the
    method `session` applied, and zeros at its defects; it is ones where the run applied none.

    Raises
    ------
    ParameterError
        The pattern was divided by, and is no dark.
    """
    correction = store.correction(movie.stem)
    if correction.form == "divide":
        raise ParameterError(
            f"{movie.path}: --form divide has no additive reference for MotionCor; use --form subtract"
        )
    gain = gain_for(str(store.path), movie.gain, movie.gain.gamma[0]) or Gain.of(np.ones(movie.shape[1:]))
    scale = correction.factor()
    dark = correction.pattern.astype(np.float32) * np.float32(correction.step) / gain.image
    if scale is not None:
        dark /= scale
    if gain.dark is not None:
        dark += gain.dark
    factor = np.where(gain.bad, np.float32(0), gain.image if scale is None else gain.image * scale)
    for folder, image in ((DARK, dark), (GAINS, factor)):
        rows = np.ascontiguousarray(movie.as_shown(image))
        write(place_of(movie, target / folder, ".mrc"), rows, footer=False)
