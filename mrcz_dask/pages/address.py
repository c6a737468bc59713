"""Address of a web page, as the option ``--page`` gives it, and how it is served there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mrcz_dask.engine.hosts import LOOPBACK, is_loopback
from mrcz_dask.values.errors import ParameterError, SessionError
from mrcz_dask.values.messages import Listener, Warned

if TYPE_CHECKING:
    from mrcz_dask.pages.server import Server, Site

_ADDRESS = re.compile(r"(?:(?P<host>[\w.-]+|\[[0-9a-fA-F:]+\]):)?(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class PageAddress:
    """Host and port at which a command serves its web page.

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
    def parse(cls, text: str) -> PageAddress | None:
        """Return the address that a text ``PORT`` or ``HOST:PORT`` names; None for ``none``.

        Raises
        ------
        ParameterError
            The text is neither.
        """
        match = _ADDRESS.fullmatch(text)
        if text == "none":
            return None
        if match is None or int(match["port"]) > 65535:
            raise ParameterError(f"--page is {text!r}; expected PORT, HOST:PORT or none, such as 8788")
        return cls((match["host"] or LOOPBACK).strip("[]"), int(match["port"]))

    def serve(self, site: Site, listen: Listener) -> Server:
        """Serve a page at this address, and warn if other machines can reach it.

        Parameters
        ----------
        site
            The page.
        listen
            Gets the warning.

        Raises
        ------
        SessionError
            The address cannot be listened at.
        """
        from mrcz_dask.pages.server import Server

        try:
            server = Server(site, self.host, self.port)
        except OSError as error:
            raise SessionError(
                f"--page {self.host}:{self.port}: cannot be listened at ({error.strerror or error}); "
                "choose another port, or 0 for any that is free"
            ) from error
        if not is_loopback(self.host):
            listen(
                Warned(
                    f"the page listens at {self.host}, beyond this machine, without encryption and password; "
                    f"use {LOOPBACK} and a tunnel: ssh -L"
                )
            )
        return server
