"""The environment variable ``no_proxy``: which hosts are reached without a proxy."""

from __future__ import annotations

import ipaddress
import re

from masquerade_ws.protocol.hosts import HostError, read_host

__all__ = ["bypasses_proxy"]

# A host and perhaps a port, or a bare IPv6 address, whose colons are its own.
_HOST_AND_PORT = re.compile(r"(\[[^\[\]]*\]|[^:]*)(?::([0-9]+))?")


def bypasses_proxy(no_proxy: str, host: str, port: int) -> bool:
    """Return whether a host is to be reached without a proxy.

    Args:
        no_proxy: Entries separated by commas or white space. Each is ``*`` for every host; a name, with or without a
            dot before it, for itself and the names below it; an address, an IPv6 one with or without brackets; or a
            network such as ``10.0.0.0/8``. A name, or an address that is not a bare IPv6 one, may have a port.
        host: The host as it is looked up, an IPv6 address without brackets.
        port: The port.
    """
    host = host.partition("%")[0].removesuffix(".").lower()
    return any(_matches(entry, host, port) for entry in re.split(r"[,\s]+", no_proxy) if entry)


def _matches(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return _within(entry, host)
    parts = _HOST_AND_PORT.fullmatch(entry)
    if parts is not None and parts[2] is not None and parts[2].lstrip("0") != str(port):
        return False
    name = entry if parts is None else parts[1]
    address = _address(host)
    if address is not None:
        return address == _address(name.strip("[]").partition("%")[0])
    name = _looked_up(name.removeprefix("*").removeprefix("."))
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _looked_up(name: str) -> str:
    """Return a name in the form of the host, an international one in ASCII; ``""`` if no host is named so."""
    try:
        return read_host(name).removesuffix(".") if name else ""
    except HostError:
        return ""


def _within(network: str, host: str) -> bool:
    address = _address(host)
    try:
        return address is not None and address in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
