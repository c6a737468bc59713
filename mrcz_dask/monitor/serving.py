"""Where the page and the metrics are: in the dashboard of a cluster, or at an address of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.engine.clusters import is_loopback
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Listener, PageReady, Warned, several

if TYPE_CHECKING:
    from mrcz_dask.monitor.live import Live
    from mrcz_dask.monitor.servers import Served

LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the page is to be served by the command itself.

    Attributes
    ----------
    host
        Address to listen at.
    port
        0 = any that is free.
    """

    host: str = LOOPBACK
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Return the place of ``PORT`` or ``HOST:PORT``; None for ``none``.

        Raises
        ------
        ParameterError
            When it is neither.
        """
        found = _ADDRESS.fullmatch(text)
        if text == "none":
            return None
        if found is None or int(found["port"]) > 65535:
            raise ParameterError(f"--page is {text!r}; expected PORT, HOST:PORT or none, such as 8788")
        return cls((found["host"] or LOOPBACK).strip("[]"), int(found["port"]))


@dataclass(frozen=True, slots=True)
class PageParams:
    """Whether there is a page, and where.

    Attributes
    ----------
    asked
        False: in the dashboard of a cluster that is made; on loopback, any port, with somebody else's
        scheduler; nowhere without a cluster.
    place
        With `asked`: where the command serves it; None = nowhere.
    """

    asked: bool = False
    place: Place | None = None

    @classmethod
    def of(cls, option: str | None) -> PageParams:
        """Return the parameters of the option ``--page``.

        Raises
        ------
        ParameterError
            When it is no address.
        """
        return cls() if option is None else cls(True, Place.parse(option))


@contextmanager
def watched(client: Client, params: PageParams, listen: Listener) -> Iterator[Listener]:
    """Give a listener that tells `listen`, the page and the metrics, which are there until the block ends.

    Parameters
    ----------
    client
        Where the run will be.
    params
        Whether there is a page, and where.
    listen
        Is told all messages, where the page is, and what a person should know of it.

    Raises
    ------
    SessionError
        When the address that was asked for cannot be listened at.
    """
    if not _wanted(client, params):
        yield listen
        return
    from mrcz_dask.monitor.live import Live

    live = Live()
    served = _opened(live, client, params, listen)
    if served is None:
        yield listen
        return
    listen(PageReady(served.address))
    try:
        yield several(listen, live)
    finally:
        served.close()


def _wanted(client: Client, params: PageParams) -> bool:
    return params.place is not None if params.asked else isinstance(client, DaskClient)


def _opened(live: Live, client: Client, params: PageParams, listen: Listener) -> Served | None:
    """Return what serves the page; a run that did not ask for one goes on without it."""
    from mrcz_dask.monitor.servers import Alone, InDashboard, scheduler_here

    place = params.place or Place()
    if params.asked:
        return at_place(place, lambda: Alone(live, place.host, place.port), listen)
    scheduler = scheduler_here(client)
    try:
        return Alone(live, place.host, place.port) if scheduler is None else InDashboard(live, scheduler)
    except OSError as error:
        listen(Warned(f"there is no page of this run ({error}); `mrcz-dask status` tells how it stands"))
        return None


def at_place(place: Place, serve: Callable[[], Served], listen: Listener) -> Served:
    """Return what serves a page at the place that was asked for, with a warning if others can reach it.

    Parameters
    ----------
    place
        Where.
    serve
        Begins to listen there.
    listen
        Is warned.

    Raises
    ------
    SessionError
        When that cannot be listened at.
    """
    try:
        served = serve()
    except OSError as error:
        raise SessionError(
            f"--page {place.host}:{place.port}: cannot be listened at ({error.strerror or error}); "
            "choose another port, or 0 for any that is free"
        ) from error
    if not is_loopback(place.host):
        listen(
            Warned(
                f"the page listens at {place.host}, beyond this machine, not encrypted, and asks nobody for "
                f"a password; use {LOOPBACK} and a tunnel: ssh -L"
            )
        )
    return served
