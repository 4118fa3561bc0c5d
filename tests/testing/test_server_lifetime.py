"""The test server at its limits: many lives, many threads, handlers that misbehave, forks."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from masquerade_ws import ConnectedEvent, DisconnectedEvent, WebSocketClient
from masquerade_ws.testing import EventServer
from masquerade_ws.testing.server import _after_fork
from tests.support.leaks import descriptors
from tests.support.messages import loss_of, wire

if TYPE_CHECKING:
    from masquerade_ws.testing import Peer

TIMEOUT = 20.0  # seconds, for what is bound to happen


def our_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("masquerade")]


# Many lives


def test_a_hundred_servers_leave_no_thread_and_no_descriptor() -> None:
    before = descriptors()
    for _ in range(100):
        with EventServer() as server, WebSocketClient(server.url, lambda: "t", proxy=False) as client:
            client.emit("job")
            server.assert_sent("job", timeout=TIMEOUT)
    assert our_threads() == []
    assert descriptors() <= before


def test_a_server_that_restarts_with_clients_keeps_its_port() -> None:
    with EventServer() as server:
        url = server.url
        for _ in range(20):
            with connect(url):
                server.stop()
            server.start()
            assert server.url == url


def test_two_servers_know_nothing_of_each_other() -> None:
    with EventServer() as one, EventServer() as two, connect(one.url + "?token=1") as client, connect(two.url) as other:
        two.freeze()
        two.drop()
        loss_of(other)
        client.send(wire("job"))
        one.expect("job", TIMEOUT)
        assert (two.received, two.tokens, two.connections) == ([], [], 0)
        assert (one.tokens, one.connections) == (["1"], 1)


def test_a_stopped_server_takes_faults_without_complaint() -> None:
    server = EventServer()
    for _ in range(2):
        server.stop()
        server.drop()
        server.close()
        server.freeze()
        server.thaw()
        server.emit("unheard")
        server.wait_for_connections(0, timeout=0)
        assert server.connections == 0
        server.start()
        server.stop()


def test_several_threads_may_stop_it() -> None:
    with EventServer() as server, connect(server.url):
        threads = [threading.Thread(target=server.stop) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert our_threads() == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of descriptors to lower")
@pytest.mark.parametrize("free", range(6))
def test_a_start_that_fails_for_want_of_descriptors_leaves_nothing(free: int) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    server = EventServer()
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        taken: list[int] = []
        stack.callback(lambda: [os.close(fd) for fd in taken])
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(free):
            os.close(taken.pop())
        with pytest.raises(OSError, match="Too many open files"):
            server.start()
    assert descriptors() <= before
    with server, connect(server.url):
        pass


def test_a_default_timeout_of_the_test_suites_sockets_does_not_end_a_connection() -> None:
    socket.setdefaulttimeout(0.1)
    try:
        with EventServer() as server, connect(server.url) as client:
            assert not threading.Event().wait(0.3)
            client.send(wire("late"))
            server.expect("late", TIMEOUT)
    finally:
        socket.setdefaulttimeout(None)


def test_a_server_may_stop_as_soon_as_it_has_started() -> None:
    for _ in range(50):
        with EventServer():
            pass
    assert our_threads() == []


# Handlers


def test_a_handler_that_never_returns_is_named_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.testing.host.PATIENCE", 0.2)
    release = threading.Event()
    server = EventServer(lambda peer, event: release.wait())
    server.start()
    with connect(server.url) as client:
        client.send(wire("hold"))
        server.expect("hold", TIMEOUT)
        with pytest.raises(RuntimeError, match=r"its handler has not returned for 0\.2 s"):
            server.stop()
        loss_of(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))

    release.set()
    monkeypatch.undo()
    server.stop()
    assert our_threads() == []


def test_a_handler_may_stop_the_server() -> None:
    def stop(_peer: Peer, _event: dict[str, Any]) -> None:
        server.stop()

    with EventServer(stop) as server, connect(server.url) as client, connect(server.url) as other:
        client.send(wire("stop"))
        with suppress(ConnectionClosed):  # the server may have stopped already
            other.send(wire("stop"))
        loss_of(client)
        loss_of(other)
    assert our_threads() == []


def test_a_handler_may_command_faults() -> None:
    def drop(_peer: Peer, event: dict[str, Any]) -> None:
        server.emit("answer")
        getattr(server, event["type"])()

    with EventServer(drop) as server:
        for fault, kind in (("close", 1000), ("drop", None)):
            with connect(server.url) as client:
                client.send(wire(fault))
                assert json.loads(client.recv(timeout=TIMEOUT))["type"] == "answer"
                received = loss_of(client).rcvd
                assert (received.code if received else None) == kind


# Messages


def test_threads_that_emit_at_once_do_not_mix_their_messages() -> None:
    with EventServer() as server, connect(server.url) as one, connect(server.url) as two:

        def emit(number: int) -> None:
            for step in range(50):
                server.emit("step", {"number": number, "step": step, "filling": "x" * 5000})

        threads = [threading.Thread(target=emit, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for client in (one, two):
            steps: dict[int, list[int]] = {}
            for _ in range(400):
                payload = json.loads(client.recv(timeout=TIMEOUT))["payload"]
                steps.setdefault(payload["number"], []).append(payload["step"])
            assert steps == {number: list(range(50)) for number in range(8)}
        for thread in threads:
            thread.join(TIMEOUT)


@pytest.mark.parametrize("message", [wire("job").encode("utf-16"), '{"type": "a", "payload": ' + "[" * 200_000])
def test_what_no_gateway_would_read_closes_the_connection(message: str | bytes) -> None:
    with EventServer() as server, connect(server.url) as client:
        client.send(message)
        loss = loss_of(client)
        assert loss.rcvd is not None
        assert loss.rcvd.code == 1007
        assert server.received == []


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_payload_that_is_not_json_is_the_tests_mistake(number: float) -> None:
    with EventServer() as server, connect(server.url), pytest.raises(ValueError, match="not JSON compliant"):
        server.emit("job", {"number": number})


# Forks

FORK = """
import os, signal, sys, socket, threading, time
from websockets.sync.client import connect
from websockets.exceptions import ConnectionClosedError
from masquerade_ws.testing import EventServer

signal.alarm(40)
leave, stay = os.pipe()

def fork(act):
    "Run a function in a child that then stays until the parent lets it go."
    ready, done = os.pipe()
    pid = os.fork()
    if pid:
        assert os.read(ready, 1) == b"x"
        return pid
    signal.alarm(30)
    status = 1
    try:
        act()
        os.write(done, b"x")
        os.read(leave, 1)
        status = 0
    finally:
        os._exit(status)

def reap(pid):
    os.write(stay, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def forked(code: str) -> None:
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    subprocess.run([sys.executable, *flags, "-c", FORK + code], check=True, timeout=60)


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@needs_fork
def test_a_forked_child_that_stops_the_server_leaves_the_parents_alone() -> None:
    forked("""
with EventServer() as server, connect(server.url) as client:
    def act():
        assert "stopped" in repr(server)
        server.stop()
        server.drop()
        assert server.connections == 0
        with EventServer() as own, connect(own.url):
            assert own.connections == 1
        with connect(server.url + "?token=child"):
            pass
    child = fork(act)
    server.emit("still here")
    assert "still here" in client.recv(timeout=10)
    assert server.connections == 1
    assert server.tokens == ["child"]
    reap(child)
""")


def test_a_stopped_server_is_the_childs_to_start() -> None:
    untouched = EventServer()
    with EventServer() as server, connect(server.url + "?token=parent"):
        server.stop()
        _after_fork()  # what a fork does in the child
        server.start()
        with connect(server.url + "?token=child") as client:
            client.send(wire("job"))
            server.expect("job", TIMEOUT)
            assert server.tokens == ["parent", "child"]
    assert "stopped" in repr(untouched)


@needs_fork
def test_a_fork_while_every_lock_is_held_leaves_the_child_free() -> None:
    forked("""
with EventServer() as server, connect(server.url) as client:
    def act():
        server.received, server.tokens, server.connections
        server.stop()
    with server._changed:
        child = fork(act)
    reap(child)
""")


@needs_fork
def test_faults_reach_the_clients_although_a_child_lives() -> None:
    forked("""
with EventServer() as server, connect(server.url) as client:
    child = fork(lambda: None)
    server.drop()
    try:
        client.recv(timeout=10)
    except ConnectionClosedError as error:
        assert isinstance(error.__cause__, ConnectionResetError), error.__cause__
    server.stop()
    try:
        socket.create_connection(("127.0.0.1", server.port))
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("somebody listens")
    reap(child)
""")


def test_a_server_that_nobody_stops_does_not_hold_up_the_exit() -> None:
    code = """
from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer
server = EventServer()
server.start()
client = WebSocketClient(server.url, lambda: "t", proxy=False)
client.connect()
server.script([600])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("", "")


def test_a_lost_client_is_lost_by_reset(masquerade_server: EventServer, masquerade_client: WebSocketClient) -> None:
    with masquerade_client.events("disconnected", "connected") as events:
        masquerade_server.drop()
        loss = events.get(timeout=TIMEOUT)
        assert isinstance(loss, DisconnectedEvent)
        assert loss.code == 1006
        assert isinstance(events.get(timeout=TIMEOUT), ConnectedEvent)
    assert masquerade_server.tokens == ["token", "token"]
