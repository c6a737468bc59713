"""Opens a stack as a dask array, as stored or corrected by the recipe in its footer."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.outputs import RECIPE_VERSION, REVERSED
from mrcz_dask.correction.tasks import store_of
from mrcz_dask.formats.digest import correction_digest
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.gain.applied import GainedFrames, gain_for
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.session.shared_readers import frames_array, identity, physical_frame, shared_reader
from mrcz_dask.session.store import SessionStore
from mrcz_dask.values.checks import checked
from mrcz_dask.values.errors import DamagedError, FormatError, ParameterError, ReferenceNotFoundError
from mrcz_dask.values.params import USUAL_INPUT, GainParams, InputParams

CORRECTIONS = 4


@checked
def open_stack(
    path: str | os.PathLike[str], corrected: bool = False, params: InputParams = USUAL_INPUT
) -> da.Array:
    """Open a stack as a dask array, one chunk a frame; pixels are read when they are computed.

    Parameters
    ----------
    path
        Path of a stack of any format: MRC, MRCZ, TIFF, EER, DM, HDF5 (``file.h5::/path`` names one of several
        arrays), Zarr; workers on other machines must see it under the same path.
    corrected
        Apply the recipe in the footer of a recompressed stack, frame by frame: exactly what a normalized
        float32 stack holds.
    params
        How the file is read where it does not say it: the sign of 8-bit MRC, raw frames of EER.

    Returns
    -------
    dask.array.Array
        (n, ny, nx), in counts: the stored dtype, or float32 where the stored integers are scaled or
        `corrected` is set.

    Raises
    ------
    FormatError
        If the file is no stack, or has no recipe.
    ReferenceNotFoundError
        If the session store that the recipe names is not beside the file.
    MissingLibraryError
        If the package that reads the format is not installed; names the extra.
    DamagedError
        If the store is there but belongs to another run. Damage in pixels is found when they are computed.
    """
    path = Path(path)
    with open_source(path, params) as reader:
        if not corrected:
            return frames_array(physical_frame, identity(path, params), reader.shape, reader.physical_dtype)
        recipe, shape = _recipe_of(reader, path), reader.shape
    _check_store(recipe)
    return frames_array(corrected_frame, (*identity(path, params), recipe), shape, np.float32)


def recipe_problem(path: Path) -> str | None:
    """Return why a stack's recipe cannot correct it; None if it can, or if there is no recipe."""
    with open_source(path) as reader:
        if "recipe" not in (reader.footer or {}):
            return None
        try:
            recipe = _recipe_of(reader, path)
            _check_store(recipe)
        except (FormatError, ReferenceNotFoundError, ParameterError) as error:
            return f"recipe: {error}"
    store = SessionStore(recipe.store)
    if not store.has_correction(recipe.stem, recipe.digest):
        return f"recipe: the correction in {store.path.name} is damaged; run koma again, it writes it anew"
    return None


@dataclass(frozen=True, slots=True)
class Recipe:
    """Record from a recompressed stack's footer that says where its correction is stored and which gain comes
    first.

    Attributes
    ----------
    store, stem, digest
        Path of the session store, stem of the stack, and digest of its correction.
    gain, offset
        Gain, and counts that are subtracted from every pixel.
    reversed_rows
        Whether the rows of the stored frames are reversed against those of the correction.
    """

    store: str
    stem: str
    digest: str
    gain: GainParams
    offset: int
    reversed_rows: bool


def corrected_frame(
    path: str, size: int, mtime_ns: int, params: InputParams, recipe: Recipe, k: int
) -> NDArray[np.float32]:
    """Return frame k of a recompressed stack, corrected by its recipe; float32 counts."""
    correction, gain = _correction(recipe.store, recipe.stem, recipe.digest), recipe.gain
    order = slice(None, None, -1 if recipe.reversed_rows else 1)
    with shared_reader(path, size, mtime_ns, params) as reader:
        exposed = GainedFrames(reader, gain_for(recipe.store, gain, gain.gamma[0]), recipe.offset)
        frame, dose = exposed.gained(reader.frame(k)[order]), reader.dose
    if frame.shape != correction.shape:
        raise DamagedError(
            f"{path}: frames of {frame.shape} with a correction for the shape {correction.shape}; "
            f"the recipe does not belong to this stack"
        )
    at_own_dose = correction.at_dose(relative_dose(frame, correction.correction.weight, dose))
    return at_own_dose.apply(frame)[order]


def _recipe_of(reader: FrameSource, path: Path) -> Recipe:
    recipe = (reader.footer or {}).get("recipe")
    if not isinstance(recipe, dict):
        raise FormatError(
            f"{reader.name}: no recipe in its footer; expected a stack of `koma --write recompressed`. "
            "Open it with corrected=False"
        )
    if recipe.get("version") != RECIPE_VERSION:
        raise FormatError(
            f"{reader.name}: its recipe has version {recipe.get('version')!r}, expected {RECIPE_VERSION}; "
            "open it with the program that wrote it, or with corrected=False"
        )
    for key in ("store", "stem", "digest"):
        value = recipe.get(key)
        parts = value.split("/") if key == "stem" and isinstance(value, str) else [value]
        if any(not isinstance(p, str) or Path(p).name != p or p in ("", "..") for p in parts):
            raise FormatError(f"{reader.name}: {key} of its recipe is {value!r}, expected a plain name")
    gain, gamma, offset = recipe.get("gain", ""), recipe.get("gamma", 1.0), recipe.get("offset", 0)
    numbers = isinstance(gamma, (int, float)) and isinstance(offset, int)
    if not (isinstance(gain, str) and Path(gain).name == gain and numbers):
        raise FormatError(
            f"{reader.name}: gain {gain!r}, gamma {gamma!r} and offset {offset!r} of its recipe make no sense"
        )
    stem, digest, store = recipe["stem"], recipe["digest"], store_of(path, recipe["stem"])
    return Recipe(str(store), stem, digest, GainParams(gain, (gamma,)), offset, bool(recipe.get(REVERSED)))


def _check_store(recipe: Recipe) -> None:
    """Complain now, and not on a worker, if the correction is not there or is another one; read no pixel."""
    store, stem, gain = SessionStore(recipe.store), recipe.stem, recipe.gain.gain
    if not store.path.is_dir():
        raise ReferenceNotFoundError(
            f"{store.path}: the recipe of {stem!r} needs this session store, and it is not there; "
            "move it together with the stacks"
        )
    digest = store.correction_digest(stem)
    if digest is None:
        raise ReferenceNotFoundError(
            f"{store.path}: no correction of {stem!r} in this session store; the stack must be beside the "
            "store that was written with it"
        )
    if digest != recipe.digest:
        raise _another_correction(recipe.store, stem, digest, recipe.digest)
    if gain and store.gain_about(gain) is None:
        raise ReferenceNotFoundError(
            f"{store.path}: the gain {gain} of {stem!r} is not in this session store; the stack must be "
            "beside the store that was written with it"
        )


def _another_correction(store: str, stem: str, digest: str, expected: str) -> DamagedError:
    return DamagedError(
        f"{store}: the correction of {stem!r} has digest {digest}, its recipe expects {expected}; "
        "the store belongs to another run, or is damaged"
    )


@lru_cache(maxsize=CORRECTIONS)
def _correction(store: str, stem: str, digest: str) -> ReadyCorrection:
    """Return a correction from the store, checked once in each process."""
    correction = SessionStore(store).correction(stem)
    actual = correction_digest(correction)
    if actual != digest:
        raise _another_correction(store, stem, actual, digest)
    return correction.ready()
