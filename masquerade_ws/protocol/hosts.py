"""Hosts as they stand in a URL: which ones exist, and international names in ASCII."""

from __future__ import annotations

import ipaddress
import re
import stringprep
import unicodedata

__all__ = ["HostError", "read_host"]

# Letters, digits and hyphens (RFC 1123, 2.1), the underscore that many names in local networks have, and a last dot.
_NAME = re.compile(r"(?=.{1,254}\Z)(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?", re.IGNORECASE)
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
# Sharp s, final sigma and the joiners, which IDNA 2003 takes away (UTS 46, 7), and fillers that UTS 46 ignores.
_DEVIATIONS = frozenset("\xdf\u03c2\u200c\u200d\u115f\u1160\u17b4\u17b5\u3164\uffa0")
_DOTS = re.compile("[\u3002\uff0e\uff61]")  # those that separate labels beside the ASCII one (RFC 3490, 3.1)


class HostError(ValueError):
    """A host cannot exist, or its name is ambiguous; the text follows the name of an argument and shows no host."""


def read_host(text: str) -> str:
    """Return a host as it is looked up: a name in ASCII, or an address, an IPv6 one without its brackets.

    Args:
        text: The host as it stands in the URL, with the brackets of an IPv6 literal (RFC 3986, 3.2.2).

    Raises:
        HostError: If no host can be written so, or IDNA 2003 and UTS 46 read an international name differently and
            the package idna, which knows the latter, is not installed.
    """
    if text.startswith("[") and text.endswith("]"):
        return _read_address(text[1:-1])
    name = text if text.isascii() else _to_ascii(text)
    if not _NAME.fullmatch(name):
        raise HostError("has a host with characters that no host has")
    return name.lower()


def _read_address(literal: str) -> str:
    """Return an IPv6 address, with its zone (RFC 6874) if it has one."""
    address, percent, zone = literal.replace("%25", "%", 1).partition("%")
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        valid = False
    else:
        valid = not percent or _ZONE.fullmatch(zone) is not None
    if not valid:  # raised here, since a context would show the host
        raise HostError("has brackets around what is not an IPv6 address")
    return f"{address.lower()}{percent}{zone}"


def _to_ascii(name: str) -> str:
    """Return an international name in ASCII, as UTS 46 has it and browsers do."""
    try:
        import idna  # noqa: PLC0415 - an optional dependency
    except ImportError:
        return _by_idna_2003(name)
    try:
        return idna.encode(name, uts46=True).decode()
    except UnicodeError:
        pass
    raise HostError("has an international host name that IDNA 2008 does not allow")


def _by_idna_2003(name: str) -> str:
    """Return an international name in ASCII by Python's own codec, where that agrees with UTS 46."""
    name = _DOTS.sub(".", name)
    try:
        ascii_name = name.encode("idna").decode()
        read_back = ascii_name.encode().decode("idna")
    except UnicodeError:
        ascii_name = read_back = ""
    mapped = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.casefold()).casefold())
    unknown = any(char in _DEVIATIONS or stringprep.in_table_a1(char) for char in name)
    if unknown or read_back != mapped:
        raise HostError(
            "has an international host name that standards read differently; "
            "write it in ASCII (xn--...), or run: pip install idna"
        )
    return ascii_name
