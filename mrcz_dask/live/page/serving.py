"""Where the page of a live session is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mrcz_dask.live.session import Session
from mrcz_dask.pages.address import LOOPBACK, PageAddress
from mrcz_dask.values.messages import Listener, PageReady, silent

NAME = "live"


@contextmanager
def served_live(
    view: Session,
    host: str = LOOPBACK,
    port: int = 0,
    store: Path | None = None,
    listen: Listener = silent,
) -> Iterator[str]:
    """Give the address of the page of a live session, which is there until the block ends.

    Parameters
    ----------
    view
        The session.
    host, port
        Where to listen; port 0 = any that is free.
    store
        Folder of the results' Zarr store; None = only what the session keeps in memory can be exported.
    listen
        Is told where the page is, and warned if others can reach it.

    Raises
    ------
    SessionError
        When the address cannot be listened at.
    """
    from mrcz_dask.live.page.exports import routes
    from mrcz_dask.live.page.page import LivePage
    from mrcz_dask.live.page.template import PAGE
    from mrcz_dask.pages.server import Server, Site

    threads = ThreadPoolExecutor(1, "exports")
    site = Site(NAME, PAGE, lambda reader: LivePage(view, reader), routes(view, store, threads))
    served = PageAddress(host, port).serve(lambda host, port: Server(site, host, port), listen)
    listen(PageReady(served.address))
    try:
        yield served.address
    finally:
        served.close()
        threads.shutdown(wait=False, cancel_futures=True)
