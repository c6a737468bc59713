"""Chooses where page and metrics of a run are served: in Dask's dashboard, or at their own address."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mrcz_dask.engine.client import Client, DaskClient
from mrcz_dask.pages.address import PageAddress
from mrcz_dask.values.messages import Listener, PageReady, Warned, several


@dataclass(frozen=True, slots=True)
class PageParams:
    """Options of a run's web page: whether it is served, and at which address.

    Attributes
    ----------
    required
        False: in the dashboard of a cluster that is made; on loopback, any port, with somebody else's
        scheduler; nowhere without a cluster.
    address
        With `required`: where the command serves it; None = nowhere.
    """

    required: bool = False
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
    shown = params.address is not None if params.required else isinstance(client, DaskClient)
    if not shown:
        yield listen
        return
    from mrcz_dask.monitor.listener import SessionListener
    from mrcz_dask.monitor.page import InDashboard, monitor_site
    from mrcz_dask.pages.server import Server

    session, address = SessionListener(), params.address or PageAddress()
    cluster = getattr(client.client, "cluster", None) if isinstance(client, DaskClient) else None
    scheduler = getattr(cluster, "scheduler", None)
    is_in_process = hasattr(scheduler, "http_server") and hasattr(scheduler, "http_application")
    served: Server | InDashboard
    try:
        if params.required:
            served = address.serve(monitor_site(session), listen)
        elif is_in_process:
            served = InDashboard(session, scheduler)
        else:
            served = Server(monitor_site(session), address.host, address.port)
    except OSError as error:  # a run that did not ask for a page goes on without it
        listen(Warned(f"there is no page of this run ({error}); `mrcz-dask status` tells how it stands"))
        yield listen
        return
    listen(PageReady(served.address))
    try:
        yield several(listen, session)
    finally:
        served.close()
