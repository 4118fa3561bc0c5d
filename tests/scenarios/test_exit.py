"""A process that ends without disconnect(): quick, silent, and with close code 1001."""

from __future__ import annotations

import multiprocessing
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import Finished, run
from tests.support.raw_server import Peer, RawServer, frame, until

METHODS = multiprocessing.get_all_start_methods()
KNOWN = {*METHODS, "billiard"}  # billiard is Celery's copy of `multiprocessing`
BEYOND = 10.0  # seconds; it takes half of one at most, but a busy machine may need longer
FLAGS = [(), ("-X", "dev"), ("-X", "dev", "-b", "-b")]


class Gateway:
    """A server that notes how each connection ends: by a close code, or ``None`` without one."""

    def __init__(self, on_open: Callable[[Peer], object] = lambda _: None, *, answers: bool = True) -> None:
        self.ends: list[int | None] = []
        self._on_open = on_open
        self._answers = answers
        self._server = RawServer(self._serve)

    def __enter__(self) -> Gateway:
        self._server.__enter__()
        return self

    def __exit__(self, *how: object) -> None:
        self._server.__exit__(None, None, None)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def port(self) -> int:
        return self._server.port

    def _serve(self, peer: Peer) -> None:
        peer.upgrade()
        code = None
        try:
            self._on_open(peer)
            code = peer.read_close()
            if self._answers:
                peer.send(frame(8, code.to_bytes(2, "big")))
            else:
                peer.read_to_end()
        finally:
            self.ends.append(code)


def ends_well(text: str, *args: str, status: int = 0, beyond: float = BEYOND, **options: Any) -> Finished:
    """Run a script whose last word is "end"."""
    finished = run(text, *args, **options)
    assert finished.errors == ""
    assert finished.status == status
    assert finished.output.splitlines()[-1] == "end"
    assert finished.since < beyond, f"it took {finished.since:.2f} s"
    return finished


@contextmanager
def port_of_nobody() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


CONNECTED = """
client = WebSocketClient(url, lambda: "t")
client.connect()
"""


@pytest.mark.parametrize("flags", FLAGS, ids=lambda flags: " ".join(flags) or "plain")
def test_the_server_sees_1001(flags: tuple[str, ...]) -> None:
    with Gateway() as gateway:
        ends_well(CONNECTED + 'say("end")', gateway.url, flags=flags, fresh=True)
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]


@pytest.mark.parametrize(("statement", "status"), [("sys.exit(3)", 3), ('sys.exit("")', 1), ("sys.exit()", 0)])
def test_the_exit_status_is_the_programs(statement: str, status: int) -> None:
    with Gateway() as gateway:
        finished = run(CONNECTED + 'say("end")\n' + statement, gateway.url)
        until(lambda: gateway.ends)
    assert finished.status == status
    assert finished.errors.strip() == ""
    assert gateway.ends == [1001]


def test_an_exception_that_ends_the_program_is_all_that_is_shown() -> None:
    with Gateway() as gateway:
        finished = run(CONNECTED + 'raise LookupError("its own")', gateway.url)
        until(lambda: gateway.ends)
    assert finished.status == 1
    assert finished.errors.startswith("Traceback")
    assert finished.errors.endswith("\nLookupError: its own\n")
    assert finished.errors.count("Traceback") == 1
    assert gateway.ends == [1001]


def test_fifty_clients_close_at_once() -> None:
    with Gateway() as gateway:
        ends_well(
            'clients = [WebSocketClient(url, lambda: "t") for _ in range(50)]\n'
            "for client in clients: client.connect(block=False)\n"
            'until(lambda: all(client.state == "connected" for client in clients))\n'
            'say("end")',
            gateway.url,
        )
        until(lambda: len(gateway.ends) == 50)
    assert set(gateway.ends) == {1001}


def test_a_server_that_never_answers_the_close_holds_nothing_up() -> None:
    with Gateway(answers=False) as gateway:
        ends_well(CONNECTED + 'say("end")', gateway.url)
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]


@pytest.mark.parametrize("moment", ["in an attempt", "in a delay"])
def test_a_server_that_is_down_holds_nothing_up(moment: str) -> None:
    with port_of_nobody() as port:
        ends_well(
            f"""
errors = []
client = WebSocketClient(url, lambda: "t", initial_reconnect_delay=60 if {moment == "in a delay"} else 0)
client.on("error", errors.append)
client.connect(block=False)
until(lambda: errors)
say("end")
""",
            f"ws://127.0.0.1:{port}/ws",
        )


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_server_that_is_silent_during_the_handshake_holds_nothing_up(scheme: str) -> None:
    asked = threading.Event()

    def silent(peer: Peer) -> None:
        peer.sock.recv(1)
        asked.set()
        peer.read_to_end()

    with RawServer(silent) as server:
        ends_well(
            """
client = WebSocketClient(url, lambda: "t")
client.on("error", print)
client.connect(block=False)
until(lambda: client.state == "connecting" and sockets())
say("end")
""",
            server.url.replace("ws:", f"{scheme}:"),
        )
        assert asked.wait(5)


def test_a_look_up_that_hangs_holds_nothing_up() -> None:
    ends_well(
        """
asked = threading.Event()

def look_up(*args, **options):
    asked.set()
    threading.Event().wait()

socket.getaddrinfo = look_up
client = WebSocketClient("ws://gateway.invalid/ws", lambda: "t")
client.connect(block=False)
assert asked.wait(10)
say("end")
""",
        "",
    )


def test_a_get_token_that_hangs_holds_nothing_up() -> None:
    with Gateway() as gateway:
        ends_well(
            """
asked = threading.Event()

def token():
    asked.set()
    threading.Event().wait()

client = WebSocketClient(url, token)
client.connect(block=False)
assert asked.wait(10)
say("end")
""",
            gateway.url,
        )
    assert gateway.ends == []


def test_twenty_clients_whose_user_code_hangs_hold_nothing_up_longer_than_one() -> None:
    ends_well(
        """
def hang(*_):
    threading.Event().wait()

clients = [WebSocketClient(url, hang) for _ in range(20)]
seen = []
for client in clients:
    client.on("state:change", lambda event: hang() if event.new_state == "disconnected" else seen.append(event))
    client.connect(block=False)
until(lambda: len(seen) == 20)
say("end")
""",
        "ws://127.0.0.1:1/ws",
        beyond=5.0,
    )


@pytest.mark.parametrize("blocks", ["time.sleep(60)", "time.sleep(0.01)"], ids=["hanging", "slow"])
def test_a_full_queue_holds_nothing_up(blocks: str) -> None:
    def flood(peer: Peer) -> None:
        peer.send(frame(1, b'{"type": "flood"}') * 2000)  # at once: the client leaves without reading it all

    with Gateway(flood) as gateway:
        ends_well(
            f"""
client = WebSocketClient(url, lambda: "t", queue_size=10)
client.on("flood", lambda event: {blocks})
client.connect()
until(lambda: client.stats.messages_received >= 7)  # three of the client's own may wait as well
say("end")
""",
            gateway.url,
        )
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]


@pytest.mark.parametrize("event", ["connected", "disconnected", "state:change", "greeting"])
def test_a_listener_that_calls_sys_exit_ends_its_client_and_nothing_else(event: str) -> None:
    def greet(peer: Peer) -> None:
        peer.send(frame(1, b'{"type": "greeting"}'))

    with Gateway(greet) as gateway:
        ends_well(
            f"""
client = WebSocketClient(url, lambda: "t")
errors = []
client.on("error", errors.append)
client.on({event!r}, lambda event: sys.exit(7))
client.connect(block=False)
if {event!r} == "disconnected":
    until(lambda: client.state == "connected")
else:
    until(lambda: client.state == "disconnected" and not threads())
    assert errors and all(str(event.error) == "a listener raised SystemExit" for event in errors)
say("end")
""",
            gateway.url,
        )
        until(lambda: gateway.ends or event == "state:change")
    assert gateway.ends in ([1000], [1001], []) if event != "disconnected" else gateway.ends == [1001]


def test_a_listener_may_end_the_program() -> None:
    with Gateway(lambda peer: peer.send(frame(1, b'{"type": "greeting"}'))) as gateway:
        ends_well(
            """
over = threading.Event()
client = WebSocketClient(url, lambda: "t")
client.on("error", lambda event: None)

@client.on("greeting")
def leave(event):
    over.set()
    sys.exit()

client.connect()
over.wait()
say("end")
""",
            gateway.url,
        )
        until(lambda: gateway.ends)
    assert gateway.ends[0] in {1000, 1001}


def test_threads_that_still_wait_hold_nothing_up() -> None:
    with Gateway() as gateway:
        ends_well(
            CONNECTED
            + """
stream = client.events()
waits = [lambda: client.wait_for("x"), stream.get, lambda: list(stream), lambda: client.run_image_job(lambda: "j")]

def wait(call):
    try:
        call()
    except DisconnectedError:
        pass

for call in waits:
    threading.Thread(target=wait, args=(call,), daemon=True).start()
until(lambda: len(client._streams._entries) == 3)
say("end")
""",
            gateway.url,
        )
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]


def test_it_stays_open_while_a_thread_that_is_not_a_daemon_goes_on() -> None:
    def on_open(peer: Peer) -> None:
        peer.read_frame()  # the word that the main thread has returned
        peer.send(frame(1, b'{"type": "late"}'))

    with Gateway(on_open) as gateway:
        ends_well(
            CONNECTED
            + """
def work():
    threading.main_thread().join()
    with client.events("late") as stream:
        client.emit("returned")
        stream.get(timeout=10)
    say("end")

threading.Thread(target=work).start()
""",
            gateway.url,
        )
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_the_interpreter_refuses_threads_a_reconnection_gives_up_with_one_error(host: str) -> None:
    drops = [True]

    def on_open(peer: Peer) -> None:
        if drops:
            drops.clear()
            peer.read_frame()  # the word that the exit has begun
            raise EOFError

    with Gateway(on_open) as gateway:
        finished = ends_well(
            """
import atexit

errors, ends = [], []
client = WebSocketClient(url, lambda: "t", initial_reconnect_delay=0.01)
client.on("error", lambda event: errors.append(event.error))
client.on("disconnected", ends.append)
client.connect()

@atexit.register
def work():
    try:
        threading.Thread(target=int).start()
        say("allows")
    except RuntimeError:
        say("refuses")
    with client.events("connected", where=lambda event: event.reconnected) as stream:
        client.emit("leaving")
        try:
            stream.get(timeout=10)
        except DisconnectedError:
            until(lambda: not threads())
    say(client.state, len(errors), ends[0].will_reconnect)
    try:
        client.connect()
    except ConnectError:
        say("refused")
    say("end")
""",
            gateway.url.replace("127.0.0.1", host),
        )
        verdict, *lines = finished.output.splitlines()
        if verdict == "refuses":  # as 3.12 does; the errors are the loss, and that it cannot be mended
            assert lines == ["disconnected 2 True", "refused", "end"]
            assert gateway.ends[0] is None
        else:
            assert lines == ["connected 1 True", "end"]
            until(lambda: len(gateway.ends) == 2)
            assert gateway.ends == [None, 1001]


def test_a_client_forgotten_on_the_way_out_closes_as_well() -> None:
    with Gateway() as gateway:
        ends_well(
            """
def main():
    client = WebSocketClient(url, lambda: "t")
    client.connect()

main()
say("end")
""",
            gateway.url,
        )
        until(lambda: gateway.ends)
    assert gateway.ends in ([1000], [1001])


def test_a_log_at_every_level_shows_nothing_amiss() -> None:
    with Gateway() as gateway:
        finished = run('client = WebSocketClient(url, lambda: "t", debug=True)\nclient.connect()', gateway.url)
        until(lambda: gateway.ends)
    assert finished.status == 0
    assert "Traceback" not in finished.errors
    assert "Exception" not in finished.errors
    assert gateway.ends == [1001]


MODULE = """
import sys, threading
from masquerade_ws import WebSocketClient

def work(url, lasting):
    global client
    client = WebSocketClient(url, lambda: "t")
    client.connect()
    if lasting:
        threading.Thread(target=last).start()

def last():
    threading.main_thread().join()
    with client.events("late") as stream:
        client.emit("returned")
        stream.get(timeout=10)
"""
MULTIPROCESSING = """
import multiprocessing

sys.path.insert(0, sys.argv[2])
from worker import work
context = __import__("billiard") if sys.argv[3] == "billiard" else multiprocessing.get_context(sys.argv[3])
if __name__ == "__main__":
    process = context.Process(target=work, args=(url, sys.argv[4] == "lasting"))
    process.start()
    process.join()
    assert process.exitcode == 0
    say("end")
"""


@pytest.mark.parametrize(
    "method", [*(method for method in ("fork", "forkserver", "spawn") if method in METHODS), "billiard"]
)
@pytest.mark.parametrize("threads", ["none", "lasting"])
def test_a_child_of_multiprocessing_closes_once_its_threads_have_ended(
    method: str, threads: str, tmp_path: Path
) -> None:
    if method == "billiard":
        pytest.importorskip("billiard", reason="needs the processes of Celery")
    (tmp_path / "worker.py").write_text(MODULE, encoding="utf-8")

    def on_open(peer: Peer) -> None:
        if threads == "lasting":
            peer.read_frame()  # the word that the main thread has returned
            peer.send(frame(1, b'{"type": "late"}'))

    with Gateway(on_open) as gateway:
        ends_well(MULTIPROCESSING, gateway.url, str(tmp_path), method, threads, flags=())
        until(lambda: gateway.ends)
    assert gateway.ends == [1001]
