"""How a command gets to its gateway: the URL, headers, certificates, proxies and compression."""

from __future__ import annotations

import codecs
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

pytest.importorskip("click", reason="the command line needs the extra cli")
pytest.importorskip("websockets", reason="the test server needs the extra testing")

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from masquerade_ws.testing import EventServer
from tests.support.commands import Command
from tests.support.raw_server import Peer, RawServer
from tests.support.scenes import running
from tests.support.terminal import TIMEOUT


class Gateway:
    """A server that keeps the requests of its handshakes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[Request] = []
        self.responses: list[Response] = []
        self._server = serve(
            self._answer, "localhost", 0, ssl=context, process_request=self._keep, process_response=self._keep_response
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        scheme = "ws" if context is None else "wss"
        self.url = f"{scheme}://localhost:{self._server.socket.getsockname()[1]}/ws"

    def _keep(self, connection: ServerConnection, request: Request) -> None:
        self.requests.append(request)

    def _keep_response(self, connection: ServerConnection, request: Request, response: Response) -> None:
        self.responses.append(response)

    def _answer(self, connection: ServerConnection) -> None:
        for _ in connection:
            pass

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    gateway = Gateway()
    yield gateway
    gateway.close()


# --- the URL ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [["send", "job"], ["send", "job", "a=1"], ["wait", "x", "y"], ["listen", "--count", "1"], ["run", "a fox"]],
    ids=" ".join,
)
def test_the_url_may_come_from_the_environment(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("MASQUERADE_URL", masquerade_server.url)
    masquerade_server.paint()
    beside = running(lambda: arguments[0] in ("wait", "listen") and emit_when_connected(masquerade_server))

    status = run(*arguments).status

    beside.result()
    assert status == 0
    assert masquerade_server.tokens == ["secret-token"]


def emit_when_connected(server: EventServer) -> None:
    server.wait_for_connections(1, TIMEOUT)
    server.emit("x")


def test_a_url_that_is_given_comes_first(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASQUERADE_URL", "ws://localhost:1/ws")
    assert run("send", masquerade_server.url, "job") == (0, "", "")
    assert [event["type"] for event in masquerade_server.received] == ["job"]


# --- headers ----------------------------------------------------------------------------------------------------------


def test_headers_are_sent_and_those_of_a_file_too(run: Command, gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_bytes(codecs.BOM_UTF8 + b"X-Key: a secret: value\r\n\r\nX-Other:b\r\n")

    assert run("send", gateway.url, "job", "--header", "X-One: 1", "--header", f"@{file}") == (0, "", "")

    headers = gateway.requests[0].headers
    assert (headers["X-One"], headers["X-Key"], headers["X-Other"]) == ("1", "a secret: value", "b")


def test_the_token_goes_into_a_header_if_wanted(run: Command, gateway: Gateway) -> None:
    assert run("send", gateway.url, "job", "--token-in", "header") == (0, "", "")
    assert run("send", gateway.url, "job") == (0, "", "")

    first, second = gateway.requests
    assert (first.headers["Authorization"], first.path) == ("Bearer secret-token", "/ws")
    assert second.path == "/ws?token=secret-token"
    assert "Authorization" not in second.headers


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["secret"], "a header must be of the form 'Name: value'"),
        ([": secret"], "a header must be of the form 'Name: value'"),
        (["X-A: secret", "x-a: secret"], "x-a is given twice"),
        (["Upgrade: secret"], "Upgrade"),
        (["X-A: secr\x00et"], "X-A"),
        (["@/nowhere/secret-free"], "cannot read /nowhere/secret-free: "),
    ],
)
def test_a_wrong_header_is_reported_without_its_value(run: Command, values: list[str], message: str) -> None:
    status, _, err = run(
        "send", "ws://localhost:1/", "job", *(word for value in values for word in ("--header", value))
    )

    assert status == 2
    assert message in err
    assert "secret" not in err.replace("secret-free", "")
    assert err.count("\n") == 1


def test_a_file_of_headers_that_is_not_text_is_reported(run: Command, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_bytes(b"X-A: \xff")
    status, _, err = run("send", "ws://localhost:1/", "job", "--header", f"@{file}")
    assert status == 2
    assert f"{file} is not UTF-8" in err


# --- certificates, proxies, compression -------------------------------------------------------------------------------


def test_a_certificate_of_a_file_is_trusted_and_no_other(run: Command, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    good.write_bytes(codecs.BOM_UTF8 + authority.cert_pem.bytes())
    bad.write_bytes(other.cert_pem.bytes())
    gateway = Gateway(context)
    try:
        assert run("send", gateway.url, "job", "--cacert", str(good)) == (0, "", "")
        for options in ((), ("--cacert", str(bad))):
            status, _, err = run("send", gateway.url, "job", *options)
            assert status == 3
            assert "certificate" in err
    finally:
        gateway.close()
    assert len(gateway.requests) == 1


@pytest.mark.parametrize(
    "content", [b"", b"no certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_file_without_a_certificate_is_reported(run: Command, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    status, _, err = run("send", "wss://localhost:1/", "job", "--cacert", str(file))
    assert status == 2
    assert f"{file} contains no certificate in PEM format" in err
    assert err.count("\n") == 1


def test_a_proxy_is_used_and_none_turns_off_that_of_the_environment(
    run: Command, masquerade_server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def refuse(peer: Peer) -> None:
        asked.append(peer.read_request().partition("\r\n")[0])
        peer.send(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

    with RawServer(refuse) as proxy:
        through = f"http://127.0.0.1:{proxy.port}"
        monkeypatch.setenv("http_proxy", through)
        monkeypatch.delenv("no_proxy", raising=False)
        assert run("send", "ws://gateway.invalid/ws", "job", "--proxy", through).status == 3
        assert run("send", masquerade_server.url, "job", "--proxy", "none") == (0, "", "")
    assert asked == ["CONNECT gateway.invalid:80 HTTP/1.1"]


def test_a_wrong_proxy_is_wrong_usage(run: Command) -> None:
    status, _, err = run("send", "ws://localhost:1/", "job", "--proxy", "gopher://localhost")
    assert status == 2
    assert "proxy" in err


def test_compression_is_offered_if_wanted(run: Command, gateway: Gateway) -> None:
    assert run("send", gateway.url, "job", json.dumps({"text": "x" * 10_000}), "--compression") == (0, "", "")
    assert run("send", gateway.url, "job") == (0, "", "")
    assert ["Sec-WebSocket-Extensions" in each.headers for each in gateway.responses] == [True, False]
