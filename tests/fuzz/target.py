"""The law that every reader of bytes holds.

Whatever the bytes are, a reader returns a result, or raises an error of this package that says what is wrong.
Nothing else is raised, and little memory is taken.
"""

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mrcz_dask.values.errors import MrczDaskError

# Beside some multiple of the input: what libraries allocate when they are first used.
MEMORY, TIMES = 128 << 20, 64


@dataclass(frozen=True)
class Target:
    """A reader of bytes.

    Attributes
    ----------
    name
        Of the reader.
    seeds
        Writes sound inputs into an empty folder; returns them.
    read
        Reads all that the program reads of such bytes; gets a folder to put them into.
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]

    def __str__(self) -> str:
        return self.name

    def check(self, data: bytes, folder: Path) -> None:
        """Hold the law for some bytes."""
        tracemalloc.start()
        try:
            self.read(data, folder)
        except MrczDaskError as error:
            assert str(error), "an error without a text"
        finally:
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < MEMORY + TIMES * len(data), f"{peak} bytes of memory for an input of {len(data)}"
