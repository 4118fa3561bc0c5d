"""The client in Django's manner."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("django", reason="needs django")

import django
from django.apps import apps
from django.conf import settings
from django.core import mail
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import CommandError, call_command
from django.core.signals import request_started
from django.db import connection
from django.test import RequestFactory, override_settings
from django.test.client import ClientHandler
from django.urls import resolve

if not settings.configured:
    settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}})
if not apps.ready:
    django.setup()

from masquerade_ws import NotConnectedError, WaitTimeoutError
from masquerade_ws.contrib import listening
from masquerade_ws.contrib.autostart import Autostart
from masquerade_ws.contrib.django import client, event_received
from masquerade_ws.contrib.django.lazy import LazyClient, lazy
from masquerade_ws.contrib.django.serving import first_request
from masquerade_ws.contrib.django.signals import EventSignal
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until

COMPLETED = "image.generation.completed"
GET_TOKEN = f"{__name__}.get_token"


def get_token() -> str:
    """Return the token that the settings lead to."""
    return "dotted"


@contextlib.contextmanager
def around(event: Any) -> Iterator[None]:
    """Be what the settings lead to."""
    event.payload["around"] = True
    yield


@contextlib.contextmanager
def configured(server: EventServer, **options: Any) -> Iterator[None]:
    setting = {"URL": server.url, "GET_TOKEN": GET_TOKEN, **options}
    with override_settings(MASQUERADE_WS=setting, INSTALLED_APPS=["masquerade_ws.contrib.django"]):
        yield


@pytest.fixture
def project(server: EventServer) -> Iterator[None]:
    with configured(server):
        yield


def complaints(setting: Any) -> list[tuple[str, str]]:
    with override_settings(INSTALLED_APPS=["masquerade_ws.contrib.django"], MASQUERADE_WS=setting):
        return [(found.id.removeprefix("masquerade_ws."), found.msg) for found in run_checks()]


# The client.


def test_the_client_is_made_by_its_first_use_and_started_by_its_first_wait(server: EventServer, project: None) -> None:
    assert repr(client) == "<LazyClient of MASQUERADE_WS>"
    assert (client.state, server.tokens) == ("disconnected", [])
    assert repr(client).startswith("<WebSocketClient ws://127.0.0.1:")
    with pytest.raises(WaitTimeoutError):
        client.wait_for("no such event", timeout=0)
    assert (client.state, server.tokens) == ("connected", ["dotted"])


@pytest.mark.parametrize("use", ["emit", "events", "future", "run_image_job", "submit_image_job", "send", "iteration"])
def test_what_needs_a_connection_starts_the_client(use: str, server: EventServer, project: None) -> None:
    if use == "emit":
        client.emit("hello")
    elif use == "send":
        client.send({"type": "hello", "payload": {}})
    elif use == "events":
        client.events("hello").close()
    elif use == "future":
        assert not client.future("hello").done()
    elif use == "submit_image_job":
        assert not client.submit_image_job(lambda: "job-42").done()
    elif use == "iteration":
        iter(client).close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(WaitTimeoutError):
            client.run_image_job(lambda: "job-42", timeout=0)
    assert server.tokens == ["dotted"]


def test_what_needs_none_starts_nothing(server: EventServer, project: None) -> None:
    client.on("hello", print)
    client.off("hello", print)
    assert client.stats.connections == 0
    client.disconnect()
    assert server.tokens == []


def test_threads_share_one_client(server: EventServer, project: None) -> None:
    ready = threading.Barrier(8)

    def use() -> None:
        ready.wait(10)
        client.emit("hello")

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in threads:
        server.expect("hello")
    assert server.tokens == ["dotted"]


def test_with_the_service_away_the_lazy_client_fails_to_send_and_goes_on_waiting(server: EventServer) -> None:
    with configured(server, INITIAL_RECONNECT_DELAY=0.5):
        client.on("error", lambda event: None)
        server.refuse(503)
        with pytest.raises(NotConnectedError):
            client.emit("hello")
        assert client.wait_for("connected", timeout=10).attempts == 2


def test_options_are_those_of_the_constructor_and_changed_settings_make_another_client(server: EventServer) -> None:
    with configured(server, HEARTBEAT_INTERVAL=0.01, token_in="header", CONNECT_TIMEOUT=5):
        client.connect()
        server.expect("heartbeat")
        assert server.tokens == ["dotted"]
        with override_settings(DEBUG=True):
            assert client.state == "connected"
    server.wait_for_connections(0)
    lazy.reset(setting="MASQUERADE_WS")  # there is none


def test_a_wrong_setting_is_reported_by_the_first_use() -> None:
    with (
        override_settings(MASQUERADE_WS={"URL": "ws://localhost/"}),
        pytest.raises(ImproperlyConfigured, match=r"MASQUERADE_WS\['GET_TOKEN'\] is missing\."),
    ):
        _ = client.state
    assert repr(LazyClient()) == "<LazyClient of MASQUERADE_WS>"


def test_looking_at_the_client_makes_none(server: EventServer, project: None) -> None:
    copied = copy.copy(client)
    for name in ("__wrapped__", "_made_up", "pytestmark"):
        with pytest.raises(AttributeError, match=f"'LazyClient' object has no attribute '{name}'"):
            getattr(copied, name)
    assert repr(client) == "<LazyClient of MASQUERADE_WS>"


def test_what_starts_the_client_does_so_when_it_is_called(server: EventServer, project: None) -> None:
    emit = client.emit
    assert server.tokens == []
    emit("hello")
    assert server.expect("hello")["type"] == "hello"


def test_a_block_connects_and_disconnects(server: EventServer, project: None) -> None:
    with client as entered:
        assert entered.state == "connected"
    assert client.state == "disconnected"
    server.wait_for_connections(0)


@pytest.mark.parametrize(
    ("arguments", "mark", "starts"),
    [
        (["manage.py", "runserver"], None, False),
        (["manage.py", "runserver"], "true", True),
        (["manage.py", "runserver", "--noreload"], None, True),
        (["gunicorn"], None, True),
    ],
)
def test_the_process_that_only_watches_files_starts_nothing(
    arguments: list[str], mark: str | None, starts: bool, server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.delenv("RUN_MAIN", raising=False)
    if mark:
        monkeypatch.setenv("RUN_MAIN", mark)
    with configured(server):
        client.connect()
        with client.events():
            assert client.state == ("connected" if starts else "disconnected")
    assert server.tokens == ["dotted"] * starts


# The checks.


def test_good_settings_pass_the_checks() -> None:
    assert complaints({"URL": "wss://images.example/ws", "GET_TOKEN": GET_TOKEN, "QUEUE_SIZE": 10}) == []


@pytest.mark.parametrize("setting", [None, "ws://localhost/", []])
def test_a_setting_that_is_not_a_dictionary_is_named(setting: Any) -> None:
    assert complaints(setting) == [("E001", "MASQUERADE_WS must be a dictionary.")]


def test_each_wrong_setting_is_named() -> None:
    assert complaints({}) == [
        ("E002", "MASQUERADE_WS['URL'] is missing."),
        ("E002", "MASQUERADE_WS['GET_TOKEN'] is missing."),
    ]
    found = complaints(
        {"URL": "http://localhost/", "GET_TOKEN": "no.such.thing", "QUEUE_SISE": 1, "QUEUE_SIZE": 0, "PROXY": 3}
    )
    assert [(code, message.split()[0]) for code, message in found] == [
        ("E005", "MASQUERADE_WS['URL']"),
        ("E004", "MASQUERADE_WS['GET_TOKEN']"),
        ("E003", "MASQUERADE_WS['QUEUE_SISE']"),
        ("E005", "MASQUERADE_WS['QUEUE_SIZE']"),
        ("E005", "MASQUERADE_WS['PROXY']"),
    ]
    assert found[2][1] == "MASQUERADE_WS['QUEUE_SISE'] is not an option."
    assert found[3][1] == "MASQUERADE_WS['QUEUE_SIZE'] is wrong: queue_size must be at least 1, not 0."


def test_settings_that_do_not_go_together_are_found() -> None:
    setting = {"URL": "ws://localhost/", "GET_TOKEN": GET_TOKEN}
    together = {**setting, "TOKEN_IN": "header", "HEADERS": {"Authorization": "Basic secret"}}
    found = complaints(together)
    assert [(code, message.partition(":")[0]) for code, message in found] == [("E005", "MASQUERADE_WS is wrong")]
    assert "secret" not in str(found)


def test_receivers_that_nothing_starts_the_client_for_are_named() -> None:
    setting = {"URL": "ws://localhost/", "GET_TOKEN": GET_TOKEN}
    with receiving():
        assert complaints(setting) == complaints({**setting, "AUTOSTART": False, "LISTENERS": "listen"}) == []
        ((code, message),) = complaints({**setting, "AUTOSTART": False})
        assert code == "I001"
        assert message == (
            "MASQUERADE_WS['AUTOSTART'] is off, so receivers of event_received hear nothing until something connects."
        )
    assert complaints({**setting, "AUTOSTART": False}) == []


# The start by itself.


@contextlib.contextmanager
def receiving(**filters: Any) -> Iterator[queue.Queue[str]]:
    """Connect a receiver of the types of events."""
    heard: queue.Queue[str] = queue.Queue()

    def receiver(sender: str, **_: Any) -> None:
        heard.put(sender)

    event_received.connect(receiver, **filters)
    try:
        yield heard
    finally:
        event_received.disconnect(receiver, **filters)


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not serve yet."""
    before = lazy.autostart
    again = Autostart(before._make, has_listeners=before._has_listeners, is_on=before._is_on)
    monkeypatch.setattr(lazy, "autostart", again)
    monkeypatch.setattr(lazy, "_has_listeners", False)
    monkeypatch.setattr(event_received, "on_connect", again.notice_listeners)


@pytest.mark.parametrize("handler", [WSGIHandler, ASGIHandler])
def test_receivers_hear_once_the_application_is_made(
    handler: type[BaseHandler], server: EventServer, project: None, anew: None
) -> None:
    with receiving(sender="one") as heard:
        assert server.tokens == []
        handler()
        server.wait_for_connections(1, timeout=10)
        server.emit("one")
        assert heard.get(timeout=10) == "one"


def test_receivers_hear_from_the_first_request_on(server: EventServer, project: None, anew: None) -> None:
    with receiving() as heard:
        request_started.send(ClientHandler)  # of a test's client
        assert server.tokens == []
        request_started.send(WSGIHandler)
        server.wait_for_connections(1, timeout=10)
        server.emit("one")
        assert heard.get(timeout=10) == "one"
    assert not request_started.disconnect(first_request)  # it has done so itself


@pytest.mark.parametrize("decorates", [True, False])
def test_listeners_of_the_client_itself_count_as_well(
    decorates: bool, server: EventServer, project: None, anew: None
) -> None:
    WSGIHandler()
    assert server.tokens == []
    heard: queue.Queue[str] = queue.Queue()

    def hear(event: Any) -> None:
        heard.put(event.type)

    with pytest.raises(ValueError, match=r"\*"):
        client.on("o*ne")
    assert (client.on("one")(hear) if decorates else client.once("one", hear)) is hear
    server.wait_for_connections(1, timeout=10)
    server.emit("one")
    assert heard.get(timeout=10) == "one"


@pytest.mark.parametrize("setting", [{"AUTOSTART": False}, {"LISTENERS": "listen"}])
def test_settings_keep_an_application_from_starting_it(
    setting: dict[str, Any], server: EventServer, anew: None
) -> None:
    with configured(server, **setting), receiving():
        WSGIHandler()
        assert client.state == "disconnected"
    assert server.tokens == []


def test_the_test_environment_starts_nothing(
    server: EventServer, project: None, anew: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "outbox", [], raising=False)
    with receiving():
        WSGIHandler()
        request_started.send(WSGIHandler)
        assert client.state == "disconnected"


def test_receivers_that_only_the_command_runs_hear_nothing_in_a_process_that_uses_the_client(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_WAKE_INTERVAL", 0.01)
    with configured(server, LISTENERS="listen", AUTO_RECONNECT=False), receiving() as heard:
        with client.events("zero") as zeros:
            server.emit("zero")
            zeros.get(timeout=10)
        client.disconnect()
        player = threading.Thread(
            target=lambda: (server.wait_for_connections(1, 10), server.emit("one"), server.close(1013, "later"))
        )
        player.start()
        with pytest.raises(CommandError, match="code 1013"):
            listen(verbosity=0)
        player.join()
        assert heard.get(timeout=10) == "one"
        assert heard.empty()


# The health check.


def test_a_health_check_starts_the_client_and_says_how_it_is(server: EventServer, anew: None) -> None:
    def ask(method: str = "get") -> Any:
        return getattr(RequestFactory(), method)("/healthz")

    with configured(server), override_settings(ROOT_URLCONF="masquerade_ws.contrib.django.urls"):
        check = resolve("/healthz").func
        until(lambda: check(ask()).status_code == 200)
        answer = check(ask())
        assert json.loads(answer.content) == {"state": "connected", "last_event_age": None, "gap": None}
        assert answer.headers["Cache-Control"] == "no-store"
        assert check(ask("head")).status_code == 200
        threads = threading.active_count()
        assert {check(ask()).status_code for _ in range(200)} == {200}
        assert threading.active_count() <= threads
        assert server.tokens == ["dotted"]
        client.disconnect()
        assert check(ask()).status_code == 503


# The signal.


def test_the_signal_tells_of_each_event_by_its_type(server: EventServer, project: None) -> None:
    heard: queue.Queue[tuple[str, str, dict[str, Any]]] = queue.Queue()

    def completed(sender: str, event: Any, **_: Any) -> None:
        heard.put(("completed", sender, event.payload))

    def every(sender: str, event: Any, **_: Any) -> None:
        heard.put(("every", sender, event.payload))

    event_received.connect(completed, sender="".join(["image.generation", ".completed"]))
    event_received.connect(every)
    try:
        client.connect()
        server.emit("other", {"number": 1})
        server.emit(COMPLETED, {"number": 2})
        assert heard.get(timeout=10) == ("every", "other", {"number": 1})
        assert heard.get(timeout=10) == ("completed", COMPLETED, {"number": 2})
        assert heard.get(timeout=10) == ("every", COMPLETED, {"number": 2})
    finally:
        assert event_received.disconnect(every)
        assert event_received.disconnect(completed, sender=COMPLETED)
    assert not event_received.has_listeners(COMPLETED)


def test_a_receiver_that_raises_disturbs_no_other_and_is_logged_by_django(
    server: EventServer, project: None, caplog: pytest.LogCaptureFixture
) -> None:
    heard: queue.Queue[str] = queue.Queue()

    def fails(**_: Any) -> None:
        raise ValueError("in a receiver")

    def hears(sender: str, **_: Any) -> None:
        heard.put(sender)

    event_received.connect(fails)
    event_received.connect(hears)
    try:
        client.connect()
        server.emit("one")
        assert heard.get(timeout=10) == "one"
    finally:
        event_received.disconnect(fails)
        event_received.disconnect(hears)
    assert [(record.name, str(record.exc_info[1])) for record in caplog.records if record.exc_info] == [
        ("django.dispatch", "in a receiver")
    ]


def test_a_sender_is_one_type() -> None:
    event_signal = EventSignal()

    def receiver(**_: Any) -> str:
        return "heard"

    with pytest.raises(TypeError, match="sender must be the type of an event, a str, not type"):
        event_signal.connect(receiver, sender=EventServer)
    with pytest.raises(ValueError, match=r"sender must be one type, not the pattern 'image\.\*'"):
        event_signal.connect(receiver, sender="image.*")
    event_signal.connect(receiver, sender="one")
    assert event_signal.has_listeners("".join(["o", "ne"]))
    assert event_signal.send("".join(["o", "ne"]), event=None) == [(receiver, "heard")]
    assert event_signal.send("two", event=None) == []


def test_listeners_find_no_stale_database_connection_and_leave_none(
    server: EventServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "db.sqlite3"))  # kept open if in memory
    heard: queue.Queue[Any] = queue.Queue()
    handles: list[Any] = []

    def save(event: Any, **_: Any) -> None:
        heard.put((event.payload, connection.connection))
        connection.ensure_connection()
        handles.append(connection.connection)

    event_received.connect(save)
    try:
        with configured(server, AROUND_EVENT=f"{__name__}.around"):
            client.connect()
            for _ in range(2):
                server.emit("one")
                assert heard.get(timeout=10) == ({"around": True}, None)
    finally:
        event_received.disconnect(save)
    assert len(handles) == 2
    for handle in handles:
        with pytest.raises(Exception, match="closed"):
            handle.execute("select 1")


def test_a_token_from_the_database_is_read_over_no_stale_connection(
    server: EventServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "NAME", str(tmp_path / "db.sqlite3"))  # kept open if in memory
    handles: list[Any] = []

    def get_token() -> str:
        assert connection.connection is None
        connection.ensure_connection()
        handles.append(connection.connection)
        return "from the database"

    with configured(server, GET_TOKEN=get_token, INITIAL_RECONNECT_DELAY=0):
        client.connect()
        with client.events("connected", where={"reconnected": True}) as returns:
            server.drop()
            returns.get(timeout=10)
    assert server.tokens == ["from the database"] * 2
    for handle in handles:
        with pytest.raises(Exception, match="closed"):
            handle.execute("select 1")


# The command.


def listen(*, verbosity: int = 1) -> tuple[str, str]:
    output, errors = io.StringIO(), io.StringIO()
    call_command("masquerade_listen", stdout=output, stderr=errors, verbosity=verbosity, no_color=True)
    return output.getvalue(), errors.getvalue()


def interrupt(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_prints_events_until_it_is_interrupted(
    number: int, server: EventServer, project: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "_WAKE_INTERVAL", 0.01)
    before = signal.getsignal(signal.SIGTERM)

    def play() -> None:
        server.wait_for_connections(1, timeout=10)
        server.drop()
        with heard:
            heard.wait_for(lambda: len(server.tokens) == 2, 0.05)
        server.wait_for_connections(1, timeout=10)
        server.emit(COMPLETED, {"job_id": "\x1b[31m", "image_url": "u"})
        assert printed.wait(10)
        interrupt(number)

    heard, printed = threading.Condition(), threading.Event()

    def receiver(**_: Any) -> None:
        printed.set()

    event_received.connect(receiver, sender=COMPLETED)
    player = threading.Thread(target=play)
    player.start()
    try:
        output, errors = listen()
    finally:
        player.join()
        event_received.disconnect(receiver, sender=COMPLETED)

    assert json.loads(output)["payload"] == {"job_id": "\x1b[31m", "image_url": "u"}
    assert "\x1b" not in output
    lines = errors.splitlines()
    assert (lines[0], lines[-1]) == ("connected", "disconnected, code 1000")
    assert [line.split()[0] for line in lines] == ["connected", "disconnected,"] * 2
    assert signal.getsignal(signal.SIGTERM) is before
    assert client.state == "disconnected"


def test_the_command_ends_with_an_error_when_the_client_gives_up(server: EventServer) -> None:
    with configured(server, AUTO_RECONNECT=False):
        server.refuse(403)
        with pytest.raises(CommandError, match=r"given up.*403"):
            listen(verbosity=0)

        closer = threading.Thread(target=lambda: (server.wait_for_connections(1, 10), server.close(1013, "later")))
        closer.start()
        with pytest.raises(CommandError, match="code 1013"):
            listen(verbosity=0)
        closer.join()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX pipes")
def test_the_command_ends_when_nobody_reads_its_lines_any_more(server: EventServer, project: None) -> None:
    out, into = os.pipe()
    os.close(out)

    def play() -> None:
        server.wait_for_connections(1, timeout=10)
        server.emit(COMPLETED, {"job_id": "1", "image_url": "u"})

    player = threading.Thread(target=play)
    player.start()
    with open(into, "w", encoding="utf-8") as closed, contextlib.redirect_stdout(closed):
        call_command("masquerade_listen", stderr=io.StringIO())
    player.join()
    assert client.state == "disconnected"


def test_the_command_runs_in_any_thread(server: EventServer) -> None:
    failures: list[Exception] = []

    def run() -> None:
        try:
            listen(verbosity=0)
        except CommandError as error:
            failures.append(error)

    with configured(server, AUTO_RECONNECT=False):
        thread = threading.Thread(target=run)
        thread.start()
        server.wait_for_connections(1, timeout=10)
        server.close()
        thread.join()
    assert len(failures) == 1
