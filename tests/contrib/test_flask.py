"""The client in Flask's manner."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import queue
import signal
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask", reason="needs flask")

import flask
import flask.cli
from click.testing import CliRunner

from masquerade_ws import NotConnectedError
from masquerade_ws.contrib.flask import MasqueradeWS, health
from masquerade_ws.testing import EventServer, Peer
from tests.support.commands import SEPARATELY
from tests.support.raw_server import until
from tests.support.web_server import WebServer, gunicorn

COMPLETED = "image.generation.completed"


def token() -> str:
    """Return the token that the tests' dotted path leads to."""
    return "dotted"


@contextlib.contextmanager
def around(event: Any) -> Iterator[None]:
    """Be what the tests' dotted path leads to."""
    flask.g.around = event.type
    yield


def paint(peer: Peer, event: dict[str, Any]) -> None:
    if event["type"] == "image.generate":
        job_id = event["payload"]["job_id"]
        peer.emit(COMPLETED, {"job_id": job_id, "image_url": f"https://images.example/{job_id}"})


def connect(app: Any) -> None:
    with app.app_context():
        assert app.extensions["masquerade_ws"].client.state == "connected"


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer(paint) as server:
        yield server


@pytest.fixture
def made() -> Iterator[list[Any]]:
    apps: list[Any] = []
    yield apps
    for app in apps:
        if (client := app.extensions.get("masquerade_ws.client")) is not None:
            client.disconnect()


@pytest.fixture
def make_app(server: EventServer, made: list[Any]) -> Any:
    def make_app(name: str = "gallery", **settings: Any) -> Any:
        app = flask.Flask(name)
        app.config.update(MASQUERADE_WS_URL=server.url, MASQUERADE_WS_GET_TOKEN=lambda: name)
        app.config.update({f"MASQUERADE_WS_{key}": value for key, value in settings.items()})
        made.append(app)
        return app

    return make_app


def test_the_client_is_made_by_init_app_and_started_by_its_first_use(make_app: Any, server: EventServer) -> None:
    app = make_app()
    masquerade = MasqueradeWS()
    masquerade.init_app(app)
    assert app.extensions["masquerade_ws"] is masquerade
    assert server.tokens == []

    @app.get("/")
    def image() -> str:
        def start() -> str:
            masquerade.client.emit("image.generate", {"job_id": "job-42"})
            return "job-42"

        assert masquerade.client is app.extensions["masquerade_ws.client"]
        url: str = masquerade.client.run_image_job(start, timeout=10).payload["image_url"]
        return url

    for _ in range(2):
        assert app.test_client().get("/").text == "https://images.example/job-42"
    assert server.tokens == ["gallery"]


def test_each_application_has_a_client_of_its_own(make_app: Any, server: EventServer) -> None:
    masquerade = MasqueradeWS()
    seen: queue.Queue[str] = queue.Queue()

    @masquerade.on(COMPLETED)
    def before(event: Any) -> None:
        seen.put(f"{flask.current_app.name} before")

    one, two = make_app("one"), make_app("two")
    masquerade.init_app(one)
    masquerade.init_app(two)

    @masquerade.on(COMPLETED)
    def after(event: Any) -> None:
        seen.put(f"{flask.current_app.name} after")

    connect(one)

    @masquerade.on(COMPLETED)
    def between(event: Any) -> None:
        seen.put(f"{flask.current_app.name} between")

    connect(two)
    assert server.tokens == ["one", "two"]
    server.emit(COMPLETED, {"job_id": "1", "image_url": "u"})
    heard = sorted(seen.get(timeout=10) for _ in range(6))
    assert heard == [f"{name} {when}" for name in ("one", "two") for when in ("after", "before", "between")]


def test_each_event_has_an_application_context_of_its_own_that_is_torn_down(make_app: Any, server: EventServer) -> None:
    app = make_app(AROUND_EVENT=f"{__name__}.around")
    contexts: queue.Queue[dict[str, Any]] = queue.Queue()
    masquerade = MasqueradeWS(app)
    connect(app)
    app.teardown_appcontext(lambda error: contexts.put(vars(flask.g._get_current_object()).copy()))

    @masquerade.on("*")
    def leave_a_trace(event: Any) -> None:
        flask.g.setdefault("trace", []).append(event.type)

    for kind in ("one", "two"):
        server.emit(kind)
    assert contexts.get(timeout=10) == {"around": "one", "trace": ["one"]}
    assert contexts.get(timeout=10) == {"around": "two", "trace": ["two"]}


def test_the_token_is_fetched_in_an_application_context(make_app: Any, server: EventServer) -> None:
    app = make_app(GET_TOKEN=lambda: f"of {flask.current_app.name}")
    MasqueradeWS(app)
    connect(app)
    assert server.tokens == ["of gallery"]


def test_settings_are_the_constructors_options_and_may_be_dotted_paths(make_app: Any, server: EventServer) -> None:
    app = make_app(GET_TOKEN=f"{__name__}.token", TOKEN_IN="header", HEARTBEAT_INTERVAL=0.01)
    MasqueradeWS(app)
    connect(app)
    assert server.tokens == ["dotted"]
    server.expect("heartbeat")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"URL": None}, "MASQUERADE_WS_URL is missing"),
        ({"GET_TOKEN": None}, "MASQUERADE_WS_GET_TOKEN is missing"),
        ({"QUEUE_SISE": 1}, "MASQUERADE_WS_QUEUE_SISE is not an option"),
        ({"GET_TOKEN": "no.such.thing"}, "MASQUERADE_WS_GET_TOKEN cannot be imported: No module named 'no'"),
        ({"QUEUE_SIZE": "1"}, "MASQUERADE_WS_QUEUE_SIZE is wrong: queue_size must be an int, not str"),
        (
            {"CONNECT_TIMEOUT": 0, "QUEUE_SIZE": 0},
            "MASQUERADE_WS_CONNECT_TIMEOUT is wrong: .*; MASQUERADE_WS_QUEUE_SIZE is wrong: ",
        ),
        ({"TOKEN_IN": "header", "HEADERS": {"Authorization": "x"}}, r"MASQUERADE_WS_\* is wrong: headers"),
    ],
)
def test_a_wrong_setting_is_named(settings: Any, message: str, server: EventServer) -> None:
    app = flask.Flask("gallery")
    app.config.update(MASQUERADE_WS_URL=server.url, MASQUERADE_WS_GET_TOKEN=token)
    app.config.update({f"MASQUERADE_WS_{key}": value for key, value in settings.items()})
    with pytest.raises(ValueError, match=message):
        MasqueradeWS(app)
    assert "masquerade_ws" not in app.extensions


def test_an_application_has_one_client(make_app: Any) -> None:
    app = make_app()
    MasqueradeWS(app)
    with pytest.raises(RuntimeError, match="the application 'gallery' already has the extension masquerade_ws"):
        MasqueradeWS(app)


def test_without_init_app_or_without_a_context_there_is_no_client() -> None:
    with (
        flask.Flask("gallery").app_context(),
        pytest.raises(RuntimeError, match=r"'gallery' does not have this extension: call init_app\(app\) first"),
    ):
        _ = MasqueradeWS().client
    with pytest.raises(RuntimeError, match="application context"):
        _ = MasqueradeWS().client


def test_with_the_service_away_a_send_in_a_view_fails_and_a_wait_goes_on(make_app: Any, server: EventServer) -> None:
    app = make_app(INITIAL_RECONNECT_DELAY=0.5)
    masquerade = MasqueradeWS(app)
    masquerade.on("error")(lambda event: None)
    server.refuse(503)
    with app.app_context():
        with pytest.raises(NotConnectedError):
            masquerade.client.emit("image.generate", {"job_id": "1"})
        assert masquerade.client.wait_for("connected", timeout=10).attempts == 2


def test_a_forgotten_application_takes_its_client_and_threads_along(server: EventServer) -> None:
    app = flask.Flask("gallery")
    app.config.update(MASQUERADE_WS_URL=server.url, MASQUERADE_WS_GET_TOKEN=token)
    masquerade = MasqueradeWS(app)
    masquerade.on("*")(print)
    with app.app_context():
        assert masquerade.client.state == "connected"
    forgotten = weakref.ref(app)
    del app
    gc.collect()
    server.wait_for_connections(0)
    assert forgotten() is None


def test_the_first_request_starts_a_client_that_somebody_listens_with(make_app: Any, server: EventServer) -> None:
    masquerade = MasqueradeWS()
    heard: queue.Queue[str] = queue.Queue()
    app = make_app()
    masquerade.init_app(app)
    app.test_client().get("/")
    assert server.tokens == []  # nobody listens

    @masquerade.on(COMPLETED)
    def hear(event: Any) -> None:
        heard.put(event.payload["job_id"])

    server.wait_for_connections(1, timeout=10)
    app.test_client().get("/")
    server.emit(COMPLETED, {"job_id": "1", "image_url": "u"})
    assert heard.get(timeout=10) == "1"
    assert server.tokens == ["gallery"]


@pytest.mark.parametrize("settings", [{"AUTOSTART": False}, {"LISTENERS": "listen"}])
def test_settings_keep_the_first_request_from_starting_it(
    settings: dict[str, Any], make_app: Any, server: EventServer
) -> None:
    masquerade = MasqueradeWS(app := make_app(**settings))
    masquerade.on(COMPLETED)(print)
    app.test_client().get("/")
    assert "masquerade_ws.client" not in app.extensions


def test_the_requests_of_tests_start_nothing(make_app: Any) -> None:
    masquerade = MasqueradeWS(app := make_app())
    masquerade.on(COMPLETED)(print)
    app.testing = True
    app.test_client().get("/")
    assert "masquerade_ws.client" not in app.extensions


@pytest.mark.parametrize(
    ("arguments", "reloaded", "starts"),
    [
        (["run"], False, True),
        (["run", "--debug"], False, False),
        (["run", "--debug"], True, True),
        (["run", "--debug", "--no-reload"], False, True),
        (["run", "--reload"], False, False),
        (["shell"], False, False),
        (["routes"], False, False),
    ],
    ids=str,
)
def test_the_command_that_serves_starts_the_client_and_no_other(
    arguments: list[str], reloaded: bool, starts: bool, make_app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FLASK_DEBUG", "FLASK_RUN_FROM_CLI"):  # the command sets both, and they are taken back after it
        monkeypatch.setenv(name, "0")
    monkeypatch.delenv("WERKZEUG_RUN_MAIN", raising=False)
    if reloaded:
        monkeypatch.setenv("WERKZEUG_RUN_MAIN", "true")
    made: list[Any] = []

    def create_app() -> Any:
        masquerade = MasqueradeWS()
        masquerade.on(COMPLETED)(print)
        masquerade.init_app(app := make_app())
        made.append("masquerade_ws.client" in app.extensions)
        return app

    monkeypatch.setattr("flask.cli.run_simple", lambda *_, **__: None)
    result = CliRunner().invoke(flask.cli.FlaskGroup(create_app=create_app), arguments, input="")
    assert result.exit_code == 0, result.output
    assert made == [starts]


def test_the_command_calls_the_listeners_and_prints_events_until_the_client_ends(
    make_app: Any, server: EventServer
) -> None:
    masquerade = MasqueradeWS(app := make_app(LISTENERS="listen", AUTO_RECONNECT=False))
    heard: queue.Queue[str] = queue.Queue()
    masquerade.on(COMPLETED)(lambda event: heard.put(event.payload["job_id"]))
    connect(app)
    server.emit(COMPLETED, {"job_id": "0", "image_url": "u"})  # no listener hears it
    app.extensions["masquerade_ws.client"].disconnect()

    def play() -> None:
        server.wait_for_connections(1, timeout=10)
        server.emit(COMPLETED, {"job_id": "1", "image_url": "u"})
        server.close(1013, "later")

    player = threading.Thread(target=play)
    player.start()
    result = app.test_cli_runner(**SEPARATELY).invoke(args=["masquerade-listen"])
    player.join()
    assert [heard.get(timeout=10), heard.empty()] == ["1", True]
    assert json.loads(result.stdout)["payload"]["job_id"] == "1"
    assert result.stderr.splitlines() == [
        "connected",
        "disconnected, code 1013",
        "Error: the client has given up: the server closed the connection with code 1013, reason 'later'",
    ]
    assert result.exit_code == 1


def test_the_command_is_quiet_when_asked_and_ends_well_when_it_is_interrupted(
    make_app: Any, server: EventServer
) -> None:
    MasqueradeWS(app := make_app())
    player = threading.Thread(target=lambda: (server.wait_for_connections(1, timeout=10), interrupt()))
    player.start()
    result = app.test_cli_runner().invoke(args=["masquerade-listen", "--quiet"])
    player.join()
    assert (result.output, result.exit_code) == ("", 0)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_a_health_check_starts_the_client_and_says_how_it_is(make_app: Any, server: EventServer) -> None:
    MasqueradeWS(app := make_app())
    app.register_blueprint(health)
    browser = app.test_client()
    first = browser.get("/healthz")
    assert (first.status_code, first.json["last_event_age"], first.json["gap"]) in [
        (503, None, None),
        (200, None, None),
    ]
    server.wait_for_connections(1, timeout=10)
    until(lambda: browser.get("/healthz").status_code == 200)
    answer = browser.get("/healthz")
    assert answer.json == {"state": "connected", "last_event_age": None, "gap": None}
    assert answer.headers["Cache-Control"] == "no-store"
    assert browser.post("/healthz").status_code == 405
    threads = threading.active_count()
    assert {browser.get("/healthz").status_code for _ in range(200)} == {200}
    assert threading.active_count() <= threads
    assert len(server.tokens) == 1
    app.extensions["masquerade_ws.client"].disconnect()
    assert browser.get("/healthz").status_code == 503  # what the program has stopped stays stopped
    assert len(server.tokens) == 1


def test_a_health_check_starts_nothing_where_that_is_switched_off(make_app: Any, server: EventServer) -> None:
    MasqueradeWS(app := make_app(AUTOSTART=False))
    app.register_blueprint(health, url_prefix="/images")
    answer = app.test_client().get("/images/healthz")
    assert (answer.status_code, answer.json["state"]) == (503, "disconnected")


def test_a_health_check_of_an_application_without_the_extension_says_what_is_missing() -> None:
    app = flask.Flask("gallery")
    app.testing = True
    app.register_blueprint(health)
    with pytest.raises(RuntimeError, match=r"'gallery' has no MasqueradeWS: call init_app\(app\)"):
        app.test_client().get("/healthz")


def test_the_development_server_has_one_client_and_each_reload_replaces_it(server: EventServer, tmp_path: Path) -> None:
    site = tmp_path / "site_of_images.py"
    site.write_text(SITE)
    command = ["-m", "flask", "--app", "site_of_images", "run", "--debug", "--port", "{port}"]
    with WebServer(command, folder=tmp_path, environment={"FLASK_MASQUERADE_WS_URL": server.url}) as web:
        server.wait_for_connections(1, timeout=30)  # before the first request, for the listener
        assert web.ask("/job-1")[0] == 200, web.output
        assert (server.connections, len(server.tokens)) == (1, 1)

        site.write_text(SITE + "# changed")
        server.wait_for_connections(0, timeout=30)
        server.wait_for_connections(1, timeout=30)
        web.await_listening()
        assert web.ask("/job-2")[0] == 200, web.output
        assert (server.connections, len({*server.tokens})) == (1, 2)


SITE = """
import os
from flask import Flask
from masquerade_ws.contrib.flask import MasqueradeWS

app = Flask("site")
app.config.from_prefixed_env()
app.config["MASQUERADE_WS_GET_TOKEN"] = lambda: str(os.getpid())
masquerade = MasqueradeWS()
masquerade.init_app(app)

@masquerade.on("image.generation.completed")
def hear(event):
    print("heard", event.payload["job_id"], flush=True)

if os.environ.get("USE_AT_IMPORT"):
    with app.app_context():
        masquerade.client.state

@app.get("/<job_id>")
def image(job_id):
    def start():
        masquerade.client.emit("image.generate", {"job_id": job_id})
        return job_id
    return masquerade.client.run_image_job(start, timeout=20).payload["image_url"]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for gunicorn")
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(("--worker-class=sync",), marks=pytest.mark.slow),
        ("--worker-class=gthread", "--threads=4"),
        pytest.param(("--worker-class=gthread", "--threads=4", "--preload"), marks=pytest.mark.slow),
        pytest.param(("--worker-class=gevent",), marks=pytest.mark.slow),
        ("--worker-class=gevent", "--preload"),
    ],
    ids=" ".join,
)
def test_each_worker_process_has_one_client_which_ends_with_it(
    arguments: tuple[str, ...], server: EventServer, tmp_path: Path
) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    if "--worker-class=gevent" in arguments:
        pytest.importorskip("gevent", reason="needs gevent")
    (tmp_path / "site_of_images.py").write_text(SITE)
    command = gunicorn(*arguments, "--workers=2", "site_of_images:app")
    with WebServer(command, folder=tmp_path, environment={"FLASK_MASQUERADE_WS_URL": server.url}) as web:
        server.wait_for_connections(2, timeout=30)  # before the first request, for the listener
        answers: list[tuple[int, str]] = []

        def ask(job_id: str) -> None:
            answers.append(web.ask(f"/{job_id}"))

        threads = [threading.Thread(target=ask, args=(f"job-{number}",)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == len(server.tokens) == len({*server.tokens}) == 2
        assert web.stop() == 0, web.output
    server.wait_for_connections(0)
    assert sorted(answers) == sorted((200, f"https://images.example/job-{number}") for number in range(12))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for gunicorn")
@pytest.mark.parametrize("kind", ["sync", "gthread", "gevent"])
def test_a_client_that_was_used_before_the_fork_is_the_masters_alone(
    kind: str, server: EventServer, tmp_path: Path
) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    if kind == "gevent":
        pytest.importorskip("gevent", reason="needs gevent")
    (tmp_path / "site_of_images.py").write_text(SITE)
    command = gunicorn(f"--worker-class={kind}", "--workers=1", "--preload", "site_of_images:app")
    environment = {"FLASK_MASQUERADE_WS_URL": server.url, "USE_AT_IMPORT": "yes"}
    with WebServer(command, folder=tmp_path, environment=environment) as web:
        for number in range(3):
            assert web.ask(f"/job-{number}") == (200, f"https://images.example/job-{number}"), web.output
        assert (server.connections, len({*server.tokens})) == (2, 2)
        assert web.stop() == 0, web.output
    server.wait_for_connections(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for gunicorn")
def test_listeners_run_in_the_command_alone_beside_a_web_worker_that_uses_its_client(
    server: EventServer, tmp_path: Path
) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    (tmp_path / "site_of_images.py").write_text(SITE)
    environment = {"FLASK_MASQUERADE_WS_URL": server.url, "FLASK_MASQUERADE_WS_LISTENERS": "listen"}
    listen = ["-m", "flask", "--app", "site_of_images", "masquerade-listen"]
    with (
        WebServer(gunicorn("site_of_images:app"), folder=tmp_path, environment=environment) as web,
        WebServer(listen, folder=tmp_path, environment=environment, listens=False) as listening,
    ):
        server.wait_for_connections(1, timeout=30)
        assert web.ask("/job-1") == (200, "https://images.example/job-1"), web.output
        assert server.connections == 2
        server.emit(COMPLETED, {"job_id": "job-2", "image_url": "u"})
        until(lambda: "heard job-2" in listening.output)
        assert listening.stop() == 0
        assert web.stop() == 0
    assert "heard" not in web.output
    lines = listening.output.splitlines()
    assert [line for line in lines if line[0] != "{"] == ["connected", "heard job-2", "disconnected, code 1000"]
    assert len(lines) == 4
