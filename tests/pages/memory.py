"""Memory of the pages' servers after loads that no browser takes up: `python -m tests.pages.memory`.

Loads each page by plain HTTP in rounds of as many as are open at a time, and waits until they are gone.
"""

import gc
import sys
import time
from http.client import HTTPConnection

import psutil
from bokeh.document import Document

from mrcz_dask.pages.server import MOST_PAGES
from tests.fuzz.http import live_page, monitor_page

ROUNDS, LONGEST = 5, 120  # the first one is for imports and caches; seconds


def documents() -> int:
    """Return the number of documents that are left in this process."""
    gc.collect()
    return sum(isinstance(one, Document) for one in gc.get_objects())


def measure(name: str, address: str) -> None:
    """Print memory in MB after each round of loads of a page."""
    process, before = psutil.Process(), documents()
    for number in range(ROUNDS):
        host, path = address.removeprefix("http://").split("/", 1)
        for _ in range(MOST_PAGES):
            connection = HTTPConnection(host, timeout=60)
            connection.request("GET", f"/{path}")
            answer = connection.getresponse()
            assert answer.status == 200 and b"open already" not in answer.read()
            connection.close()
        loaded, until = process.memory_info().rss, time.monotonic() + LONGEST
        while documents() > before and time.monotonic() < until:
            time.sleep(5)
        rss = process.memory_info().rss
        print(
            f"{name}, {MOST_PAGES * (number + 1)} loads: {loaded / 1e6:.1f} MB, then {rss / 1e6:.1f} MB "
            f"and {documents() - before} documents",
            flush=True,
        )


if __name__ == "__main__":
    for name, page in (("live", live_page), ("monitor", monitor_page)):
        if name in sys.argv[1:] or len(sys.argv) == 1:
            with page() as address:
                measure(name, address)
