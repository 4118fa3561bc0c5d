"""Which requests a server for one person answers: none of web pages of other sites.

A browser lets a page of any site open a WebSocket to this machine, and says in ``Origin`` where the page comes from
(RFC 6455, section 10.2). For plain HTTP it says nothing, but keeps the answer from the page. A site can evade that by
letting its own name point to this machine (DNS rebinding): then its pages count as ours, and only ``Host`` shows the
name. Programs send no ``Origin``.
"""

from __future__ import annotations

__all__ = ["refusal_of"]

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from websockets.http11 import Request


def refusal_of(request: Request, names: Collection[str]) -> str | None:
    """Return why a request is refused, or ``None`` if it is not.

    Args:
        request: The request, of a WebSocket or not.
        names: Names of this machine besides ``localhost``, in lower case.
    """
    hosts = request.headers.get_all("Host")
    host = _name_in(f"//{hosts[0]}") if len(hosts) == 1 else ""
    if not (host in names or _is_local(host) or _address_in(host)):
        return (
            f"{' and '.join(hosts) or 'an empty Host'} is not a name of this machine; if it is, serve with --allow-host"
        )
    for origin in request.headers.get_all("Origin"):
        page = _name_in(origin) if origin.startswith(("http://", "https://")) else ""
        if not (page in names or _is_local(page) or page == host):
            return f"web pages of {origin or 'an unknown origin'} may not use this gateway"
    return None


def _name_in(url: str) -> str:
    """Return the host in a URL, in lower case and without the dot of the root; an empty one if there is none."""
    try:
        return (urlsplit(url).hostname or "").removesuffix(".")
    except ValueError:
        return ""


def _is_local(host: str) -> bool:
    """Return whether a host always means this machine (RFC 6761, section 6.3, for names)."""
    address = _address_in(host)
    return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")


def _address_in(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that a host is, which no name server can point elsewhere."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
