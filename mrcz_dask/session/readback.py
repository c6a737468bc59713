"""Read back an output that will replace an input, and compare its pixels, before it gets its name."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from mrcz_dask.formats.atomic import check_target, replace_store
from mrcz_dask.formats.digest import PixelDigest
from mrcz_dask.formats.mrc.reader import StackReader
from mrcz_dask.formats.places import stem_of, suffix_of
from mrcz_dask.formats.sidecar import read_sidecar, sidecar, sidecar_path
from mrcz_dask.formats.sources import FrameSource, open_source
from mrcz_dask.session.output_folder import LONGEST_STEM, remove
from mrcz_dask.values.errors import DamagedError
from mrcz_dask.values.timing import phase


@contextmanager
def read_back(
    target: Path,
    digest: str | Callable[[], str],
    *,
    bytes_alone: bool = False,
    reverse_rows: bool = False,
) -> Iterator[Path]:
    """Give a hidden path for an output, which gets its name at the end only if its pixels have the digest.

    Parameters
    ----------
    target
        The name that it gets, with its sidecar or as a folder, replacing what is there. Its suffix tells the
        format.
    digest
        Digest of shape, dtype and pixels; or a function that returns it when the block is over.
    bytes_alone
        The digest is that of the frames' stored bytes, and nothing is decoded.
    reverse_rows
        The digest is that of the frames before their rows were reversed.

    Raises
    ------
    DamagedError
        If other pixels are read; nothing of the output remains.
    """
    check_target(target)
    stem = stem_of(target.name).encode()[:LONGEST_STEM].decode(errors="ignore")
    place = target.with_name(f".{stem}.{uuid.uuid4().hex}.part{suffix_of(target.name)}")
    try:
        yield place
        expected = digest if isinstance(digest, str) else digest()
        if bytes_alone:
            chunks = xxhash.xxh3_128()
            with StackReader(place) as stored, phase("sum"):
                for k in range(len(stored)):
                    chunks.update(stored.stored_chunk(k))
            actual = chunks.hexdigest()
        else:
            with open_source(place) as reader:
                actual = pixel_digest(reader, reverse_rows=reverse_rows)
        if actual != expected:
            raise DamagedError(
                f"{target}: read back with digest {actual}, expected {expected}; it was not kept: "
                "keep the input, and check disk and memory"
            )
        if place.is_dir():
            replace_store(place, target)
        else:
            with sidecar(target, read_sidecar(place)):  # comes before its file
                place.replace(target)
    finally:
        sidecar_path(place).unlink(missing_ok=True)
        remove(place)


def pixel_digest(reader: FrameSource, *, reverse_rows: bool = False) -> str:
    """Return the digest of a stack's shape, dtype and pixels, by which a copy is checked."""
    digest = PixelDigest(reader.shape, reader.dtype)
    with phase("sum"):
        for frame in reader:
            digest.update(frame[::-1] if reverse_rows else frame)
    return digest.hexdigest()
