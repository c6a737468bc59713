"""Chooses where page and metrics of a run are served: in Dask's dashboard, or at their own address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.values.messages import Listener, PageReady, Warned, several

if TYPE_CHECKING:
    from mrcz_dask.monitor.dashboard import InDashboard
    from mrcz_dask.monitor.listener import SessionListener
    from mrcz_dask.pages.server import Server


@dataclass(frozen=True, slots=True)
class PageParams:
    """Options of a run's web page: whether it is served, and at which address.

    Attributes
    ----------
    asked
        False: in the dashboard of a cluster that is made; on loopback, any port, with somebody else's
        scheduler; nowhere without a cluster.
    address
        With `asked`: where the command serves it; None = nowhere.
    """

    asked: bool = False
    address: PageAddress | None = None

    @classmethod
    def of(cls, option: str | None) -> PageParams:
        """Return the parameters that the text of the option ``--page`` stands for.

        Raises
        ------
        ParameterError
            When it is no address.
        """
        return cls() if option is None else cls(True, PageAddress.parse(option))


@contextmanager
def watched(client: Client, params: PageParams, listen: Listener) -> Iterator[Listener]:
    """Serve page and metrics during the block; give the listener to which the run sends its messages.

    Parameters
    ----------
    client
        Where the run will be.
    params
        Whether there is a page, and where.
    listen
        Gets all messages, where the page is, and what a person should know of it.

    Raises
    ------
    SessionError
        When the address that was asked for cannot be listened at.
    """
    shown = params.address is not None if params.asked else isinstance(client, DaskClient)
    if not shown:
        yield listen
        return
    from mrcz_dask.monitor.listener import SessionListener

    session = SessionListener()
    served = _serve(session, client, params, listen)
    if served is None:
        yield listen
        return
    listen(PageReady(served.address))
    try:
        yield several(listen, session)
    finally:
        served.close()


def _serve(
    session: SessionListener, client: Client, params: PageParams, listen: Listener
) -> Server | InDashboard | None:
    """Begin to serve the page; a run that did not ask for one goes on without it."""
    from mrcz_dask.monitor.dashboard import InDashboard, scheduler_here
    from mrcz_dask.monitor.page import monitor_site
    from mrcz_dask.pages.server import Server

    address, site = params.address or PageAddress(), monitor_site(session)
    if params.asked:
        return address.serve(site, listen)
    scheduler = scheduler_here(client)
    try:
        if scheduler is None:
            return Server(site, address.host, address.port)
        return InDashboard(session, scheduler)
    except OSError as error:
        listen(Warned(f"there is no page of this run ({error}); `mrcz-dask status` tells how it stands"))
        return None
