"""The session store: sums, weights and corrections of a session as a Zarr hierarchy.

``stacks/<stem>`` holds ``sum`` and ``weight`` (of all frames, and of frames 0, 2, 4, ...) and ``coarse``
images, with the stack's record in its attributes; ``corrections/<stem>`` the correction that turns its counts
into normalized pixels; ``references/<stem>`` (of `--write references`) the same, and ``outliers/<stem>`` the
table of its outliers; ``histograms/<stem>`` histogram, fit and mask;
``lasting/<stem>`` outliers that other stacks show; ``thumbnails/<stem>`` small images;
``gains/<digest>`` the gain that was applied to the frames first. A group appears whole, by rename, or not at
all: a task may run twice, and a reader never sees half of one. Attributes hold the xxh3-64 of each group and
array, as Zarr reads a chunk that is gone as zeros, and the group's path: nothing of another stack passes.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
import zarr
from numpy.typing import NDArray
from zarr.storage import MemoryStore

from mrcz_dask.formats.atomic import explain, replace_by_any
from mrcz_dask.formats.digest import PIXEL_ARRAYS, SCALE, correction_arrays, correction_digest, digests_below
from mrcz_dask.formats.metadata import (
    SEAL,
    ZARR_FILE,
    group_attributes,
    open_group,
    open_whole,
    reading,
    sealed_values,
)
from mrcz_dask.formats.places import INPUT_SUFFIXES, suffix_of
from mrcz_dask.formats.provenance import plain
from mrcz_dask.numerics.arrays import Mask, Singles
from mrcz_dask.numerics.gain.gain import Gain
from mrcz_dask.numerics.outliers.kept_fit import KeptFit
from mrcz_dask.numerics.outliers.weights import is_masked
from mrcz_dask.numerics.reference.correction import Correction
from mrcz_dask.numerics.reference.window import WindowSum
from mrcz_dask.session.store_arrays import array_digest, move_files, read_strips, write_array
from mrcz_dask.values.errors import DamagedError, DamagedSumError, FormatError
from mrcz_dask.values.records import StackRecord
from mrcz_dask.values.timing import phase

VERSION = 1
ROOT = {"mrcz_dask_store": VERSION}  # attributes of the store
LONGEST_KEY = 200  # bytes; file systems take 255
SUM_ARRAYS = ("numerator", "masked", "missing")
PICTURES = {
    "histograms": ("curves", "counts", "hot_dead"),
    "thumbnails": ("images", "patch", "patch_weight"),
    "lasting": ("hot", "dead"),
}
FIT_CURVES = ("edges", "z", "residual", "weight")
CONTENT = "content"
OF_STACKS = ("stacks", "corrections", "references", "outliers", "histograms", "lasting", "thumbnails")
GROUPS = (*OF_STACKS, "gains", "blocks")


class SessionStore:
    """The session store: a Zarr folder with sums, masks and records, from which the next run is quick.

    Parameters
    ----------
    path
        Path of the folder, ``OUT/session.zarr``; `create` makes it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def create(self) -> None:
        """Make the store, or check that the existing one has a layout that this version can use.

        Raises
        ------
        FormatError
            When it was written in another version of the layout.
        """
        root = self.path / "zarr.json"
        if not root.exists():
            zarr.create_group(self.path, attributes=ROOT)
        version = group_attributes(self.path, f"remove the file {root} and run again").get("mrcz_dask_store")
        if version != VERSION:
            raise FormatError(
                f"{self.path}: session store of layout {version!r}; this program writes {VERSION}. "
                "Move the folder away, or choose another output folder."
            )
        for name in (name for name in GROUPS if not (self.path / name / ZARR_FILE).exists()):
            open_group(self.path, remedy_of(self.path), mode="a").require_group(name)

    def put_stack(self, record: StackRecord, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write a stack's sums and weights with its record to the store."""
        self.put(f"stacks/{key_of(record.stem)}", arrays, plain(record.to_dict()))

    def record(self, stem: str) -> StackRecord | None:
        """Read a stack's record; None if the store has none that this version can read.

        Raises
        ------
        DamagedError
            When it is not what was written.
        """
        attributes = self.attributes(f"stacks/{key_of(stem)}")
        with suppress(TypeError):  # fields are missing: none is there, or another version wrote it
            return StackRecord.from_dict(attributes)
        return None

    def load(self, stem: str, name: str) -> NDArray[Any]:
        """Read an array of a stack: ``sum``, ``weight``, ``sum_even``, ``weight_even`` or ``coarse``.

        Raises
        ------
        DamagedSumError
            When it is not there, or not what was written.
        """
        try:
            return self.arrays(f"stacks/{key_of(stem)}", name)[0]
        except DamagedError as error:
            raise DamagedSumError(str(error), stem) from error

    def strips(self, stem: str, name: str) -> Iterator[NDArray[Any]]:
        """Read an array of a stack in strips of rows; see `load`."""
        group = f"stacks/{key_of(stem)}"
        try:
            seal = self.attributes(group).get(CONTENT, {}).get("arrays", {}).get(name, "")
            yield from read_strips(self.path / group / name, seal, remedy_of(self.path / group))
        except DamagedError as error:
            raise DamagedSumError(str(error), stem) from error

    def mask(self, stem: str) -> Mask:
        """Return the mask (ny, nx) of the outliers that the sum of a stack, or the stacks around it, show."""
        mask = is_masked(self.load(stem, "weight"))
        if self.attributes(f"lasting/{key_of(stem)}"):
            for at in self.arrays(f"lasting/{key_of(stem)}", "hot", "dead"):
                mask.reshape(-1)[at] = True
        return mask

    def put_correction(self, stem: str, correction: Correction) -> str:
        """Write a stack's correction, and return its digest, by which it is recognized when it is read."""
        return self._put_correction(f"corrections/{key_of(stem)}", correction)

    def put_reference(self, stem: str, correction: Correction, table: Mapping[str, NDArray[Any]]) -> None:
        """Write a stack's correction and outlier table, for `--write references`."""
        self.put(f"outliers/{key_of(stem)}", table, {})
        self._put_correction(f"references/{key_of(stem)}", correction)

    def put_histogram(self, stem: str, fit: KeptFit, hot: Mask, dead: Mask) -> None:
        """Write the histogram of a stack's sum, its fit and its outliers (y, x) for the report."""
        arrays = {
            "counts": fit.counts,
            "curves": np.stack([getattr(fit, name) for name in FIT_CURVES]),
            "hot_dead": np.stack([np.packbits(hot, axis=1), np.packbits(dead, axis=1)]),
        }
        about = {name: getattr(fit, name) for name in ("below", "above", "dark_line", "hot_line")}
        about |= {"curves": FIT_CURVES, "width": hot.shape[1]}
        self.put(f"histograms/{key_of(stem)}", arrays, plain(about))

    def histogram(self, stem: str) -> KeptFit | None:
        """Read the histogram of a stack's sum with its fit, for plots; None if the store has none.

        Raises
        ------
        DamagedError
            When it is not what was written.
        """
        about = self.attributes(f"histograms/{key_of(stem)}")
        if not about:
            return None
        (edges, z, residual, weight), counts = self.arrays(f"histograms/{key_of(stem)}", "curves", "counts")
        dark, hot = (about[name] and tuple(about[name]) for name in ("dark_line", "hot_line"))
        return KeptFit(edges, counts, z, residual, weight, about["below"], about["above"], dark, hot)

    def packed_outliers(self, stem: str) -> tuple[NDArray[np.uint8], int] | None:
        """Read a stack's outliers as bits, (2, y, bytes) uint8 (hot, dead), and the number of columns.

        None if the store has none.

        Raises
        ------
        DamagedError
            When they are not those that were written.
        """
        about = self.attributes(f"histograms/{key_of(stem)}")
        return (self.arrays(f"histograms/{key_of(stem)}", "hot_dead")[0], about["width"]) if about else None

    def put_thumbnails(
        self, stem: str, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, float | list[int]]
    ) -> None:
        """Write a stack's thumbnails, and the patch with most outliers at full size."""
        self.put(f"thumbnails/{key_of(stem)}", arrays, about)

    def is_whole(self, group: str, stem: str) -> bool:
        """Return True if all arrays of a stack in a group, such as ``thumbnails``, are there and whole."""
        path = f"{group}/{key_of(stem)}"
        with suppress(DamagedError, FileNotFoundError):
            return bool(self.attributes(path) and self.arrays(path, *PICTURES[group]))
        return False

    def thumbnails(self, stem: str) -> tuple[NDArray[np.uint8], float, float, float] | None:
        """Read a stack's thumbnails (before, after, pattern), and the counts drawn black and white.

        The fourth value is the share of the mean from gray to white in the image of the pattern; it is 0 if
        an earlier version wrote them, without this image. None if there are none.

        Raises
        ------
        DamagedError
            When they are not those that were written.
        """
        about = self.attributes(f"thumbnails/{key_of(stem)}")
        if not about:
            return None
        (images,) = self.arrays(f"thumbnails/{key_of(stem)}", "images")
        return images, float(about["low"]), float(about["high"]), float(about.get("span", 0.0))

    def patch(self, stem: str) -> tuple[Singles, NDArray[np.uint8], tuple[int, int]] | None:
        """Read the patch of a stack with most outliers: images, weights and position of its first pixel.

        Means are (2, y, x) float32, counts per frame, before and after the correction; weights (y, x) in
        255ths. None if the store has none.

        Raises
        ------
        DamagedError
            When they are not those that were written.
        """
        about = self.attributes(f"thumbnails/{key_of(stem)}")
        if "patch_at" not in about:
            return None
        images, weight = self.arrays(f"thumbnails/{key_of(stem)}", "patch", "patch_weight")
        y, x = about["patch_at"]
        return images, weight, (int(y), int(x))

    def put_block(self, digest: str, total: WindowSum[Any]) -> None:
        """Write the sum of a block of consecutive stacks, from which windows are made during a run."""
        about = {"weight": total.weight, "bound": total.bound, "exponent": total.exponent}
        arrays = {name: getattr(total, name) for name in SUM_ARRAYS}
        self.put(f"blocks/{digest}", arrays, about)

    def block(self, digest: str, total: WindowSum[Any], members: frozenset[Any]) -> WindowSum[Any]:
        """Read the stored sum of a block of stacks, the `members`, into `total`, and return `total`.

        Raises
        ------
        DamagedError
            When it is not there, or not what was written.
        """
        about = self.attributes(f"blocks/{digest}")
        total.numerator, total.masked, total.missing = self.arrays(f"blocks/{digest}", *SUM_ARRAYS)
        total.weight, total.bound, total.exponent = (about[name] for name in ("weight", "bound", "exponent"))
        total.members = members
        return total

    def drop_blocks(self) -> None:
        """Delete the sums and the common outliers of blocks when the run is over."""
        for block in (self.path / "blocks").glob("[0-9a-f]*"):
            shutil.rmtree(block, ignore_errors=True)

    def put_gain(self, digest: str, gain: Gain, about: Mapping[str, Any]) -> None:
        """Write gain, dark and defects, and how they were turned, unless the store has them."""
        with suppress(DamagedError):
            self.gain(digest)
            return
        arrays: dict[str, NDArray[Any]] = {"image": gain.image, "bad": gain.bad.view(np.uint8)}
        dark = {} if gain.dark is None else {"dark": gain.dark}
        self.put(f"gains/{digest}", arrays | dark, {"about": plain(dict(about)), "dark": bool(dark)})

    def gain(self, digest: str) -> Gain:
        """Read the gain, dark and defects that are applied to frames.

        Raises
        ------
        DamagedError
            When it is not there, or not what was written.
        """
        dark = self.attributes(f"gains/{digest}").get("dark", False)
        image, bad, *rest = self.arrays(f"gains/{digest}", "image", "bad", *(("dark",) if dark else ()))
        return Gain(image, bad.view(np.bool_), *rest)

    def gain_about(self, digest: str) -> dict[str, Any] | None:
        """Read names, digests and orientation of a gain, as plain values; None if it is not there."""
        return self.attributes(f"gains/{digest}").get("about")

    def correction_digest(self, stem: str, group: str = "corrections") -> str | None:
        """Read the digest of a stack's stored correction, without its pixels; None if there is none."""
        digest = self.attributes(f"{group}/{key_of(stem)}").get("digest")
        return None if digest is None else str(digest)

    def has_correction(self, stem: str, digest: str, group: str = "corrections") -> bool:
        """Read a stack's stored correction, and return whether it is whole and has this digest."""
        try:
            known = self.correction_digest(stem, group)
            return known == digest and correction_digest(self.correction(stem, group)) == digest
        except DamagedError:
            return False

    def correction(self, stem: str, group: str = "corrections") -> Correction:
        """Read the correction of a stack, with which its frames can be corrected.

        Raises
        ------
        DamagedError
            When it is not there, or its arrays are not those that were written.
        """
        about = self.attributes(f"{group}/{key_of(stem)}")
        names = (*PIXEL_ARRAYS, SCALE) if about.get("scaled") else PIXEL_ARRAYS
        pattern, weight, fill, *scale = self.arrays(f"{group}/{key_of(stem)}", *names)
        return Correction(about["form"], pattern, float(about["step"]), weight, fill, *scale)

    def attributes(self, path: str) -> dict[str, Any]:
        """Return a group's attributes, compared with their checksum; empty where it is not there."""
        group = self.path / path
        if not group.exists():
            return {}
        about = group_attributes(group, remedy_of(group))
        if (own := about.get(CONTENT, {}).get("group", path)) != path:
            raise DamagedError(f"{group}: is {own}, at the place of another; {remedy_of(group)}")
        return about

    def arrays(self, group: str, *names: str) -> list[NDArray[Any]]:
        """Read arrays of a group, and compare them with their checksums."""
        arrays, seals = [], self.attributes(group).get(CONTENT, {}).get("arrays", {})
        for path in (self.path / group / name for name in names):
            with phase("disk"), reading(str(path), "an array", remedy_of(path.parent)):
                array = open_whole(path, remedy_of(path.parent))
                with phase("disk", array.nbytes):
                    values = np.asarray(array[...])
                digest = array_digest(values)
                if not digest == array.attrs.get(SEAL) == seals.get(path.name, digest):
                    raise DamagedError(f"{path}: has changed since it was written; {remedy_of(path.parent)}")
            arrays.append(values)
        return arrays

    def _put_correction(self, path: str, correction: Correction) -> str:
        digest, arrays = correction_digest(correction), correction_arrays(correction)
        about = {"form": correction.form, "step": correction.step, "digest": digest}
        self.put(path, arrays, about | {"scaled": SCALE in arrays})
        return digest

    def put(self, path: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]) -> None:
        """Write a group in a thread of its own, to the end.

        Zarr works in a loop in the background, which a signal that interrupts this thread would leave
        running, and making files that nobody takes away. Signals do not reach other threads.
        """
        nbytes = sum(array.nbytes for array in arrays.values())
        with phase("disk", nbytes), ThreadPoolExecutor(1) as thread:
            thread.submit(int).result()  # a thread that is interrupted while it starts is not waited for
            thread.submit(self._put_group, path, arrays, attributes).result()

    def _put_group(
        self, path: str, arrays: Mapping[str, NDArray[Any]], attributes: Mapping[str, Any]
    ) -> None:
        temporary = self.path.parent / f".{self.path.name}-{uuid.uuid4().hex}"
        try:
            temporary.mkdir()  # Zarr would make all folders above it, too: on a bare mount point, say
            made: dict[str, Any] = {}
            group, seals = zarr.create_group(MemoryStore(made)), {}
            for name, values in arrays.items():
                seals[name] = array_digest(values)
                write_array(group, name, values, seals[name])
                move_files(made, temporary)
            content = {"group": path, "arrays": seals, "files": digests_below(temporary, ZARR_FILE)}
            group.attrs.put(sealed_values({**attributes, CONTENT: content}))
            move_files(made, temporary)
            replace_by_any(temporary, self.path / path)
        except OSError as error:
            raise explain(error, self.path / path) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
            if not self.path.exists():  # the folder went away meanwhile, and Zarr has made another
                with suppress(OSError):
                    temporary.parent.rmdir()


def key_of(stem: str) -> str:
    """Turn a stack's stem into the name of a group or file: no slashes, no suffix, not too long."""
    key = stem.replace("%", "%25").replace("/", "%2F").replace("\\", "%5C")
    if suffix_of(key) in INPUT_SUFFIXES:
        key = "%2E".join(key.rsplit(".", 1))
    if "/" not in stem or len(key.encode()) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY // 4]}-{xxhash.xxh3_64_hexdigest(stem.encode())}"


def remedy_of(group: Path) -> str:
    """Return the remedy for a damaged group of the store, for messages."""
    return f"remove the folder {group} and run again"
