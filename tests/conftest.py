"""What holds for every test, and the fixtures of several modules."""

from __future__ import annotations

import gc
import os
import signal
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer
from tests.support.engines import EngineServer
from tests.support.scenes import Hang, client_of

WORKERS = 6  # more than most machines have cores, since a test mostly waits
FIRST = {"test_network_namespaces.py", "test_signals.py"}  # they wait longest, which would be alone at the end

# A container may forbid byte code; each of the hundreds of processes that tests start would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell lets what it runs in the background ignore Ctrl-C, and so would each process that a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before that of pytest-xdist, which starts the workers
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run the whole suite side by side; whoever names tests, or a number of workers, gets what was asked for."""
    option = config.option
    asked = getattr(option, "numprocesses", 0) is not None or option.usepdb or option.capture == "no"
    worker = getattr(config, "workerinput", None)  # which runs this hook as well
    if worker is not None:
        begin_elsewhere(config, worker)
    elif config.args_source is pytest.Config.ArgsSource.TESTPATHS and not asked:
        option.numprocesses, option.dist = WORKERS, "worksteal"


def begin_elsewhere(config: pytest.Config, worker: dict[str, Any]) -> None:
    """Let each worker import the tests from another one on, so that all assertions are rewritten once, not by each."""
    if [Path(argument).name for argument in config.args] == config.getini("testpaths"):
        files = sorted(map(str, Path(__file__).parent.rglob("test_*.py")))
        first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
        config.args = files[first:] + files[:first]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have the same order in all workers."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (item.path.name not in FIRST, item.path))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spare the garbage collector the half million objects that make up the tests, and stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture
def server() -> Iterator[EventServer]:
    """A server that answers nothing by itself."""
    with EventServer() as server:
        yield server


@pytest.fixture
def client(masquerade_server: EventServer) -> Iterator[WebSocketClient]:
    """A client that is not connected yet, and leaves no thread behind."""
    with client_of(masquerade_server.url) as client:
        yield client


@pytest.fixture
def hang() -> Iterator[Hang]:
    """User code that hangs until the end of the test."""
    hang = Hang()
    yield hang
    hang.over.set()


@pytest.fixture(scope="session")
def engine_server() -> Iterator[EngineServer]:
    """A server for the relay's streams, shared by the tests of a process: each has a namespace of its own."""
    with EngineServer() as server:
        yield server


@pytest.fixture
def namespace(engine_server: EngineServer) -> Iterator[str]:
    """A namespace that no other test has; nothing of it is left."""
    name = uuid.uuid4().hex
    yield name
    keys = engine_server.run("KEYS", f"mws:{{{name}}}:*")
    if keys:
        engine_server.run("DEL", *keys)
