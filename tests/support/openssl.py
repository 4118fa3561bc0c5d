"""What OpenSSL does for a server and Python's `ssl` does not offer: new keys and new handshakes."""

from __future__ import annotations

import _ssl
import contextlib
import ctypes
import socket
import ssl
import sys
import sysconfig

__all__ = ["can_call_openssl", "renegotiate", "update_keys"]


def can_call_openssl() -> bool:
    """Return whether this build of Python lets OpenSSL be reached."""
    plain_build = sys.implementation.name == "cpython" and not sysconfig.get_config_var("Py_GIL_DISABLED")
    return plain_build and hasattr(_ssl, "__file__") and hasattr(ctypes.CDLL(_ssl.__file__), "SSL_key_update")


def _call(function: str, tls: socket.socket | ssl.SSLObject, *arguments: int) -> bool:
    assert isinstance(tls, ssl.SSLSocket | ssl.SSLObject)
    # After the object's head come the Python socket and OpenSSL's own object.
    address = id(tls._sslobj) + object.__basicsize__ + ctypes.sizeof(ctypes.c_void_p)  # type: ignore[union-attr]
    library = ctypes.CDLL(_ssl.__file__)
    return bool(getattr(library, function)(ctypes.c_void_p.from_address(address), *arguments) == 1)


def update_keys(tls: socket.socket | ssl.SSLObject) -> None:
    """Change the own key of TLS 1.3 with the next record, and demand the same of the other side."""
    assert _call("SSL_key_update", tls, 1)


def renegotiate(tls: socket.socket | ssl.SSLObject) -> None:
    """Send the HelloRequest of TLS 1.2, unless one is under way; the server goes on with the handshake as it reads."""
    if not _call("SSL_renegotiate_pending", tls):
        assert _call("SSL_renegotiate", tls)
        assert isinstance(tls, ssl.SSLSocket | ssl.SSLObject)
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
