"""Adds the page and the metrics of a session to the dashboard of a Dask scheduler in this process."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import Any

from tornado.ioloop import IOLoop

from mrcz_dask.monitor.listener import SessionListener
from mrcz_dask.monitor.page import HAS_METRICS, IN_DASHBOARD, NAME, monitor_site
from mrcz_dask.pages.server import Documents, call, url


class InDashboard:
    """Serves the session's page and metrics as part of a Dask scheduler's dashboard.

    Parameters
    ----------
    session
        Knows how the session stands.
    scheduler
        In this process.

    Attributes
    ----------
    address
        URL of the page.
    """

    def __init__(self, session: SessionListener, scheduler: Any) -> None:
        self._scheduler, self._metrics = scheduler, ExitStack()
        self._loop = scheduler.loop.asyncio_loop
        server = scheduler.http_server
        call(self._loop, self._open(session, server.address))
        if HAS_METRICS:
            from prometheus_client import REGISTRY  # Dask's dashboard serves what is in it

            from mrcz_dask.monitor.metrics import Metrics

            metrics = Metrics(session)
            REGISTRY.register(metrics)
            self._metrics.callback(REGISTRY.unregister, metrics)
        self.address = url(server.address, server.port, NAME)

    async def _open(self, session: SessionListener, host: str) -> None:
        from distributed.dashboard.components.scheduler import env
        from distributed.dashboard.scheduler import template_variables

        variables = template_variables(self._scheduler)
        # the list is that of all pages of this dashboard
        self._links: list[str] = variables["pages"]
        self._links.insert(0, NAME)
        self._documents = Documents(monitor_site(session), env.from_string(IN_DASHBOARD), variables)
        self._application = self._documents.application(host)
        self._scheduler.http_application.add_application(self._application)
        self._application.initialize(IOLoop.current())
        self._application.start()

    def close(self) -> None:
        """Show the last state in open browsers, and remove the page from the dashboard."""
        self._metrics.close()
        with suppress(TimeoutError, RuntimeError):  # a scheduler that is gone shows nothing any more
            call(self._loop, self._close())

    async def _close(self) -> None:
        await self._documents.finish()
        self._scheduler.http_application.applications.remove(self._application)
        self._links.remove(NAME)
        self._application.stop()
