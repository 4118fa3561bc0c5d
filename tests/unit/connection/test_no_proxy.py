"""The forms of no_proxy."""

from __future__ import annotations

import pytest

from masquerade_ws.connection.no_proxy import bypasses_proxy


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("*", "h"),
        ("h", "h"),
        ("H.Example", "h.example"),
        (" a , h ,b", "h"),
        ("a b h", "h"),
        ("example.com", "a.b.example.com"),
        (".example.com", "example.com"),
        (".example.com", "a.example.com"),
        ("*.example.com", "a.example.com"),
        ("example.com", "example.com."),
        ("example.com.", "example.com"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("h:443", "h"),
        (".example.com:443", "a.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1:443", "127.0.0.1"),
        ("10.0.0.0/8", "10.255.0.1"),
        ("10.1.2.3/8", "10.255.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("[::1]:443", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("fe80::1%eth0", "fe80::1%eth1"),
        ("[FE80::1]", "fe80::1"),
        ("fd00::/8", "fd12::1"),
    ],
)
def test_these_hosts_are_reached_without_a_proxy(no_proxy: str, host: str) -> None:
    assert bypasses_proxy(no_proxy, host, 443)


@pytest.mark.parametrize(
    ("no_proxy", "host"),
    [
        ("", "h"),
        (",", "h"),
        (".", "h"),
        ("h", "gh"),
        ("example.com", "anexample.com"),
        ("a.example.com", "example.com"),
        ("h:80", "h"),
        ("[::1]:80", "::1"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("10.0.0.0/8", "11.0.0.1"),
        ("10.0.0.0/8", "h"),
        ("10.0.0.0/8", "fd12::1"),
        ("10.0.0.0/99", "10.0.0.1"),
        ("fd00::/8", "fe80::1"),
        ("0.0.1", "127.0.0.1"),
        ("::2", "::1"),
        ("h:port", "h"),
        (f"h:{'9' * 5000}", "h"),
        ("a|b", "b"),
    ],
)
def test_these_hosts_are_not(no_proxy: str, host: str) -> None:
    assert not bypasses_proxy(no_proxy, host, 443)
