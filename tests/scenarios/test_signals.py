"""Ctrl-C and SIGTERM end what blocks; a process that was stopped goes on with its connection or finds it dead."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.support.processes import Script
from tests.support.raw_server import Peer, RawServer, frame, until
from tests.support.scripts import deaf, echo, mute, silent

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs the signals of POSIX")

AT_ONCE = 5.0  # seconds; what blocks here would do so for many times that
STOPPED = 3.0  # seconds that a process is stopped for, more than its peer may be silent and than its heartbeats wait

INTERRUPTED = """
def say_when_blocked(thread=threading.main_thread()):
    "Say so as soon as the main thread rests where it is."
    place, looks = None, 0
    while looks < 20:
        frame = sys._current_frames()[thread.ident]
        before, place = place, (id(frame), frame.f_lasti)
        looks = looks + 1 if place == before else 0
        del frame
        time.sleep(0.005)
    say("blocks")

def interrupt(call):
    threading.Thread(target=say_when_blocked).start()
    try:
        call()
    except KeyboardInterrupt:
        say("interrupted")
    else:
        raise AssertionError("nothing interrupted it")

client = WebSocketClient(url, lambda: "t")
client.on("error", lambda event: None)
"""

USABLE = """
with client.events("echo") as stream:
    client.emit("echo")
    stream.get(timeout=10)
assert client.stats.connections == 1
client.disconnect()
assert threads() == []
say("end")
"""

CLOSED = """
before = time.monotonic()
client.disconnect()
assert time.monotonic() - before < 5
assert (client.state, threads()) == ("disconnected", [])
say("end")
"""


def ends_at_once(server: Callable[[Peer], object], text: str) -> None:
    with RawServer(server) as raw, Script(INTERRUPTED + text, raw.url) as script:
        script.expect("blocks")
        script.signal(signal.SIGINT)
        sent = time.monotonic()
        script.expect("interrupted")
        assert time.monotonic() - sent < AT_ONCE
        script.expect("end")
        finished = script.finish()
    assert (finished.status, finished.errors) == (0, "")


def a_send_fails_by_sigterm(text: str) -> None:
    with RawServer(deaf) as raw, Script(text, raw.url) as script:
        script.expect("blocks")
        script.signal(signal.SIGTERM)
        for line in ("left", "failed", "end"):
            script.expect(line)
        finished = script.finish()
    assert (finished.status, finished.errors) == (0, "")


@pytest.mark.parametrize(
    "call",
    [
        'lambda: client.wait_for("never")',
        'lambda: client.wait_for("never", timeout=60)',
        'lambda: client.wait_for("never", poll=lambda: None)',
        "lambda: client.run_image_job(lambda: 'j')",
        "lambda: client.run_image_job(lambda: 'j', timeout=60)",
        'client.events("never").get',
        'lambda: client.events("never").wait_for()',
        'lambda: list(client.events("never"))',
    ],
)
def test_ctrl_c_ends_a_wait_and_leaves_the_client_usable(call: str) -> None:
    ends_at_once(echo, f"client.connect()\ninterrupt({call})\n{USABLE}")


def test_ctrl_c_ends_iteration_over_the_client() -> None:
    ends_at_once(echo, f"client.connect()\ninterrupt(lambda: list(client))\n{USABLE}")


@pytest.mark.parametrize("timeout", ["None", "60"])
def test_ctrl_c_ends_a_connect_and_leaves_the_client_to_disconnect(timeout: str) -> None:
    ends_at_once(silent, f"interrupt(lambda: client.connect(timeout={timeout}))\n{CLOSED}")


def test_ctrl_c_ends_a_connect_in_a_with_statement_and_nothing_is_left_running() -> None:
    ends_at_once(silent, f"interrupt(client.__enter__)\nassert threads() == []\n{CLOSED}")


def test_ctrl_c_ends_a_send_that_a_deaf_peer_holds_up() -> None:
    ends_at_once(
        deaf,
        f"""
client.connect()
lost = []
client.on("disconnected", lost.append)
interrupt(lambda: client.emit("large", {{"data": "x" * 50_000_000}}))
until(lambda: lost or client.stats.bytes_sent < 65536)  # it is not the connection for the next event any more
{CLOSED}""",
    )


def test_ctrl_c_ends_a_disconnect_which_then_goes_on_by_itself() -> None:
    ends_at_once(
        mute,
        """
client.connect()
interrupt(lambda: client.disconnect(timeout=6))
until(lambda: client.state == "disconnected" and not threads())
say("end")
""",
    )


def test_ctrl_c_that_nobody_catches_ends_the_program_with_code_1001() -> None:
    codes: list[int | None] = []
    with RawServer(lambda peer: echo(peer, codes)) as raw:
        text = (
            INTERRUPTED
            + 'client.connect()\nthreading.Thread(target=say_when_blocked).start()\nclient.wait_for("never")\n'
        )
        with Script(text, raw.url) as script:
            script.expect("blocks")
            script.signal(signal.SIGINT)
            finished = script.finish()
        until(lambda: codes)
    assert finished.status == -signal.SIGINT
    assert finished.since < AT_ONCE
    assert finished.errors.endswith("KeyboardInterrupt\n")
    assert finished.errors.count("Traceback") == 1
    assert codes == [1001]


@pytest.mark.parametrize("members", ["wait", "with"])
def test_sigterm_as_servers_handle_it_ends_the_program_at_once(members: str) -> None:
    codes: list[int | None] = []
    body = 'client.connect()\nthreading.Thread(target=say_when_blocked).start()\nclient.wait_for("never")\n'
    if members == "with":
        body = "with client:\n    threading.Thread(target=say_when_blocked).start()\n    list(client)\n"
    text = INTERRUPTED + "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n" + body
    with RawServer(lambda peer: echo(peer, codes)) as raw:
        with Script(text, raw.url) as script:
            script.expect("blocks")
            script.signal(signal.SIGTERM)
            finished = script.finish()
        until(lambda: codes)
    assert (finished.status, finished.errors) == (143, "")
    assert finished.since < AT_ONCE
    assert codes == [1000 if members == "with" else 1001]


HANDLER = """
def leave(*_):
    before = time.monotonic()
    client.disconnect(timeout=1)
    assert time.monotonic() - before < 5
    assert client.state == "disconnected"
    say("left")

signal.signal(signal.SIGTERM, leave)
client.connect()
threading.Thread(target=say_when_blocked).start()
"""


@pytest.mark.parametrize(
    "call",
    [
        'client.wait_for("never")',
        'client.run_image_job(lambda: "j")',
        'client.events("never").get()',
        'client.events("never").wait_for()',
        'list(client.events("never"))',
    ],
)
def test_a_signal_handler_may_disconnect_the_client_that_its_thread_waits_for(call: str) -> None:
    text = f"try:\n    {call}\nexcept DisconnectedError:\n    pass\nassert threads() == []\nsay('end')\n"
    with RawServer(echo) as raw, Script(INTERRUPTED + HANDLER + text, raw.url) as script:
        script.expect("blocks")
        script.signal(signal.SIGTERM)
        script.expect("left")
        script.expect("end")
        finished = script.finish()
    assert (finished.status, finished.errors) == (0, "")


def test_a_signal_handler_may_disconnect_the_client_that_its_thread_is_sending_with() -> None:
    """The send holds the lock that the end of the connection waits for, until the handler returns."""
    text = """
try:
    client.emit("large", {"data": "x" * 50_000_000})
except SendError:
    say("failed")
until(lambda: threads() == [] and sockets() == [])
say("end")
"""
    a_send_fails_by_sigterm(INTERRUPTED + HANDLER + text)


CLOSER = """
from masquerade_ws.connection import Connection

def leave(*_):
    connection.close()
    say("left")

signal.signal(signal.SIGTERM, leave)
connection = Connection.open(url)
threading.Thread(target=say_when_blocked).start()
"""


def test_a_signal_handler_may_close_the_connection_that_its_thread_iterates_over() -> None:
    codes: list[int | None] = []
    text = """
assert list(connection) == []
assert connection.close_code == 1000
say("end")
"""
    with (
        RawServer(lambda peer: echo(peer, codes)) as raw,
        Script(INTERRUPTED + CLOSER + text, raw.url) as script,
    ):
        script.expect("blocks")
        script.signal(signal.SIGTERM)
        script.expect("left")
        script.expect("end")
        finished = script.finish()
    assert (finished.status, finished.errors) == (0, "")
    assert codes == [1000]


def test_a_signal_handler_may_close_the_connection_that_its_thread_is_sending_on() -> None:
    text = """
try:
    connection.send("x" * 50_000_000)
except SendError:
    say("failed")
assert connection.tcp_closed and connection.close_code == 1000
say("end")
"""
    a_send_fails_by_sigterm(INTERRUPTED + CLOSER + text)


def test_sigterm_that_nobody_handles_ends_the_process() -> None:
    with (
        RawServer(echo) as raw,
        Script(
            INTERRUPTED
            + 'client.connect()\nthreading.Thread(target=say_when_blocked).start()\nclient.wait_for("never")\n',
            raw.url,
        ) as script,
    ):
        script.expect("blocks")
        script.signal(signal.SIGTERM)
        finished = script.finish()
    assert (finished.status, finished.errors) == (-signal.SIGTERM, "")
    assert finished.since < AT_ONCE


class Pulse:
    """A server that notes when heartbeats come, and answers their pings as long as it ``lives``.

    Attributes:
        stops: How often it stops the process that it answers to: before the answer, so that this comes meanwhile.
    """

    def __init__(self) -> None:
        self.beats: list[float] = []
        self.connections = 0
        self.lives = True
        self.beat = threading.Event()
        self.stops = 0
        self.process = 0

    def __call__(self, peer: Peer) -> None:
        peer.upgrade()
        self.connections += 1
        while True:
            opcode, payload = peer.read_frame()
            if opcode == 1:
                self.beats.append(time.monotonic())
                self.beat.set()
            elif opcode == 9:
                if self.stops:
                    os.kill(self.process, signal.SIGSTOP)
                if self.lives:
                    peer.send(frame(10, payload))
                if self.stops:
                    self.stops -= 1
                    time.sleep(STOPPED)
                    os.kill(self.process, signal.SIGCONT)
            elif opcode == 8:
                peer.send(frame(8, payload))
                return


BEATING = """
client = WebSocketClient(url, lambda: "t", heartbeat_interval={interval}, heartbeat_timeout={timeout},
                         busy_timeout={timeout}, initial_reconnect_delay=60)

@client.on("error")
def show(event):
    say(event.context, event.error)

client.connect()
say("connected")
go()
client.disconnect()
say("end")
"""


@contextmanager
def beating(interval: float, timeout: float) -> Iterator[tuple[Pulse, Script]]:
    pulse = Pulse()
    with RawServer(pulse) as raw, Script(BEATING.format(interval=interval, timeout=timeout), raw.url) as script:
        script.expect("connected")
        pulse.process = script.process.pid
        yield pulse, script


def stop(script: Script, pulse: Pulse) -> float:
    """Stop the process for a while; return when it went on."""
    script.signal(signal.SIGSTOP)
    time.sleep(STOPPED)
    pulse.beat.clear()
    script.signal(signal.SIGCONT)
    return time.monotonic()


def ends_in_peace(script: Script) -> None:
    script.go()
    script.expect("end")
    finished = script.finish()
    assert (finished.status, finished.errors) == (0, "")


def test_after_a_stop_an_overdue_heartbeat_goes_out_at_once_and_the_connection_is_kept() -> None:
    with beating(2.0, 1.5) as (pulse, script):
        for _ in range(3):
            assert pulse.beat.wait(10), script.lines()
            went_on = stop(script, pulse)
            assert pulse.beat.wait(10), script.lines()
            assert time.monotonic() - went_on < 2.0
        count = len(pulse.beats)
        until(lambda: len(pulse.beats) > count + 1)
        ends_in_peace(script)
    assert pulse.connections == 1


def test_after_a_stop_a_peer_that_stays_silent_is_dead_when_its_time_is_over() -> None:
    with beating(0.8, 0.7) as (pulse, script):
        assert pulse.beat.wait(10)
        pulse.lives = False
        went_on = stop(script, pulse)
        line = script.line()
        took = time.monotonic() - went_on
        ends_in_peace(script)
    assert line.startswith("connection the peer was silent for 0.7 s")
    assert took < 0.7 + 10


@pytest.mark.slow
def test_after_a_stop_an_answer_that_came_meanwhile_keeps_the_connection() -> None:
    with beating(0.2, 1.5) as (pulse, script):
        pulse.stops = 6
        until(lambda: not pulse.stops, 60)
        count = len(pulse.beats)
        until(lambda: len(pulse.beats) > count + 2)
        ends_in_peace(script)
    assert pulse.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "call",
    [
        'lambda: client.wait_for("x", timeout=0.001)',
        'lambda: client.wait_for("x.*", where={"a": 1}, timeout=0.001, poll=lambda: 1)',
        "lambda: client.run_image_job(lambda: 'j', timeout=0.001)",
        "open_and_close",
        'lambda: client.future("x", where={"a": 1}).add_done_callback(str)',
        'lambda: client.future("x").cancel()',
        "lambda: client.submit_image_job(lambda: 'j', poll=lambda job_id: 1).result(timeout=10)",
        "listen",
        "lambda: (client.state, client.stats, repr(client))",
        "client.connect",
        "client.disconnect",
    ],
)
def test_an_interrupt_at_any_line_leaves_the_client_usable(call: str) -> None:
    text = """
import linecache
import masquerade_ws

home = os.path.dirname(masquerade_ws.__file__)
client = WebSocketClient(url, lambda: "t", initial_reconnect_delay=0)
client.on("error", lambda event: None)
client.on("echo", lambda event: None)

def open_and_close():
    with client.events("x", "y.*", where={{"a": 1}}) as stream:
        try:
            stream.wait_for("y.*", timeout=0)
        except WaitTimeoutError:
            pass

def listen():
    client.on("x", print)
    client.once("x", print)
    client.off("x", print)

def interrupted_at(line, call):
    "Call, and raise KeyboardInterrupt at that line of ours; tell whether the call had so many."
    left = line

    def trace(frame, event, argument):
        nonlocal left
        if not frame.f_code.co_filename.startswith(home):
            return None
        # Two places are traced where no signal is handled, and where CPython does not leave what surrounds them: a with
        # statement once more before its exit, and the empty instruction of a try right after a with (from 3.11 on).
        text = linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        if event == "line" and not text.startswith("with ") and text != "try:":
            left -= 1
            if not left:
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except (KeyboardInterrupt, WaitTimeoutError):
        pass
    finally:
        sys.settrace(None)
    return left <= 0

def sent():
    try:
        client.emit("echo")
    except (NotConnectedError, SendError):  # an interrupted send has ended the connection, and the next is not there
        return False
    return True

def check():
    with client.events("echo") as stream:
        until(sent)
        stream.get(timeout=10)
    until(lambda: len(threads()) == 4)  # one of an interrupted call ends by itself

call = {call}
client.connect()
line = 1
while interrupted_at(line, call):
    signal.alarm(25)
    if call in (client.connect, client.disconnect):
        client.connect()
    check()
    line += 1
    if call == client.connect:
        client.disconnect()
        assert threads() == [], threads()
client.disconnect()
assert threads() == []
assert len(client._streams._entries) == 0, client._streams._entries
"""
    with RawServer(echo) as raw, Script(text.format(call=call), raw.url) as script:
        finished = script.finish()
    assert finished.errors == ""
    assert (finished.status, finished.output) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("thread", ["MainThread", "masquerade-ws-supervisor"])
def test_a_disconnect_at_any_line_amid_a_change_of_the_state_breaks_nothing(thread: str) -> None:
    """As a signal handler does on the main thread, and a finalizer on any."""
    text = """
import masquerade_ws

home = os.path.dirname(masquerade_ws.__file__)
ours = [os.path.join("lifecycle", name) for name in ("control.py", "state.py", "supervisor.py", "threads.py")]
files = [threading.__file__, *(os.path.join(home, name) for name in [*ours, "latch.py"])]

def live(line):
    "Live a life, and disconnect at that line of ours on the thread; tell whether it had so many."
    client = WebSocketClient(url, lambda: "t", initial_reconnect_delay=0)
    changes = []
    client.on("state:change", changes.append)
    client.on("error", lambda event: None)
    seen = set()

    def trace(frame, event, argument):
        if frame.f_code.co_filename not in files:
            return None
        place = frame.f_code, frame.f_lineno, frame.f_back.f_code, frame.f_back.f_lineno
        if event == "line" and threading.current_thread().name == {thread!r} and place not in seen:
            seen.add(place)
            if len(seen) == line:
                client.disconnect(timeout=0)
        return trace

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        client.connect()
    except DisconnectedError:
        pass
    try:
        client.disconnect(timeout=10)
    finally:
        sys.settrace(None)
        threading.settrace(None)
    client.connect()
    client.disconnect(timeout=10)
    until(lambda: threads() == [])
    state = "disconnected"
    for change in changes:
        assert change.old_state == state, changes
        state = change.new_state
    assert state == client.state == "disconnected"
    return len(seen) >= line

line = 1
while live(line):
    signal.alarm(25)
    line += 1
assert line > 20
"""
    with RawServer(echo) as raw, Script(text.format(thread=thread), raw.url) as script:
        finished = script.finish()
    assert finished.errors == ""
    assert (finished.status, finished.output) == (0, "")
