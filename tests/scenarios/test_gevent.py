"""Under gevent all that blocks lets the other greenlets run."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.support.preloaded import serves_from_four_workers
from tests.support.processes import PRELUDE, Script
from tests.support.raw_server import Peer, RawServer, frame
from tests.support.scripts import deaf, echo_server

pytest.importorskip("gevent", reason="needs gevent")

# The greenlets that stand for threads survive a fork, and gevent says so when one ends that `threading` has forgotten.
SURVIVORS = r"(Traceback (?:.*\n)+?KeyError: .*\n[^\n]*failed with KeyError\n\n)*"

# gevent's own modules are not free of warnings, and those of the interpreter about forks are not the point.
PATCHED = (
    """
from gevent import monkey
monkey.patch_all()
import gevent
"""
    + PRELUDE
    + """
import ssl

authority = sys.argv[2] if len(sys.argv) > 2 else ""
context = ssl.create_default_context(cafile=authority) if authority else None
ticks = 0

def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.005)

class running:
    "Others run while a block does its work."
    def __init__(self, least=1):
        self.least = least
    def __enter__(self):
        self.before = ticks
    def __exit__(self, kind, *_):
        if kind is None:
            assert ticks >= self.before + self.least, (ticks, self.before)

def make(**options):
    return WebSocketClient(url, lambda: "t", ssl_context=context, **options)

gevent.spawn(tick)
"""
)


def passes_patched(text: str, *args: str, errors: str = "", prelude: str = PATCHED) -> None:
    with Script(text, *args, flags=(), prelude=prelude) as script:
        finished = script.finish()
    assert re.fullmatch(errors, finished.errors), finished.errors
    assert (finished.status, finished.output) == (0, "")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_everything_works_and_other_greenlets_run_meanwhile(scheme: str, tmp_path: Path) -> None:
    with echo_server(scheme, tmp_path) as arguments:
        passes_patched(
            """
seen, states = [], []
client = make(heartbeat_interval=0.05, heartbeat_timeout=5)
client.on("echo", seen.append)
client.on("state:change", lambda event: states.append(event.new_state))
client.connect()
assert client.state == "connected"

with client.events("echo") as stream:
    for number in range(100):
        client.emit("echo", {"number": number})
    assert [stream.get(timeout=10).payload["number"] for _ in range(100)] == list(range(100))
until(lambda: len(seen) == 100)

assert client.wait_for("heartbeat", timeout=10).type == "heartbeat"  # as the server sends them back
with running():
    try:
        client.wait_for("never", timeout=0.1)
    except WaitTimeoutError:
        pass
with running():
    try:
        client.events("never").get(timeout=0.1)
    except WaitTimeoutError:
        pass

def start():
    gevent.sleep(0.05)
    client.emit("image.generation.progress", {"job_id": "j", "progress": 50})
    client.emit("image.generation.completed", {"job_id": "j", "image_url": "u"})
    return "j"

progress = []
with running():
    assert client.run_image_job(start, timeout=10, on_progress=progress.append).payload["image_url"] == "u"
assert len(progress) == 1
until(lambda: client.stats.latency is not None)

waits = [gevent.spawn(client.wait_for, "echo", where={"number": number}, timeout=10) for number in range(200)]
gevent.sleep(0)
for number in range(200):
    client.emit("echo", {"number": number})
assert [wait.get().payload["number"] for wait in waits] == list(range(200))

large = "x" * 3_000_000
with client.events("echo") as stream:
    client.emit("echo", {"large": large})
    assert stream.get(timeout=10).payload["large"] == large
client.disconnect()
assert client.state == "disconnected"
until(lambda: states[-1] == "disconnected")
assert states == ["connecting", "connected", "disconnecting", "disconnected"]
""",
            *arguments,
        )


def silent(peer: Peer) -> None:
    """Answer nothing."""
    peer.read_to_end()


def test_a_client_that_is_older_than_gevent_s_threads_starts_once_for_all_who_connect(tmp_path: Path) -> None:
    with echo_server("ws", tmp_path) as arguments:
        passes_patched(
            """
gevent.joinall([gevent.spawn(client.connect) for _ in range(10)], raise_error=True)
assert client.state == "connected"
assert client.stats.connections == 1
assert len(threads()) == 4, threads()
client.disconnect()
""",
            *arguments,
            prelude=f"import sys\nfrom masquerade_ws import *\nclient = WebSocketClient(sys.argv[1], str)\n{PATCHED}",
        )


def test_other_greenlets_run_during_a_handshake_which_times_out() -> None:
    with RawServer(silent) as server:
        passes_patched(
            """
client = make(connect_timeout=0.3, auto_reconnect=False)
client.on("error", lambda event: None)
with running(10):
    try:
        client.connect()
    except ConnectError as error:
        assert "timed out during the opening handshake" in str(error)
until(lambda: threads() == [])
""",
            server.url,
        )


def test_disconnect_ends_a_handshake_at_once() -> None:
    with RawServer(silent) as server:
        passes_patched(
            """
client = make()
client.connect(block=False)
gevent.sleep(0.05)
before = time.monotonic()
client.disconnect()
assert time.monotonic() - before < 10
until(lambda: threads() == [])
""",
            server.url,
        )


def test_other_greenlets_run_while_a_name_is_looked_up(tmp_path: Path) -> None:
    with echo_server("ws", tmp_path) as (url,):
        passes_patched(
            "client = make()\nclient.connect()\nclient.disconnect()\n", url.replace("127.0.0.1", "localhost")
        )


def test_a_peer_that_does_not_read_fails_the_send_and_other_greenlets_run() -> None:
    with RawServer(deaf) as server:
        passes_patched(
            """
client = make(send_timeout=1, auto_reconnect=False)
errors = []
client.on("error", lambda event: errors.append(event.context))
client.connect()
with running(10):
    try:
        client.emit("large", {"data": "x" * 10_000_000})
    except SendError:
        pass
    else:
        raise AssertionError("it was sent")
until(lambda: errors == ["send"] and not threads())
""",
            server.url,
        )


def test_a_dead_peer_is_found_and_replaced() -> None:
    connections: list[Peer] = []

    def dies_once(peer: Peer) -> None:
        peer.upgrade()
        connections.append(peer)
        while True:
            opcode, payload = peer.read_frame()
            if len(connections) > 1 and opcode in {8, 9}:
                peer.send(frame(10 if opcode == 9 else 8, payload))
            if opcode == 8:
                return

    with RawServer(dies_once) as server:
        passes_patched(
            """
client = make(heartbeat_interval=0.2, heartbeat_timeout=0.2, busy_timeout=0.2, initial_reconnect_delay=0.05)
errors = []
client.on("error", lambda event: errors.append(event.context))
client.connect()
with running(10):
    assert client.wait_for("connected", where=lambda event: event.reconnected, timeout=10).attempts == 1
assert errors == ["connection"]
until(lambda: client.stats.latency is not None)
client.disconnect()
""",
            server.url,
        )


def test_a_process_that_exits_without_disconnect_closes_with_1001() -> None:
    codes: list[int] = []

    def note(peer: Peer) -> None:
        peer.upgrade()
        codes.append(peer.read_close())

    with RawServer(note) as server:
        passes_patched("client = make()\nclient.connect()\n", server.url)
    assert codes == [1001]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_forked_child_starts_anew(scheme: str, tmp_path: Path) -> None:
    with echo_server(scheme, tmp_path) as arguments:
        passes_patched(
            """
client = make()
client.connect()
stream = client.events("echo")
inherited = sockets()

def check():
    assert client.state == "disconnected"
    try:
        stream.get(timeout=5)
    except DisconnectedError:
        pass
    client.connect()
    with client.events("echo") as own:
        client.emit("echo", {"from": "child"})
        assert own.get(timeout=10).payload == {"from": "child"}
    client.disconnect()
    gevent.sleep(0.1)

for _ in range(3):
    assert in_child(check) == 0
    client.emit("echo", {"from": "parent"})
    assert stream.get(timeout=10).payload == {"from": "parent"}
assert client.stats.connections == 1
client.disconnect()
""",
            *arguments,
            errors=SURVIVORS,
        )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork, for gunicorn")
def test_gunicorns_gevent_workers_serve_with_a_preloaded_application(tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    serves_from_four_workers(tmp_path, "gevent")


def test_a_time_out_of_gevent_in_user_code_is_reported_and_a_kill_ends_the_client(tmp_path: Path) -> None:
    with echo_server("ws", tmp_path) as arguments:
        passes_patched(
            """
import greenlet

class Around:
    def __enter__(self):
        pass
    def __exit__(self, *_):
        if slow:
            raise gevent.Timeout(3)

slow, errors, states, seen = [], [], [], []
client = make(around_event=lambda event: Around())
client.on("error", lambda event: (slow.clear(), errors.append(event.error)))
client.on("state:change", lambda event: states.append(event.new_state))

@client.on("echo")
def wait(event):
    seen.append(event)
    kind = event.payload["kind"]
    if kind == "listener":
        with gevent.Timeout(0.01):
            gevent.sleep(60)
    elif kind == "context":
        slow.append(True)
    elif kind == "kill":
        raise greenlet.GreenletExit

client.connect()
for number, kind in enumerate(("listener", "context", "none"), 1):
    client.emit("echo", {"kind": kind})
    until(lambda: len(seen) == number and len(errors) == min(number, 2))
assert [type(error.__cause__) for error in errors] == [gevent.Timeout] * 2, errors
assert client.state == "connected"

def slow_predicate(event):
    with gevent.Timeout(0.01):
        gevent.sleep(60)

stream = client.events("echo", where=slow_predicate)
client.emit("echo", {"kind": "none"})
try:
    stream.get(timeout=10)
    raise AssertionError("no time-out")
except gevent.Timeout:
    pass
assert client.state == "connected"

client.emit("echo", {"kind": "kill"})
until(lambda: states[-1] == "disconnected")
assert len(errors) == 3 and isinstance(errors[2].__cause__, greenlet.GreenletExit), errors
client.connect()
client.emit("echo", {"kind": "none"})
until(lambda: len(seen) == 6)
client.disconnect()
""",
            *arguments,
        )
