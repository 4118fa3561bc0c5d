"""Hosts: which exist, and how international names are read."""

from __future__ import annotations

import sys

import pytest

from masquerade_ws.protocol.hosts import HostError, read_host

AGREED = [
    ("bücher.example", "xn--bcher-kva.example"),
    ("BÜCHER.example", "xn--bcher-kva.example"),
    ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
    ("пример.испытание.", "xn--e1afmkfd.xn--80akhbyknj4f."),
    ("\uff41\uff42.example", "ab.example"),
]
DISPUTED = [
    ("faß.de", "xn--fa-hia.de"),
    ("βόλος.com", "xn--nxasmm1c.com"),
    ("نامه\u200cای.com", "xn--mgba3gch31f060k.com"),  # noqa: RUF001 - Persian
]


@pytest.fixture
def without_idna(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "idna", None)


@pytest.mark.parametrize(("name", "ascii_name"), AGREED)
@pytest.mark.usefixtures("without_idna")
def test_names_on_which_the_standards_agree_are_read_without_idna(name: str, ascii_name: str) -> None:
    assert read_host(name) == ascii_name


@pytest.mark.parametrize("name", [name for name, _ in DISPUTED])
@pytest.mark.usefixtures("without_idna")
def test_names_on_which_the_standards_differ_are_refused_without_idna(name: str) -> None:
    with pytest.raises(HostError, match=r"write it in ASCII \(xn--\.\.\.\), or run: pip install idna"):
        read_host(name)


@pytest.mark.parametrize(("name", "ascii_name"), [*AGREED, *DISPUTED])
def test_names_are_read_as_browsers_do_with_idna(name: str, ascii_name: str) -> None:
    pytest.importorskip("idna")
    assert read_host(name) == ascii_name


@pytest.mark.parametrize("name", ["a\u2028b", "\u00ad", "ü" * 80])
def test_what_is_not_an_international_name_is_refused_either_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError):
        read_host(name)
    monkeypatch.setitem(sys.modules, "idna", None)
    with pytest.raises(HostError):
        read_host(name)


def test_a_refusal_shows_no_host_even_in_its_context() -> None:
    for host in ("[SECRET]", "SECRET|", "SECRETü\u2028"):
        with pytest.raises(HostError) as caught:
            read_host(host)
        assert caught.value.__context__ is None
        assert "SECRET" not in str(caught.value)
