"""Serves the page of a live session."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from mrcz_dask.engine.hosts import LOOPBACK
from mrcz_dask.live.session import Session
from mrcz_dask.pages.address import PageAddress
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
    """Serve the page of a live session until the block ends, and give its address.

    Parameters
    ----------
    view
        The session.
    host, port
        Address to listen at; port 0 = any that is free.
    store
        Folder of the results' Zarr store; None = only results in the session's memory can be exported.
    listen
        Gets the address of the page, and a warning if other machines can reach it.

    Raises
    ------
    SessionError
        The address is taken.
    """
    from mrcz_dask.live.page.exports import routes
    from mrcz_dask.live.page.page import LivePage
    from mrcz_dask.live.page.template import PAGE
    from mrcz_dask.pages.server import Server, Site

    threads = ThreadPoolExecutor(1, "exports")
    site = Site(NAME, PAGE, lambda reader: LivePage(view, reader), routes(view, store, threads))
    server = PageAddress(host, port).serve(lambda host, port: Server(site, host, port), listen)
    listen(PageReady(server.address))
    try:
        yield server.address
    finally:
        server.close()
        threads.shutdown(wait=False, cancel_futures=True)
