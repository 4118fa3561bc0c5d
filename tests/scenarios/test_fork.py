"""After a fork the child starts anew, and the parent notices nothing."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.preloaded import serves_from_four_workers
from tests.support.processes import Script, run
from tests.support.raw_server import Peer, RawServer, frame
from tests.support.scripts import echo, echo_server

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

CHECKS = """
import ssl
import sys

authority = sys.argv[2] if len(sys.argv) > 2 else ""
context = ssl.create_default_context(cafile=authority) if authority else None
seen, ends = [], []

def make(url=url, **options):
    client = WebSocketClient(url, lambda: "t", ssl_context=context, **options)
    client.on("echo", seen.append)
    client.on("disconnected", ends.append)
    return client

def fresh(client, *streams):
    "What a child finds."
    assert client.state == "disconnected", client.state
    assert threads() == [], threads()
    for stream in streams:
        try:
            while True:
                stream.get(timeout=10)
        except DisconnectedError:
            assert list(stream) == []
    for call in (lambda: client.emit("x"), lambda: client.wait_for("x", timeout=10)):
        try:
            call()
        except (NotConnectedError, DisconnectedError):
            pass
        else:
            raise AssertionError("the child is connected")
    client.disconnect()
    assert client.stats.connected_since is None

def usable(client):
    "The child connects, its listeners are the parent's, and it goes."
    seen.clear()
    client.connect()
    with client.events("echo") as stream:
        client.emit("echo", {"from": "child"})
        assert stream.get(timeout=10).payload == {"from": "child"}
    until(lambda: seen)
    assert threads() == ["masquerade-ws-" + name for name in ("dispatcher", "heartbeat", "reader", "supervisor")]
    client.disconnect()
    assert threads() == []

def ended(future):
    "A future that the child has from its parent."
    assert type(future.exception(timeout=10)) is DisconnectedError, future
    assert "forked" in str(future.exception()), future.exception()

def fresh_and_usable(client, *streams):
    fresh(client, *streams)
    usable(client)

def untouched(client, stream):
    "The parent's connection is the one that it was."
    client.emit("echo", {"from": "parent"})
    assert stream.wait_for("echo", timeout=10).payload == {"from": "parent"}
    assert client.stats.connections == 1 and not ends, (client.stats, ends)
"""


@pytest.fixture(params=["ws", "wss"])
def echoing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    with echo_server(request.param, tmp_path) as arguments:
        yield arguments


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[str]:
    with echo_server("ws", tmp_path) as (url,):
        yield url


def forks_well(text: str, *args: str) -> None:
    finished = run(CHECKS + text, *args)
    assert finished.errors == ""
    assert (finished.status, finished.output) == (0, "")


def test_a_child_starts_anew_and_leaves_the_parents_connection_alone(echoing: tuple[str, ...]) -> None:
    forks_well(
        """
client = make()
stream = client.events("echo")
client.connect()
inherited = sockets()

def check():
    assert not set(sockets()) & set(inherited), "the parent's descriptor is open"
    fresh_and_usable(client, stream)

for _ in range(3):
    assert in_child(check) == 0
    untouched(client, stream)
client.disconnect()
assert [(end.code, end.will_reconnect) for end in ends] == [(1000, False)]
""",
        *echoing,
    )


def test_a_child_finds_the_futures_ended_without_their_callbacks_and_its_jobs_are_polled(plain: str) -> None:
    forks_well(
        """
client = make()
client.connect()
called, asked, hang = [], [], threading.Event()
done, waiting, job = client.future("echo"), client.future("echo", where={"from": "nobody"}), None
client.emit("echo", {"from": "parent"})
done.result(timeout=10)
waiting.add_done_callback(called.append)

def poll(job_id):
    asked.append(job_id)
    hang.wait(20)
    return "answer"

job = client.submit_image_job(lambda: "job", poll=poll, on_progress=called.append)
job.add_done_callback(called.append)
until(lambda: asked)

def check():
    assert done.result(timeout=10).payload == {"from": "parent"}
    ended(waiting)
    ended(job)
    assert client.future("echo").done()
    assert called == []
    hang.set()
    usable(client)
    client.connect()
    assert client.submit_image_job(lambda: "mine", poll=poll).result(timeout=10) == "answer"
    future = client.future("echo")
    client.emit("echo")
    future.result(timeout=10)
    client.disconnect()

for _ in range(2):
    assert in_child(check) == 0
assert not waiting.done() and not job.done()
hang.set()
assert job.result(timeout=10) == "answer"
client.disconnect()
until(lambda: waiting in called and job in called)
""",
        plain,
    )


def test_a_child_that_exits_as_usual_closes_nothing_of_the_parents(echoing: tuple[str, ...]) -> None:
    forks_well(
        """
client = make()
stream = client.events("echo")
client.connect()
pid = os.fork()
if not pid:
    sys.exit(3)  # runs what is registered for the exit
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
untouched(client, stream)
client.disconnect()
""",
        *echoing,
    )


def test_a_child_that_forgets_the_client_closes_nothing_of_the_parents(echoing: tuple[str, ...]) -> None:
    forks_well(
        """
client = make()
stream = client.events("echo")
client.connect()

def forget():
    global client, stream
    reference = weakref.ref(client)
    del client, stream
    gc.collect()
    assert reference() is None

assert in_child(forget) == 0
untouched(client, stream)
client.disconnect()
""",
        *echoing,
    )


def test_multiprocessing_forks_likewise(echoing: tuple[str, ...]) -> None:
    forks_well(
        """
import multiprocessing

client = make()
stream = client.events("echo")
client.connect()
processes = [multiprocessing.get_context("fork").Process(target=fresh_and_usable, args=(client, stream)) for _ in "12"]
for process in processes:
    process.start()
for process in processes:
    process.join()
    assert process.exitcode == 0
untouched(client, stream)
client.disconnect()
""",
        *echoing,
    )


def test_a_grandchild_starts_anew_too(plain: str) -> None:
    forks_well(
        """
client = make()
client.connect()

def generation(depth):
    fresh(client)
    client.connect()
    if depth:
        assert in_child(generation, depth - 1) == 0
    usable(client)

assert in_child(generation, 2) == 0
client.disconnect()
""",
        plain,
    )


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_fork_in_the_middle_of_a_handshake_lets_the_parent_finish_it(scheme: str, tmp_path: Path) -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(RawServer):
        """Answers neither TLS nor the upgrade before it is told to."""

        def _serve(self, peer: Peer) -> None:
            asked.set()
            answer.wait(20)
            super()._serve(peer)

    text = """
client = make()
stream = client.events("echo")
client.connect(block=False)
go()
assert client.state == "connecting"
assert in_child(fresh, client, stream) == 0
say("forked")
client.connect()
assert in_child(fresh_and_usable, client, stream) == 0
untouched(client, stream)
client.disconnect()
"""
    with (
        echo_server(scheme, tmp_path, Slow) as arguments,
        Script(CHECKS + text, *arguments) as script,
    ):
        assert asked.wait(20)
        script.go()
        script.expect("forked")
        answer.set()
        assert script.finish()[:3] == (0, "", "")


@pytest.mark.parametrize("where", ["the main thread", "a predicate", "a listener"])
def test_a_fork_in_the_middle_of_a_send_lets_the_parent_finish_it(where: str) -> None:
    read = threading.Event()
    received: list[int] = []

    def stubborn(peer: Peer) -> None:
        peer.upgrade()
        _, payload = peer.read_frame()  # the first event, which says that the large one comes next
        peer.send(frame(1, payload))
        assert read.wait(20)
        received.append(len(peer.read_frame()[1]))
        peer.send(frame(8, peer.read_frame()[1]))

    text = f"""
where = {where!r}
client = make(send_timeout=20)
size = 30_000_000
sending = threading.Thread(target=lambda: client.emit("large", {{"data": "x" * size}}))
status = []

def fork(event):
    sending.start()
    until(lambda: client.stats.bytes_sent > 65536)
    pid = os.fork()
    if not pid:
        signal.alarm(15)
        return False  # and the thread goes on, to its end
    status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return True

if where == "a listener":
    client.on("echo", fork)
else:
    client.off("echo", seen.append)  # the reader thread then goes on to read
stream = client.events("echo", where=fork if where == "a predicate" else None)
client.connect()
client.emit("echo")
if where == "the main thread":
    stream.get(timeout=10)
    sending.start()
    until(lambda: client.stats.bytes_sent > 65536)
    status.append(in_child(fresh, client, stream))
until(lambda: status)
assert status == [0], status
say("forked")
sending.join()
client.disconnect()
assert [end.code for end in ends] == [1000]
"""
    with RawServer(stubborn) as server, Script(CHECKS + text, server.url) as script:
        script.expect("forked")
        read.set()
        assert script.finish()[:3] == (0, "", "")
    assert received[0] > 30_000_000


@pytest.mark.parametrize("then", ["checks", "returns", "raises", "exits"])
@pytest.mark.parametrize(
    "place", ["listener", "around_event", "get_token", "predicate", "poll", "start", "on_progress"]
)
def test_user_code_may_fork(place: str, then: str, plain: str) -> None:
    forks_well(
        f"""
place, then = {place!r}, {then!r}
status = []

def fork(*_):
    if status:
        return "t"
    pid = os.fork()
    if pid:
        status.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        return "t"
    signal.alarm(15)
    status.append(0)  # it forks no more
    if then == "checks":
        try:
            fresh_and_usable(client)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    elif then == "raises":
        raise ValueError("in the child")
    elif then == "exits":
        sys.exit(0)
    return "t"

class Around:
    def __init__(self, event):
        self.event = event
    def __enter__(self):
        if place == "around_event" and self.event.type == "echo":
            fork()
    def __exit__(self, *_):
        pass

def token():
    return fork() if place == "get_token" else "t"

client = WebSocketClient(url, token, around_event=Around)
client.on("echo", seen.append)
client.on("disconnected", ends.append)
client.on("error", lambda event: None)
if place == "listener":
    client.on("echo", fork)
stream = client.events("echo", where=fork if place == "predicate" else None)
main = os.getpid()
try:
    client.connect()
    client.emit("echo", {{"from": "parent"}})
    if place == "poll":
        client.wait_for("echo", poll=lambda: fork() and "asked")
    if place in ("start", "on_progress"):
        def start():
            if place == "start":
                fork()
            client.emit("image.generation.progress", {{"job_id": "j", "progress": 1}})
            client.emit("image.generation.completed", {{"job_id": "j", "image_url": "u"}})
            return "j"
        client.run_image_job(start, timeout=10, on_progress=fork if place == "on_progress" else None)
    until(lambda: status)
except (DisconnectedError, NotConnectedError, ValueError):
    if os.getpid() == main:
        raise
if os.getpid() != main:  # where the child's wait has ended, or found what was buffered
    os._exit(0)
assert status == [0], status
if place != "predicate":
    assert stream.get(timeout=10).payload == {{"from": "parent"}}
untouched(client, client.events("echo"))
client.disconnect()
""",
        plain,
    )


@pytest.mark.slow
@pytest.mark.parametrize("interval", [1e-6, 0.005])
def test_forks_while_other_threads_use_every_member_find_no_lock_held(interval: float) -> None:
    text = """
import random
from contextlib import suppress

streams = []
stop = threading.Event()
client = WebSocketClient(url, lambda: "t", initial_reconnect_delay=0.01, heartbeat_interval=0.02, queue_size=10)
client.on("error", lambda event: None)
client.on("echo", seen.append)

def once(event):
    pass

def hammer(seed):
    chance = random.Random(seed)
    def connect():
        client.connect(timeout=1)
    def open_stream():
        streams.append(client.events(*chance.choice([(), ("echo",), ("*",)])))
        del streams[:-50]
    def take():
        chance.choice(streams).get(timeout=0.01)
    def close():
        chance.choice(streams).close()
    def listen():
        client.on("*", once)
        client.once("*", once)
        client.off("*", once)
    members = [connect, open_stream, take, close, listen, lambda: client.stats, lambda: client.state,
        lambda: client.wait_for("echo", where={"a": 1}, timeout=0.01),
        lambda: client.wait_for("echo", where=lambda event: True, timeout=0.01),
        lambda: client.run_image_job(lambda: "j", timeout=0.01), lambda: WebSocketClient(url, lambda: "t"),
        *[lambda: client.emit("echo", {"a": 1})] * 5]
    while not stop.is_set():
        with suppress(MasqueradeError, IndexError):
            (chance.choice(members) if chance.random() > 0.002 else client.disconnect)()

def check(connects):
    stop.set()
    for stream in streams:
        with suppress(DisconnectedError, EventsDroppedError):
            while True:
                stream.get(timeout=10)
        stream.close()
    fresh(client)
    client.on("*", once)
    client.off("*", once)
    if connects:
        usable(client)
    os._exit(0)

sys.setswitchinterval(float(sys.argv[3]))
hammers = [threading.Thread(target=hammer, args=(seed,)) for seed in range(6)]
for thread in hammers:
    thread.start()
for count in range(60):
    assert in_child(check, count % 6 == 0) == 0, count
    signal.alarm(25)
stop.set()
for thread in hammers:
    thread.join()
client.disconnect()
until(lambda: threads() == [])  # also those of a session that a `disconnect()` gave up after its five seconds
"""
    with RawServer(echo) as server:
        forks_well(text, server.url, "", str(interval))


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_gunicorn_with_a_preloaded_application_serves_from_four_workers(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("gunicorn", reason="needs gunicorn")
    serves_from_four_workers(tmp_path, kind)


C_FORK = """
import ctypes

def switches():
    "How often each other thread has run."
    found = {}
    for task in os.listdir("/proc/self/task"):
        if task != str(os.getpid()):
            with open(f"/proc/self/task/{task}/status") as status:
                found[task] = [line for line in status if "ctxt_switches" in line]
    return found

def c_fork():
    "Fork while no other thread waits for the interpreter: CPython might hang in the child otherwise."
    before = None
    while before != (now := switches()):
        before = now
        time.sleep(0.2)
    return ctypes.PyDLL(None).fork()

def in_child(check, *args):
    "Run a check in a child of which Python knows nothing, as C code may fork one, and return its exit status."
    pid = c_fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        signal.alarm(15)
        check(*args)
        status = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(status)

client = make()
stream = client.events("echo")
client.connect()
future = client.future("never")
threads = lambda: [name for name in sorted(thread.name for thread in threading.enumerate()
    if thread not in known and thread is not threading.current_thread()) if name.startswith("masquerade-ws")]
known = set(threading.enumerate())  # which the child still lists, though it has none of them
"""
NEEDS_C_FORK = pytest.mark.skipif(sys.platform != "linux", reason="needs fork in the C library")


@NEEDS_C_FORK
def test_a_child_that_c_code_forked_starts_anew_and_leaves_the_parents_connection_alone(
    echoing: tuple[str, ...],
) -> None:
    forks_well(
        C_FORK
        + """
inherited = sockets()

def check():
    assert client.state == "disconnected"
    assert not set(sockets()) & set(inherited), "the parent's descriptor is open"
    fresh_and_usable(client, stream)

for _ in range(3):
    assert in_child(check) == 0
    untouched(client, stream)
client.disconnect()
assert [(end.code, end.will_reconnect) for end in ends] == [(1000, False)]
""",
        *echoing,
    )


USES = {
    "connect": "client.connect(); assert client.stats.connections == 2",
    "disconnect": "client.disconnect()",
    "stats": "assert client.stats.connected_since is None",
    "emit": "raises(NotConnectedError, lambda: client.emit('x'))",
    "wait_for": "raises(DisconnectedError, lambda: client.wait_for('x', timeout=10))",
    "run_image_job": "raises(DisconnectedError, lambda: client.run_image_job(lambda: 'j', timeout=10))",
    "events": "client.events('x').close()",
    "future": "assert isinstance(client.future('x').exception(), DisconnectedError)",
    "submit_image_job": "raises(DisconnectedError, lambda: client.submit_image_job(lambda: 'j'))",
    "result": "raises(DisconnectedError, lambda: future.result(timeout=10))",
    "cancel": "assert not future.cancel()",
    "add_done_callback": "future.add_done_callback(seen.append); assert seen == [future]",
    "get": "raises(DisconnectedError, lambda: stream.get(timeout=10))",
    "iteration": "assert list(stream) == []",
    "close": "stream.close()",
    "on and off": "client.off('echo', client.on('echo', print))",
    "repr": "assert repr(client).endswith(' disconnected>')",
    "another client": "make(); assert client._state.session is None",
}


@NEEDS_C_FORK
@pytest.mark.parametrize("use", USES)
def test_whatever_is_used_first_in_a_child_that_c_code_forked_finds_it_anew(use: str, plain: str) -> None:
    forks_well(
        C_FORK
        + f"""
def raises(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(kind)

def check():
    {USES[use]}
    assert client.state == ("connected" if {use!r} == "connect" else "disconnected")
    client.disconnect()

assert in_child(check) == 0
untouched(client, stream)
client.disconnect()
""",
        plain,
    )


@NEEDS_C_FORK
@pytest.mark.parametrize("then", ["exits", "collects", "forgets"])
def test_the_end_of_a_child_that_c_code_forked_closes_nothing_of_the_parents(
    then: str, echoing: tuple[str, ...]
) -> None:
    forks_well(
        C_FORK
        + f"""
pid = c_fork()
if not pid:
    signal.alarm(15)
    if {then!r} == "exits":
        sys.exit(3)  # runs what is registered for the exit
    del client
    if {then!r} == "forgets":
        del stream
    gc.collect()
    os._exit(3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
untouched(client, stream)
client.disconnect()
""",
        *echoing,
    )
