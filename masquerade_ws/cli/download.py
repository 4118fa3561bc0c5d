"""Fetches an image that a job has made."""

from __future__ import annotations

__all__ = ["check_place", "download"]

import contextlib
import ipaddress
import os
import urllib.request
import uuid
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit

import click

from masquerade_ws import ConnectError
from masquerade_ws.cli.target import Target

_TIMEOUT = 30.0  # seconds without a byte


def check_place(place: Path, force: bool) -> None:
    """Find out before the job whether its image can be saved.

    Raises:
        click.UsageError: If there is a file already, or no folder for one.
    """
    if place.exists() and not force:
        raise click.UsageError(f"{place} exists already: give --force to overwrite it")
    if not os.access(place.parent, os.W_OK):
        raise click.UsageError(f"cannot write into the folder {place.parent}: create it, or choose another")


def download(url: str, place: Path, target: Target) -> None:
    """Save what a URL leads to; a file appears whole or not at all.

    Args:
        url: The URL, as the server gave it.
        place: The file to make.
        target: The gateway, whose proxy and certificates apply here, too; it does not get the token again.

    Raises:
        ConnectError: If the image cannot be fetched.
        OSError: If it cannot be saved.
    """
    part = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with open(part, "xb") as file:
            for chunk in _chunks(url, target):
                file.write(chunk)
        os.replace(part, place)
    finally:
        with contextlib.suppress(FileNotFoundError):  # it has become the file
            part.unlink()


def _chunks(url: str, target: Target) -> Iterator[bytes]:
    problem = f"cannot fetch the image at {url}"
    if not _is_reachable(url, target.url):
        raise ConnectError(f"{problem}: that is not an address that can be reached from here")
    try:
        with _opener(target).open(url, timeout=_TIMEOUT) as response:
            while chunk := response.read(2**16):
                yield chunk
            if getattr(response, "length", None):  # `read` does not report it
                raise ConnectError(f"{problem}: the answer ended early")
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, ConnectError):
            raise
        if isinstance(error, HTTPError):
            error.close()  # it is the response as well, and holds the socket
        raise ConnectError(f"{problem}: {error}") from error


def _opener(target: Target) -> urllib.request.OpenerDirector:
    proxy = target.options.get("proxy")
    proxies = None if proxy is None else {"http": proxy, "https": proxy} if proxy else {}
    https = urllib.request.HTTPSHandler(context=target.options.get("ssl_context"))
    return urllib.request.build_opener(urllib.request.ProxyHandler(proxies), https)


def _is_reachable(url: str, gateway: str) -> bool:
    """Return whether an address is one of HTTP, or that of a file whose machine this is: the gateway runs here."""
    scheme, host = urlsplit(url).scheme, urlsplit(gateway).hostname or ""
    if scheme != "file":
        return scheme in ("http", "https")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
