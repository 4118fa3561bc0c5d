"""When the client of a framework starts by itself. What real servers do stands with the frameworks and the examples."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from masquerade_ws import ConnectError, WebSocketClient
from masquerade_ws.contrib import hosts
from masquerade_ws.contrib.autostart import Autostart
from masquerade_ws.testing import EventServer
from tests.support.raw_server import until
from tests.support.web_server import WebServer, gunicorn


class Service:
    """An application's client, and how often something started it."""

    def __init__(self, server: EventServer) -> None:
        self.client = WebSocketClient(server.url, lambda: "t")
        self.listens, self.is_on = True, True
        self.autostart = Autostart(lambda: self.client, has_listeners=lambda: self.listens, is_on=lambda: self.is_on)

    @property
    def started(self) -> bool:
        return self.client.state != "disconnected"


@pytest.fixture
def service(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(hosts, "_starts", [])
    service = Service(server)
    yield service
    service.client.disconnect()


def called(name: str, call: Callable[[], object], *, worker: Any = None, module: str = "gunicorn.arbiter") -> object:
    """Call something from a function of a module, as a server calls what loads the application."""
    namespace: dict[str, Any] = {"__name__": module, "call": call}
    exec(f"def {name}(worker):\n    return call()", namespace)
    return namespace[name](worker)


class Worker:
    """A worker of gunicorn's, as far as it matters: with a real configuration."""

    def __init__(self) -> None:
        self.cfg = pytest.importorskip("gunicorn.config", reason="needs gunicorn").Config()
        self.booted = False
        self.hooks: list[str] = []
        self.cfg.set("post_worker_init", lambda worker: self.hooks.append("the user's"))


# The occasions.


def test_the_client_starts_once_the_application_is_made(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="masquerade_ws"):
        service.autostart.application_made()
        service.autostart.serve("the first request has come")
    service.client.connect(timeout=10)
    starts = [record.getMessage() for record in caplog.records if "starting" in record.getMessage()]
    assert starts == ["the application is loaded, and there are listeners: starting the client"]
    assert service.client.stats.connections == 1


def test_it_starts_once_somebody_listens(service: Service) -> None:
    service.listens = False
    service.autostart.notice_listeners()
    service.autostart.serve("the first request has come")
    assert not service.started
    service.listens = True
    service.autostart.notice_listeners()
    assert service.started


def test_nothing_starts_it_in_a_process_that_does_not_serve(service: Service) -> None:
    service.autostart.notice_listeners()
    assert not service.started


def test_it_starts_once_and_stays_stopped_when_it_is_stopped(service: Service) -> None:
    service.autostart.serve("the first request has come")
    service.client.connect(timeout=10)
    service.client.disconnect()
    service.autostart.serve("another")
    assert not service.started


def test_a_client_that_runs_already_is_left_alone(service: Service) -> None:
    service.client.connect(timeout=10)
    service.autostart.serve("the first request has come")
    assert service.client.stats.connections == 1


def test_the_log_says_when_nothing_starts_it(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.is_on = False
    with caplog.at_level(logging.INFO, logger="masquerade_ws"):
        service.autostart.serve("the worker is ready")
    assert caplog.messages == [
        "the worker is ready, but AUTOSTART is off: listeners hear nothing until something connects"
    ]
    assert not service.started


def test_an_interpreter_without_threads_is_reported_and_serves_without_events(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    class Client(WebSocketClient):
        def connect(self, **_: Any) -> None:
            raise ConnectError("no daemon threads here")

    service.client = Client("ws://localhost/", str)
    service.autostart.serve("the first request has come")
    assert caplog.messages[-1] == "the client cannot start: no daemon threads here"


# gunicorn.


def test_gunicorns_master_starts_nothing_and_each_of_its_workers_does_when_it_is_ready(
    service: Service, server: EventServer
) -> None:
    other = Service(server)
    for one in (service, other):
        called("setup", one.autostart.application_made)
    worker = Worker()
    called("spawn_worker", hosts._after_fork, worker=worker)
    assert not service.started
    worker.cfg.post_worker_init(worker)
    assert service.started
    assert other.started
    assert worker.hooks == ["the user's"]
    other.client.disconnect()


def test_a_worker_of_gunicorns_that_loads_the_application_starts_it_when_it_is_ready(service: Service) -> None:
    worker = Worker()
    called("spawn_worker", service.autostart.application_made, worker=worker)
    assert not service.started
    worker.cfg.post_worker_init(worker)
    assert service.started


def test_an_application_made_by_a_worker_that_serves_starts_at_once(service: Service) -> None:
    worker = Worker()
    worker.booted = True
    called("spawn_worker", service.autostart.application_made, worker=worker)
    assert service.started


def test_no_other_fork_starts_anything(service: Service) -> None:
    called("setup", service.autostart.application_made)
    called("reexec", hosts._after_fork)
    hosts._after_fork()
    worker = Worker()
    worker.booted = True  # a fork in the middle of a request
    called("spawn_worker", hosts._after_fork, worker=worker)
    worker.cfg.post_worker_init(worker)
    assert not service.started


def test_an_application_that_is_gone_when_gunicorn_forks_is_not_started(server: EventServer) -> None:
    service = Service(server)
    called("setup", service.autostart.application_made)
    client = service.client
    del service
    gc.collect()
    worker = Worker()
    called("spawn_worker", hosts._after_fork, worker=worker)
    worker.cfg.post_worker_init(worker)
    assert client.state == "disconnected"


# uWSGI.


@pytest.fixture
def uwsgi(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that uWSGI puts into its processes."""
    module: Any = types.ModuleType("uwsgi")
    module.opt, module.id = {"enable-threads": True}, 0
    module.worker_id = lambda: module.id
    monkeypatch.setitem(sys.modules, "uwsgi", module)
    return module


def test_uwsgis_master_starts_nothing_and_each_of_its_workers_does(service: Service, uwsgi: Any) -> None:
    hooks: list[str] = []
    uwsgi.post_fork_hook = lambda: hooks.append("the user's")
    service.autostart.application_made()
    uwsgi.post_fork_hook()  # in a mule
    assert not service.started
    uwsgi.id = 1
    uwsgi.post_fork_hook()
    assert service.started
    assert hooks == ["the user's"] * 2


def test_without_another_hook_uwsgi_has_ours_alone(service: Service, uwsgi: Any) -> None:
    service.autostart.application_made()
    uwsgi.id = 1
    uwsgi.post_fork_hook()
    assert service.started


def test_a_worker_of_uwsgis_that_loads_the_application_starts_it_at_once(service: Service, uwsgi: Any) -> None:
    uwsgi.id = 1
    service.autostart.application_made()
    assert service.started
    assert hosts.is_loaded_by_a_server()


def test_a_uwsgi_without_threads_is_warned_of(service: Service, uwsgi: Any, caplog: pytest.LogCaptureFixture) -> None:
    uwsgi.opt = {"master": True}
    service.autostart.application_made()
    assert caplog.messages == ["uWSGI runs no threads of the application, and so no client: set enable-threads"]


# Other hosts.


@pytest.mark.parametrize(
    ("module", "serves"), [("uvicorn.importer", True), ("waitress.runner", True), ("uvicorns", False), ("app", False)]
)
def test_a_server_is_known_by_its_package(module: str, serves: bool) -> None:
    assert called("load", hosts.is_loaded_by_a_server, module=module) is serves


def test_the_processes_of_celerys_pool_start_it_and_stop_it(service: Service, server: EventServer) -> None:
    signals = pytest.importorskip("celery.signals", reason="needs celery")
    service.autostart.watch_celery()
    signals.worker_process_shutdown.send(sender=None)
    assert not service.started
    signals.worker_process_init.send(sender=None)
    server.wait_for_connections(1, timeout=10)
    signals.worker_process_shutdown.send(sender=None)
    assert not service.started


def test_celery_is_not_imported_for_it(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "celery"]:
        monkeypatch.delitem(sys.modules, name)
    service.autostart.watch_celery()
    assert "celery" not in sys.modules


SITE = """
import os
from flask import Flask
from masquerade_ws.contrib.flask import MasqueradeWS

app = Flask("site")
app.config.from_prefixed_env()
app.config["MASQUERADE_WS_GET_TOKEN"] = lambda: str(os.getpid())
masquerade = MasqueradeWS(app)
masquerade.on("*")(print)
app.add_url_rule("/", view_func=lambda: str(os.getpid()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("options", ["", "--master --processes 2", "--master --lazy-apps --processes 2"])
def test_each_process_of_a_real_uwsgi_listens(options: str, server: EventServer, tmp_path: Path) -> None:
    program = shutil.which("uwsgi", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
    if program is None:
        pytest.skip("needs uwsgi")
    (tmp_path / "site_of_images.py").write_text(SITE)
    run = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"
    arguments = f"--http-socket 127.0.0.1:{{port}} --module site_of_images:app --home {sys.prefix} --enable-threads"
    command = ["-c", run, program, *arguments.split(), "--die-on-term", *options.split()]
    with WebServer(command, folder=tmp_path, environment={"FLASK_MASQUERADE_WS_URL": server.url}) as web:
        count = 2 if "2" in options else 1
        until(lambda: len({*server.tokens}) == count)
        assert web.ask("/")[1] in server.tokens, web.output
        assert server.connections == len(server.tokens) == count
        web.stop()
    assert "Traceback" not in web.output, web.output


# Django's project of the examples, whose receiver waits for notifications.

PROJECT = Path(__file__).parents[2] / "examples" / "django_worker"
CELERY = """
from pathlib import Path

from celery import Celery

folder = Path("celery-data").absolute()
(folder / "queue").mkdir(parents=True, exist_ok=True)
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {name: str(folder / "queue") for name in ("data_folder_in", "data_folder_out")}
app.conf.broker_transport_options["control_folder"] = str(folder)
"""


@pytest.fixture
def project(server: EventServer, tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A copy of the project, and what its environment has."""
    pytest.importorskip("django", reason="needs django")
    copy = shutil.copytree(PROJECT, tmp_path / "project")
    settings = {"DJANGO_SETTINGS_MODULE": "gallery.settings", "MASQUERADE_URL": server.url}
    return copy, {**os.environ, **settings}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for the pool")
def test_each_process_of_a_real_pool_of_celerys_listens_before_its_first_task(
    project: tuple[Path, dict[str, str]], server: EventServer
) -> None:
    pytest.importorskip("celery", reason="needs celery")
    folder, environment = project
    (folder / "work.py").write_text(CELERY)
    command = [sys.executable, "-m", "celery", "-A", "work", "worker", "--pool=prefork", "--concurrency=2"]
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as worker:
        server.wait_for_connections(2, timeout=60)
        worker.terminate()
        output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 0, output
    server.wait_for_connections(0, timeout=30)


@pytest.mark.slow
def test_shells_migrations_and_other_commands_start_nothing(
    project: tuple[Path, dict[str, str]], server: EventServer
) -> None:
    folder, environment = project
    wait = "import time; time.sleep(1); print('done')"  # seconds in which a client would have connected
    for arguments in (["migrate"], ["check"], ["shell", "-c", wait], ["test"]):
        command = [sys.executable, "manage.py", *arguments]
        subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=True, timeout=60)
    assert server.tokens == []


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for gunicorn")
def test_gunicorns_new_workers_listen_too_after_it_was_told_to_reload(
    project: tuple[Path, dict[str, str]], server: EventServer
) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    folder, environment = project
    with WebServer(gunicorn("--workers=1", "--preload"), folder=folder, environment=environment) as web:
        server.wait_for_connections(1, timeout=30)
        web.send_signal(signal.SIGHUP)
        until(lambda: len(server.tokens) == 2)
        server.wait_for_connections(1, timeout=30)
        assert web.stop() == 0, web.output
