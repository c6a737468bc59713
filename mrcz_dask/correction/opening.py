"""Opening a stack for lazy work, as it is or corrected by the recipe in its footer."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from numpy.typing import NDArray

from mrcz_dask.correction.outputs import RECIPE_VERSION, REVERSED
from mrcz_dask.correction.tasks import store_of
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.gain.applied import Exposed, gain_for
from mrcz_dask.numerics.doses import relative_dose
from mrcz_dask.numerics.reference.correction import ReadyCorrection
from mrcz_dask.session.shared_readers import USUAL, frames_array, identity, physical_frame, shared_reader
from mrcz_dask.session.store import SessionStore, correction_digest
from mrcz_dask.values.errors import DamagedError, FormatError, ReferenceNotFoundError
from mrcz_dask.values.params import GainParams, InputParams

CORRECTIONS = 4


def open_stack(
    path: str | os.PathLike[str], corrected: bool = False, params: InputParams = USUAL
) -> da.Array:
    """Return a stack as a dask array, one chunk a frame; pixels are read when they are computed.

    Parameters
    ----------
    path
        Of a stack of any format: MRC, MRCZ, TIFF, EER, DM, HDF5 (``file.h5::/path`` names one of several
        arrays), Zarr; workers on other machines must see it under the same path.
    corrected
        Apply the recipe in the footer of a recompressed stack, frame by frame: exactly what a normalised
        float32 stack holds.
    params
        How the file is read where it does not say it: the sign of 8-bit MRC, raw frames of EER.

    Returns
    -------
    dask.array.Array
        (n, ny, nx), in counts: the stored dtype, or float32 where the stored integers are scaled or
        `corrected` is asked for.

    Raises
    ------
    FormatError
        When the file is no stack, or has no recipe.
    ReferenceNotFoundError
        When the session store that the recipe names is not beside the file.
    MissingLibraryError
        The package that reads the format is not installed; names the extra.
    DamagedError
        When it is there but belongs to another run. Damage in pixels is found when they are computed.
    """
    path = Path(path)
    with open_source(path, params) as reader:
        shape = reader.shape
        dtype = np.dtype(np.float32) if corrected else reader.physical_dtype
        if not corrected:
            return frames_array(physical_frame, identity(path, params), shape, dtype)
        recipe = _recipe(reader)
    store = store_of(path, recipe["stem"])
    _check_store(store, recipe)
    gain = GainParams(recipe.get("gain", ""), (recipe.get("gamma", 1.0),))
    own = (
        str(store),
        recipe["stem"],
        recipe["digest"],
        gain,
        bool(recipe.get(REVERSED)),
        recipe.get("offset", 0),
    )
    arguments = (*identity(path, params), *own)
    return frames_array(corrected_frame, arguments, shape, dtype)


def recipe_problem(path: Path) -> str | None:
    """Return what is wrong with what a stack's recipe asks for; None for sound ones, and without a recipe."""
    with open_source(path) as reader:
        if "recipe" not in (reader.footer or {}):
            return None
        try:
            recipe = _recipe(reader)
            store = store_of(path, recipe["stem"])
            _check_store(store, recipe)
        except (FormatError, ReferenceNotFoundError) as error:
            return f"recipe: {error}"
    if not SessionStore(store).has_correction(recipe["stem"], recipe["digest"]):
        return f"recipe: the correction in {store.name} is damaged; run koma again, it writes it anew"
    return None


def corrected_frame(
    path: str,
    size: int,
    mtime_ns: int,
    params: InputParams,
    store: str,
    stem: str,
    digest: str,
    gain: GainParams,
    reversed_rows: bool,
    offset: int,
    k: int,
) -> NDArray[np.float32]:
    """Return frame k of a recompressed stack, corrected by its recipe; float32 counts."""
    correction = _correction(store, stem, digest)
    with shared_reader(path, size, mtime_ns, params) as reader:
        stored = reader.frame(k)[:: -1 if reversed_rows else 1]
        frame = Exposed(reader, gain_for(store, gain, gain.gamma[0]), offset).gained(stored)
        dose = reader.dose
    if frame.shape != correction.shape:
        raise DamagedError(
            f"{path}: frames of {frame.shape} with a correction for the shape {correction.shape}; "
            f"the recipe does not belong to this stack"
        )
    own = correction.at_dose(relative_dose(frame, correction.correction.weight, dose))
    return own.apply(frame)[:: -1 if reversed_rows else 1]


def _recipe(reader: FrameSource) -> dict[str, Any]:
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
    return recipe


def _check_store(store: Path, recipe: dict[str, Any]) -> None:
    """Complain now, and not on a worker, where no correction or another one is there; read no pixel."""
    stem, digest = recipe["stem"], recipe["digest"]
    if not store.is_dir():
        raise ReferenceNotFoundError(
            f"{store}: the recipe of {stem!r} needs this session store, and it is not there; "
            "move it together with the stacks"
        )
    found = SessionStore(store).correction_digest(stem)
    if found is None:
        raise ReferenceNotFoundError(
            f"{store}: no correction of {stem!r} in this session store; the stack must be beside the store "
            "that was written with it"
        )
    if found != digest:
        raise _other_correction(store, stem, found, digest)
    gain = recipe.get("gain", "")
    if gain and SessionStore(store).gain_about(gain) is None:
        raise ReferenceNotFoundError(
            f"{store}: the gain {gain} of {stem!r} is not in this session store; the stack must be beside "
            "the store that was written with it"
        )


def _other_correction(store: Path | str, stem: str, found: str, digest: str) -> DamagedError:
    return DamagedError(
        f"{store}: the correction of {stem!r} has digest {found}, its recipe expects {digest}; "
        "the store belongs to another run, or is damaged"
    )


@lru_cache(maxsize=CORRECTIONS)
def _correction(store: str, stem: str, digest: str) -> ReadyCorrection:
    """Return a correction from the store, checked once in each process."""
    correction = SessionStore(store).correction(stem)
    found = correction_digest(correction)
    if found != digest:
        raise _other_correction(store, stem, found, digest)
    return correction.ready()
