"""URLs: what is accepted, what becomes of it, and that refusals show nothing."""

from __future__ import annotations

import pytest

from masquerade_ws.protocol.uri import host_and_port, parse_uri
from tests.support.raw_server import shown


@pytest.mark.parametrize(
    ("url", "parts", "authority"),
    [
        ("ws://example.com", ("example.com", 80, "/", "ws://example.com:80/"), "example.com"),
        ("wss://example.com/ws", ("example.com", 443, "/ws", "wss://example.com:443/ws"), "example.com"),
        ("wss://h:80/", ("h", 80, "/", "wss://h:80/"), "h:80"),
        ("WS://Example.COM:8080/a?b=c&d", ("example.com", 8080, "/a?b=c&d", "ws://example.com:8080/a"), None),
        ("ws://[::1]:9/x", ("::1", 9, "/x", "ws://[::1]:9/x"), "[::1]:9"),
        ("ws://[fe80::1%25eth0]/", ("fe80::1%eth0", 80, "/", "ws://[fe80::1]:80/"), "[fe80::1]"),
        ("ws://h/%41?q=%2F+", ("h", 80, "/%41?q=%2F+", "ws://h:80/%41"), "h"),
        ("ws://h/grüß?ü", ("h", 80, "/gr%C3%BC%C3%9F?%C3%BC", "ws://h:80/gr%C3%BC%C3%9F"), "h"),
        ("ws://bücher.example/", ("xn--bcher-kva.example", 80, "/", "ws://xn--bcher-kva.example:80/"), None),
        ("ws://a_b.local./", ("a_b.local.", 80, "/", "ws://a_b.local.:80/"), "a_b.local."),
        ("ws://[fe80::1%eth0]/", ("fe80::1%eth0", 80, "/", "ws://[fe80::1]:80/"), "[fe80::1]"),
        ("ws://h:/", ("h", 80, "/", "ws://h:80/"), "h"),
        ("ws://h?token=x", ("h", 80, "/?token=x", "ws://h:80/"), "h"),
    ],
)
def test_a_url_is_split(url: str, parts: tuple[str, int, str, str], authority: str | None) -> None:
    target = parse_uri(url)
    assert (target.host, target.port, target.resource, target.name) == parts
    if authority is not None:
        assert target.authority == authority
    assert target.secure == url.lower().startswith("wss")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://SECRET.example/", "must begin with ws:// or wss://"),
        ("SECRET", "must begin with"),
        ("SECRET:34076/ws", "must begin with"),
        ("", "must begin with"),
        ("ws://", "no host"),
        ("ws:///SECRET", "no host"),
        ("ws://SECRET:SECRET@h/", "user name"),
        ("ws://@h/", "user name"),
        ("ws://h/#SECRET", "fragment"),
        ("ws://h/?SECRET#", "fragment"),
        ("ws://h:SECRET/", "not a valid URL"),
        ("ws://h:99999/?SECRET", "not a valid URL"),
        ("ws://h:0/?SECRET", "port 0"),
        ("ws://[SECRET/", "not a valid URL"),
        ("ws://SECRET\N{FULLWIDTH SOLIDUS}/", "not a valid URL"),
        ("ws://h/?token=SECRET\r\nX: y", "control characters"),
        ("ws://h/?token=SECRET\x00", "control characters"),
        ("ws://h/SECRET SECRET", "white space"),
        ("ws://ü" + "SECRET" * 20 + "/", "host"),
        ("ws://images%2eSECRET.com/ws", "characters that no host has"),
        ("ws://%/", "characters that no host has"),
        ("ws://ho|st/", "characters that no host has"),
        ("ws://<x>/", "characters that no host has"),
        ("ws://host\\SECRET/", "characters that no host has"),
        ("ws://a..b/", "characters that no host has"),
        ("ws://.a/", "characters that no host has"),
        ("ws://a../", "characters that no host has"),
        ("ws://./", "characters that no host has"),
        ("ws://h,SECRET/", "characters that no host has"),
        ("ws://h^/", "characters that no host has"),
        ("ws://h{}/", "characters that no host has"),
        ("ws://h`/", "characters that no host has"),
        ("ws://h'/", "characters that no host has"),
        ("ws://h%25eth0/", "characters that no host has"),
        (f"ws://{'a' * 64}/", "characters that no host has"),
        (f"ws://{'a.' * 127}b/", "characters that no host has"),
        ("ws://[::1]SECRET/", "not a valid URL"),
        ("ws://SECRET[::1]/", "not a valid URL"),
        ("ws://[::1][::1]/", "not a valid URL"),
        ("ws://h:80:90/", "not a valid URL"),
        ("ws://h:\u0661/", "not a valid URL"),
        ("ws://[h]/", "IPv6|not a valid URL"),
        ("ws://[v1.SECRET]/", "IPv6|not a valid URL"),
        ("ws://[fe80::1%25]/", "IPv6|not a valid URL"),
        ("ws://[fe80::1%25a|b]/", "IPv6|not a valid URL"),
        ("ws://[::1%25a%25b]/", "IPv6|not a valid URL"),
    ],
)
def test_a_bad_url_is_refused_by_name_and_not_shown(url: str, fault: str) -> None:
    with pytest.raises(ValueError, match=f"url .*({fault})") as caught:
        parse_uri(url)
    assert "SECRET" not in shown(caught.value)
    assert caught.value.__context__ is None


def test_a_url_of_another_type_is_refused() -> None:
    with pytest.raises(TypeError, match="url must be a str, not bytes"):
        parse_uri(b"ws://h/")  # type: ignore[arg-type]


def test_an_authority_has_brackets_and_no_zone() -> None:
    assert host_and_port("h", 1) == "h:1"
    assert host_and_port("fe80::1%eth0", 1) == "[fe80::1]:1"
