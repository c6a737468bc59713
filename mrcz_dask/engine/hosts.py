"""Protects the page and the dashboard from requests of other web sites, by the address asked for.

Another site's page in somebody's browser must not read ours, also where that site lets its name point here
(DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tornado.web import Application

LOOPBACK = "127.0.0.1"
# Bokeh's list of names behind a proxy, such as that of a JupyterHub; separated by commas.
NAMES = "BOKEH_ALLOW_WS_ORIGIN"


def is_loopback(address: str) -> bool:
    """Return True if an address can only be reached from this machine, such as ``localhost:8787``."""
    host = re.sub(r"^\w+://", "", address)
    if not _is_ip(host):
        host = re.sub(r":\d+$", "", host).strip("[]")
    if _is_ip(host):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def is_asked_for(listening: str, host: str, origin: str | None) -> bool:
    """Return True if a web request names the server's own address,
    and comes from a page of it or from no page.

    Parameters
    ----------
    listening
        Address at which the server listens.
    host
        The request's header ``Host``; any port, because a tunnel may begin at any.
    origin
        The request's header ``Origin``; None from what is no page.
    """
    names = {_name(name.strip()) for name in os.environ.get(NAMES, "").split(",")} - {""}
    name = _name(host)
    page = None if origin is None else _name(re.sub(r"^\w+://", "", origin))
    far = not is_loopback(listening)
    if far:
        names |= {listening.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    # No site can let a number point elsewhere, so numbers are safe where other machines may ask.
    known = is_loopback(name) or name in names or (far and _is_ip(name))
    return known and (page is None or page == name or is_loopback(page) or page in names)


def _name(host: str) -> str:
    """Return the name or number in HOST or HOST:PORT; '' if it is anything else."""
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^\s:/\\?#@\[\],]+))(?::\d*)?", host)
    return (match[1] or match[2]).lower().rstrip(".") if match else ""


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def guard_dashboard(cluster: Any, address: str) -> None:
    """Make the Dask dashboard of a cluster refuse requests that come from other web sites."""
    guard(cluster.scheduler.http_application, address.rpartition(":")[0])


def guard(application: Application, listening: str) -> None:
    """Make a web application answer 403 to requests that come from other
    web sites or name another address.
    """
    from tornado.httputil import HTTPServerRequest
    from tornado.routing import Matcher, Rule
    from tornado.web import RequestHandler

    class Foreign(Matcher):
        """Matches requests that name another host than the ones this page has."""

        def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
            """Return {} for a foreign request, and None for one that may pass."""
            headers = request.headers
            origin = headers.get("Origin", headers.get("Sec-Websocket-Origin"))
            return None if is_asked_for(listening, request.host, origin) else {}

    class Forbidden(RequestHandler):
        """Refuses a request."""

        def prepare(self) -> None:
            """Answer with status 403 and say what to do."""
            self.set_status(403)
            self.finish(
                "This address is not one of this page. Use the address that the command printed. Behind a "
                f"proxy, start the command with {NAMES}=NAME-OF-THE-PROXY.\n"
            )

    application.default_router.rules.insert(0, Rule(Foreign(), Forbidden))
