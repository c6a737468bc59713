"""Reads HDF5 datasets whose chunks are compressed, without the filters of HDF5.

Filters, and HDF5 behind them, trust what a chunk and the description of a dataset say. Where damage makes a
chunk decode to fewer pixels than it has, they read memory that is not theirs: the process ends, or pixels are
anything. Here each step is told how much it may give, and a chunk must decode to exactly its size.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numcodecs
import numpy as np
import zstandard
from numpy.typing import NDArray

from mrcz_dask.formats.checksummed import Raw
from mrcz_dask.formats.compression.chunks import decompress_into
from mrcz_dask.formats.libraries import library
from mrcz_dask.values.errors import DamagedError, HeaderError

Options = tuple[int, ...]
Decode = Callable[[memoryview, NDArray[np.uint8]], int]  # a block into its place; bytes that it gave
_FLETCHER32, _FLETCHER32_BYTES = 3, 4
_BLOCK = 8192  # bytes of a block of bitshuffle that says nothing else


class DatasetPixels(ABC):
    """Base class of readers that are sliced like an HDF5 dataset: by numbers, by slices, or as a whole.

    Parameters
    ----------
    dataset
        Dataset of h5py, whose shape, dtype and attributes it has.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.shape, self.dtype, self.attrs = dataset.shape, dataset.dtype, dataset.attrs
        self.size, self.chunks = dataset.size, dataset.chunks

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = () if key is ... else key if isinstance(key, tuple) else (key,)
        keys += (slice(None),) * (len(self.shape) - len(keys))
        numbers = [not isinstance(k, slice) for k in keys]
        bounds = [
            (int(k), int(k) + 1) if number else k.indices(size)[:2]
            for k, number, size in zip(keys, numbers, self.shape, strict=True)
        ]
        return self.read(bounds)[tuple(0 if number else slice(None) for number in numbers)]

    @abstractmethod
    def read(self, bounds: list[tuple[int, int]]) -> NDArray[Any]:
        """Return the pixels between a first and a last (not included) index along each axis."""


class FilteredPixels(DatasetPixels):
    """Reads a dataset whose chunks went through filters of HDF5, such as compression.

    Parameters
    ----------
    name
        Name of its file in messages.
    dataset
        Dataset of h5py.

    Raises
    ------
    HeaderError
        It has a filter, or a type of pixels, that is not known here.
    DamagedError
        Its chunks are larger than it can be, which HDF5 does not let happen.
    """

    def __init__(self, name: str, dataset: Any) -> None:
        super().__init__(dataset)
        settings = dataset.id.get_create_plist()
        filters = [settings.get_filter(k) for k in range(settings.get_nfilters())]
        self._filters = [(int(code), tuple(options)) for code, _, options, _ in filters]
        unknown = [text.decode("utf-8", "replace") for code, _, _, text in filters if code not in _DECODERS]
        kind = library("h5py", "hdf5", "HDF5 files").h5t.py_create(dataset.dtype)
        if unknown or not kind.equal(dataset.id.get_type()):
            problem = f"filter {unknown[0]!r}" if unknown else "pixels of an unusual type"
            raise HeaderError(
                f"{name}: {dataset.name} has {problem}; expected gzip, lzf, blosc, lz4, bitshuffle, zstd, or "
                "none; convert it with h5repack -f GZIP=1"
            )
        if any(most and chunk > most for chunk, most in zip(self.chunks, dataset.maxshape, strict=True)):
            raise DamagedError(
                f"{name}: {dataset.name} has chunks of {self.chunks} pixels; expected no more than "
                f"{dataset.maxshape}; copy it again"
            )

    def read(self, bounds: list[tuple[int, int]]) -> NDArray[Any]:
        """Return the pixels between two indices along each axis, from all chunks that have some of them.

        Raises
        ------
        DamagedError
            A chunk does not decode to its size.
        """
        if all(a % c == 0 and b - a == c for (a, b), c in zip(bounds, self.chunks, strict=True)):
            return self._decode(tuple(a for a, _ in bounds))
        out = np.empty([last - first for first, last in bounds], self.dtype)
        grid = (range(a // c * c, b, c) for (a, b), c in zip(bounds, self.chunks, strict=True))
        for place in product(*grid):
            axes = list(zip(place, bounds, self.chunks, strict=True))
            common = [(max(o, a), min(o + c, b)) for o, (a, b), c in axes]
            target = tuple(slice(x - a, y - a) for (x, y), (a, _) in zip(common, bounds, strict=True))
            here = tuple(slice(x - o, y - o) for (x, y), o in zip(common, place, strict=True))
            out[target] = self._decode(place)[here]
        return out

    def _decode(self, place: tuple[int, ...]) -> NDArray[Any]:
        """Return the pixels of the chunk that begins at an index."""
        stored = self._dataset.id.get_chunk_info_by_coord(place)
        if stored.size > (size := self._dataset.file.id.get_filesize()):  # before memory is taken for it
            raise DamagedError(f"a chunk states {stored.size} bytes, but its file has {size}")
        skipped, raw = self._dataset.id.read_direct_chunk(place)
        nbytes = int(np.prod(self.chunks)) * self.dtype.itemsize
        for k, (code, options) in reversed(list(enumerate(self._filters))):
            summed = sum(before == _FLETCHER32 for before, _ in self._filters[:k])
            if not skipped >> k & 1:
                expected = nbytes + _FLETCHER32_BYTES * summed
                raw = _DECODERS[code](raw, options, expected, self.dtype.itemsize)
        if len(raw) != nbytes:
            raise DamagedError(f"a chunk decodes to {len(raw)} bytes; expected {nbytes}")
        return np.frombuffer(raw, self.dtype).reshape(self.chunks)


class VirtualPixels(DatasetPixels):
    """Reads a virtual dataset from the datasets that it is made of.

    Parameters
    ----------
    dataset
        Dataset of h5py.
    parts
        For each part: along each axis the indices here, its pixels, and the indices there.
    """

    def __init__(self, dataset: Any, parts: list[tuple[list[NDArray[Any]], Any, list[NDArray[Any]]]]) -> None:
        super().__init__(dataset)
        self._parts = parts

    def read(self, bounds: list[tuple[int, int]]) -> NDArray[Any]:
        """Return the pixels between two indices along each axis, from all parts that have some of them."""
        out = np.empty([last - first for first, last in bounds], self.dtype)
        for here, pixels, there in self._parts:
            chosen = [np.flatnonzero((k >= a) & (k < b)) for k, (a, b) in zip(here, bounds, strict=True)]
            if all(map(len, chosen)):
                # axes of one index have no partner where the part has fewer axes, or more
                along = iter([c for c, k in zip(chosen, here, strict=True) if len(k) > 1])
                sources = [k[next(along)] if len(k) > 1 else k for k in there]
                part = pixels[tuple(slice(int(k.min()), int(k.max()) + 1) for k in sources)]
                values = part[np.ix_(*(k - k.min() for k in sources))]
                targets = [k[c] - a for k, c, (a, _) in zip(here, chosen, bounds, strict=True)]
                out[np.ix_(*targets)] = values.reshape([len(k) for k in targets])
        return out


def _codecs() -> Any:
    import imagecodecs

    return imagecodecs


def _by_codec(function: str, raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    return getattr(_codecs(), function)(raw, out=nbytes)  # type: ignore[no-any-return]


def _shuffle(raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    return np.frombuffer(numcodecs.Shuffle(itemsize).decode(raw), np.uint8).data


def _fletcher32(raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    return bytes(numcodecs.Fletcher32().decode(raw))


def _blosc(raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    out = np.empty(nbytes, np.uint8)
    decompress_into(raw, out)
    return out.data


def _lz4(raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    def decode(block: memoryview, out: NDArray[np.uint8]) -> int:
        """Decode one block, and return how many bytes it gave."""
        if len(block) == len(out):  # one that does not shrink is stored as it is
            out[:] = block
            return len(out)
        return len(_codecs().lz4_decode(block, out=out))

    return _blocks(raw, nbytes, nbytes, decode)[0].data


def _bitshuffle(raw: Raw, options: Options, nbytes: int, itemsize: int) -> Raw:
    items, kind = (*options, *(0,) * 5)[3:5]  # in a block, or 0; how blocks are compressed
    whole = nbytes - nbytes % (8 * itemsize)  # the rest is stored as it is
    if kind in _BITSHUFFLED:
        data, size = _blocks(raw, nbytes, whole, _BITSHUFFLED[kind]())
    else:
        data, size = np.frombuffer(raw, np.uint8), itemsize * (items or max(128, _BLOCK // itemsize // 8 * 8))
    if kind not in (0, *_BITSHUFFLED) or len(data) != nbytes or size % (8 * itemsize):
        raise DamagedError(
            f"{len(data)} bytes in bitshuffle, kind {kind}, in blocks of {size}; expected {nbytes}"
        )
    out, item = np.empty(nbytes, np.uint8), np.dtype(f"u{itemsize}")
    full = whole - whole % size
    for first, last, block in ((0, full, size), (full, whole, whole - full)):
        if first < last:
            turned, target = data[first:last].view(item), out[first:last].view(item)
            _codecs().bitshuffle_decode(turned, blocksize=block // itemsize, out=target)
    out[whole:] = data[whole:]
    return out.data


def _lz4_block() -> Decode:
    decode = _codecs().lz4_decode
    return lambda block, out: len(decode(block, out=out))


def _zstd_block() -> Decode:
    decompressor = zstandard.ZstdDecompressor()  # to make one for each block takes longer than to decode it

    def decode(block: memoryview, out: NDArray[np.uint8]) -> int:
        """Decode one block; return how many bytes it gave, 0 if it states another size."""
        if zstandard.frame_content_size(block) not in (-1, len(out)):  # -1: it does not say
            return 0
        data = decompressor.decompress(block, max_output_size=len(out))
        out[: len(data)] = np.frombuffer(data, np.uint8)
        return len(data)

    return decode


_BITSHUFFLED: dict[int, Callable[[], Decode]] = {2: _lz4_block, 3: _zstd_block}


def _blocks(raw: Raw, nbytes: int, whole: int, decode: Decode) -> tuple[NDArray[np.uint8], int]:
    """Decode the blocks of a chunk, each behind its length; return their bytes, and those of a block."""
    total, size = struct.unpack_from(">QI", raw)
    if total != nbytes or not size:
        raise DamagedError(f"a chunk states {total} bytes in blocks of {size}; expected {nbytes}")
    out, view, at = np.empty(nbytes, np.uint8), memoryview(raw), 12
    for first in range(0, whole, size):
        begin = at + 4
        at = begin + int.from_bytes(view[at:begin])
        block = out[first : min(first + size, whole)]
        if at > len(view) or decode(view[begin:at], block) != len(block):
            raise DamagedError(f"a block at byte {begin} of a chunk is not whole")
    if len(view) - at != nbytes - whole:
        raise DamagedError(f"a chunk has {len(view) - at} bytes behind its blocks; expected {nbytes - whole}")
    out[whole:] = view[at:]
    return out, size


# By the numbers under which HDF5 registers them.
_DECODERS: dict[int, Callable[[Raw, Options, int, int], Raw]] = {
    1: partial(_by_codec, "zlib_decode"),
    2: _shuffle,
    _FLETCHER32: _fletcher32,
    32000: partial(_by_codec, "lzf_decode"),
    32001: _blosc,
    32004: _lz4,
    32008: _bitshuffle,
    32015: partial(_by_codec, "zstd_decode"),
}
