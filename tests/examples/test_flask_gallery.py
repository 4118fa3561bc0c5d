"""The gallery's server: what it streams, takes, gives and refuses."""

from __future__ import annotations

import http.server
import json
import os
import threading
import uuid
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("flask", reason="needs flask")

from masquerade_ws.testing import EventServer
from tests.support.gallery import FOLDER, Gallery
from tests.support.raw_server import until
from tests.support.web_server import WebServer, gunicorn

PAGE = "11111111-2222-4333-8444-555555555555"
OTHER_PAGE = "99999999-2222-4333-8444-555555555555"
LIMIT = 30.0  # seconds
AT = f"/jobs/{PAGE}/7"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def gallery(server: EventServer, images: Path) -> Iterator[Gallery]:
    with Gallery(server.url, images) as gallery:
        yield gallery


class Stream:
    """A page's stream of server-sent events, as a browser reads it."""

    def __init__(self, port: int, page: str = PAGE) -> None:
        self.connection = HTTPConnection("127.0.0.1", port, timeout=LIMIT)
        self.connection.request("GET", f"/events/{page}")
        self.response = self.connection.getresponse()
        assert self.response.getheader("Content-Type") == "text/event-stream; charset=utf-8"

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.response.close()
        self.connection.close()

    def next(self) -> tuple[str, Any]:
        """Return the name and the data of the next event."""
        fields: dict[str, str] = {}
        while "data" not in fields:
            name, _, value = self.response.readline().decode().rstrip("\n").partition(": ")
            fields[name] = value
        return fields["event"], json.loads(fields["data"])

    def next_job(self) -> dict[str, Any]:
        """Return the news of the next event of a job."""
        name, data = self.next()
        while name != "job":
            name, data = self.next()
        news: dict[str, Any] = data
        return news

    def await_state(self, wanted: str) -> None:
        """Read until the page is told of a state."""
        while self.next() != ("state", {"state": wanted}):
            pass


def ask(gallery: Gallery, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", gallery.port, timeout=LIMIT)
    try:
        text = None if body is None else body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        policy = response.getheader("Content-Security-Policy") or ""
        assert policy.startswith("default-src 'none'; ")
        assert ("'unsafe-" in policy) == (response.getheader("Content-Type") == "image/png")
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert response.getheader("Cross-Origin-Resource-Policy") == "same-origin"
        return response.status, response.read()
    finally:
        connection.close()


def told(stream: Stream, server: EventServer, kind: str, **payload: Any) -> dict[str, Any]:
    """Let the gateway tell something of the page's job; return what the page gets."""
    server.emit(f"image.generation.{kind}", {"job_id": f"{PAGE}.7", **payload})
    data = stream.next_job()
    assert data.pop("number") == "7"
    return data


def test_each_page_is_told_of_its_own_jobs_alone(gallery: Gallery, server: EventServer) -> None:
    with Stream(gallery.port) as one, Stream(gallery.port, OTHER_PAGE) as other:
        one.await_state("connected")
        other.await_state("connected")
        for job_id in ("7", f"{OTHER_PAGE}.8", 7, None, [PAGE], f"{PAGE}.9"):
            server.emit("image.generation.progress", {"job_id": job_id, "progress": 10})
        assert one.next_job()["number"] == "9"
        assert other.next_job()["number"] == "8"


def test_a_page_is_told_of_the_connection(gallery: Gallery, server: EventServer) -> None:
    with Stream(gallery.port) as stream:
        stream.await_state("connected")
        server.stop()
        stream.await_state("disconnected")
        stream.await_state("connecting")
        server.start()
        stream.await_state("connected")
        assert told(stream, server, "started") == {"phase": "painting", "progress": 0, "note": ""}


def test_a_stream_ends_with_the_client_and_the_next_one_starts_it_again(gallery: Gallery, server: EventServer) -> None:
    for _ in range(2):
        with Stream(gallery.port) as stream:
            stream.await_state("connected")
            server.wait_for_connections(1, LIMIT)
            gallery.disconnect()
            assert b"disconnected" in stream.response.read()


def test_a_page_that_was_closed_holds_no_thread(gallery: Gallery) -> None:
    streams = [Stream(gallery.port, str(uuid.uuid4())) for _ in range(8)]
    assert len(gallery.streams()) == 8
    for stream in streams:
        stream.__exit__()
    until(lambda: not gallery.streams())


def test_a_page_that_was_closed_leaves_its_thread_to_others_under_gunicorn(server: EventServer) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    if not hasattr(os, "fork"):
        pytest.skip("needs os.fork, for gunicorn")
    environment = {"MASQUERADE_URL": server.url, "FLASK_KEEP_ALIVE": "0.1"}
    command = gunicorn("--threads=2", "app:create_app()")
    with WebServer(command, folder=FOLDER, environment=environment) as web:
        for _ in range(3):
            with Stream(web.port) as one, Stream(web.port, OTHER_PAGE) as other:
                one.await_state("connected")
                other.await_state("connected")
        assert web.ask("/")[0] == 200
        assert web.stop() == 0, web.output


def test_it_runs_as_flask_runs_it(server: EventServer) -> None:
    command = ["-m", "flask", "--app", "app", "run", "--port", "{port}"]
    with WebServer(command, folder=FOLDER, environment={"MASQUERADE_URL": server.url}) as web:
        status, page = web.ask("/")
        assert (status, "<title>Gallery</title>" in page) == (200, True)
        with Stream(web.port) as stream:
            stream.await_state("connected")


def test_a_job_is_started_under_the_name_of_its_page(gallery: Gallery, server: EventServer) -> None:
    assert ask(gallery, "PUT", AT, {"prompt": " a harbour "})[0] == 202
    wanted = {"job_id": f"{PAGE}.7", "prompt": "a harbour"}
    assert server.expect("image.generate", LIMIT)["payload"] == wanted


@pytest.mark.parametrize("body", [{}, [], {"prompt": 5}, {"prompt": " "}, {"prompt": "x" * 301}])
def test_a_prompt_has_a_sensible_length(body: Any, gallery: Gallery, server: EventServer) -> None:
    status, answer = ask(gallery, "PUT", AT, body)
    assert (status, json.loads(answer)) == (400, {"error": "a prompt has 1 to 300 characters"})
    assert server.received == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Content-Type": "text/plain"}, 415), ({"Host": "gallery.example"}, 400), ({}, 413)],
    ids=["a form of another site", "another name for this host", "too large"],
)
def test_what_another_site_could_send_is_refused(
    headers: dict[str, str], status: int, gallery: Gallery, server: EventServer
) -> None:
    prompt = "x" * 20_000 if status == 413 else "a harbour"
    assert ask(gallery, "PUT", AT, {"prompt": prompt}, **headers)[0] == status
    assert server.received == []


def test_a_gateway_that_is_away_is_not_an_error_of_the_page(gallery: Gallery, server: EventServer) -> None:
    server.stop()
    assert ask(gallery, "PUT", AT, {"prompt": "a harbour"})[0] == 503
    assert ask(gallery, "GET", AT)[0] == 503
    assert ask(gallery, "GET", "/")[0] == 200


@pytest.mark.parametrize(
    ("kind", "payload", "expected"),
    [
        ("progress", {"progress": 40, "stage": "sky"}, {"phase": "painting", "progress": 40, "note": "sky"}),
        ("progress", {"progress": 1e300, "stage": 5}, {"phase": "painting", "progress": 100, "note": ""}),
        ("progress", {"progress": -1}, {"phase": "painting", "progress": 0, "note": ""}),
        ("progress", {"progress": "<b>"}, {"phase": "painting", "progress": 0, "note": ""}),
        ("failed", {"error": "no blue\n\ndata: x"}, {"phase": "failed", "note": "no blue\n\ndata: x", "retry": False}),
        ("failed", {"retry_allowed": "yes"}, {"phase": "failed", "note": "no reason given", "retry": False}),
        ("failed", {"error": "x", "retry_allowed": True}, {"phase": "failed", "note": "x", "retry": True}),
        (
            "completed",
            {"image_url": "https://a.example/b"},
            {"phase": "done", "image": "https://a.example/b", "note": ""},
        ),
    ],
)
def test_an_event_reaches_the_page_whatever_it_holds(
    kind: str, payload: dict[str, Any], expected: dict[str, Any], gallery: Gallery, server: EventServer
) -> None:
    with Stream(gallery.port) as stream:
        stream.await_state("connected")
        assert told(stream, server, kind, **payload) == expected


def test_a_picture_of_the_gateways_folder_is_served(gallery: Gallery, server: EventServer, images: Path) -> None:
    images.mkdir()
    path = images / "a harbour & 100%.png"
    path.write_bytes(b"picture")
    with Stream(gallery.port) as stream:
        stream.await_state("connected")
        source = told(stream, server, "completed", image_url=path.as_uri())["image"]
    assert ask(gallery, "GET", f"/{source}") == (200, b"picture")


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " javascript:alert(1)",
        "data:image/png;base64,AAAA",
        "http://a.example/b.png",
        "//a.example/b.png",
        "file:///etc/passwd",
        "file://a.example{images}/a.png",
        "file://{images}/../a.png",
        "file://{images}/b/a.png",
        "file://{images}/a.html",
        "file://{images}/%00",
        "file://{images}/%ed%a0%80.html",
        "file://[",
        "{images}/a.png",
        "",
        None,
    ],
)
def test_a_picture_is_shown_from_nowhere_else(
    url: str | None, gallery: Gallery, server: EventServer, images: Path
) -> None:
    if url is not None:
        url = url.replace("{images}", images.as_posix())
    with Stream(gallery.port) as stream:
        stream.await_state("connected")
        note = f"this page does not show pictures from {url or ''}"
        assert told(stream, server, "completed", image_url=url) == {"phase": "failed", "note": note, "retry": False}


@pytest.mark.parametrize("name", ["../secret.png", "..", "secret.txt", "missing.png", "\0.png"])
def test_no_other_file_is_served(name: str, gallery: Gallery, images: Path) -> None:
    images.mkdir()
    for path in (images / "secret.txt", images.parent / "secret.png"):
        path.write_text("secret")
    status, body = ask(gallery, "GET", f"/pictures/{quote(name, safe='')}")
    assert status in {400, 404}
    assert b"secret" not in body.replace(b"secret.", b"")


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers each question for a job with the server's ``answer``."""

    def do_GET(self) -> None:
        status, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def answering(images: Path) -> Iterator[tuple[Gallery, Any]]:
    """A gateway that knows no WebSocket, and the gallery that asks it."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.02,))
        thread.start()
        with Gallery(f"ws://127.0.0.1:{web.server_port}/ws", images) as gallery:
            yield gallery, web
        web.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            '{"type": "image.generation.failed", "payload": {"error": "x"}}',
            {"phase": "failed", "note": "x", "retry": False},
        ),
        (
            '{"type": "image.generation.progress", "payload": {"progress": NaN}}',
            {"phase": "painting", "progress": 0, "note": ""},
        ),
    ],
)
def test_a_page_can_ask_for_what_it_has_missed(event: str, expected: Any, answering: tuple[Gallery, Any]) -> None:
    gallery, web = answering
    web.answer = 200, event.encode()
    status, body = ask(gallery, "GET", AT)
    assert (status, json.loads(body)) == (200, expected)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((404, b""), 404),
        ((500, b""), 503),
        ((200, b"<html>"), 503),
        ((200, b"[]"), 503),
        ((200, b'{"type": 5}'), 503),
        ((200, b'{"type": "x", "payload": "y"}'), 503),
        ((200, b'{"type": "x", "more": 1}'), 503),
        ((200, b"[" * 2**21), 503),
    ],
)
def test_an_answer_that_makes_no_sense_is_none(
    answer: tuple[int, bytes], status: int, answering: tuple[Gallery, Any]
) -> None:
    gallery, web = answering
    web.answer = answer
    assert ask(gallery, "GET", AT)[0] == status
