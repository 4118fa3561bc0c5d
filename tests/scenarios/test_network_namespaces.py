"""Real faults of a real network: two hosts in namespaces of their own, with a cable between them.

The tests make namespaces and cable themselves, which takes Linux, root and `ip`; elsewhere they are skipped.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.slow_line import SlowLine

PATIENCE = 30.0
NUMBERS = itertools.count()

SERVER = """
import sys, threading
import socket
from masquerade_ws.testing import EventServer
create = socket.create_server
socket.create_server = lambda address, **options: create(("0.0.0.0", address[1]), **options)
with EventServer(lambda peer, event: event["type"] == "heartbeat" or peer.emit("echo", event["payload"]), port=7000):
    print("ready", flush=True)
    sys.stdin.read()
"""

CLIENT = """
import json, logging, sys, threading
from masquerade_ws import MasqueradeError, WebSocketClient
options = json.loads(sys.argv[2])
client = WebSocketClient(sys.argv[1], lambda: "t", initial_reconnect_delay=0.1, max_reconnect_delay=0.5, **options)
def tell(event):
    line = {"type": event.type}
    if event.type == "connected":
        line.update(gap=event.gap, reconnected=event.reconnected)
    elif event.type == "error":
        line.update(context=event.context, error=str(event.error))
    elif event.type == "echo":
        line.update(n=event.payload["n"])
    print(json.dumps(line), flush=True)
for name in ("connected", "disconnected", "error", "echo"):
    client.on(name, tell)
class Busy(logging.Handler):
    def emit(self, record):
        if "may be busy" in record.getMessage():
            print('{"type": "busy"}', flush=True)
logging.getLogger("masquerade_ws").addHandler(Busy())
logging.getLogger("masquerade_ws").setLevel("INFO")
client.connect(block=False)
for line in sys.stdin:
    try:
        client.emit("say", {"n": int(line)})
    except MasqueradeError:
        pass
client.disconnect()
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)


def works(*command: str) -> bool:
    return subprocess.run(command, check=False, capture_output=True, timeout=PATIENCE).returncode == 0


class Program:
    """A Python program in a namespace, whose lines of JSON are kept."""

    def __init__(self, namespace: str, source: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, "-c", source, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[dict[str, Any]] = []

    def write(self, line: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def until(self, type: str, matches: Callable[[dict[str, Any]], bool] = lambda line: True) -> dict[str, Any]:
        """Read up to an event and return it; a program that says nothing is ended by the test's watchdog."""
        while True:
            line = self.read()
            assert line, f"the program ended after {self.lines[-5:]}"
            self.lines.append(json.loads(line))
            if self.lines[-1]["type"] == type and matches(self.lines[-1]):
                return self.lines[-1]

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0


class Network:
    """Two namespaces and the cable between them; the client's host is `near`, the server's `far`."""

    def __init__(self) -> None:
        stem = f"mws{os.getpid()}n{next(NUMBERS)}"
        self.near, self.far = f"{stem}a", f"{stem}b"

    def lay(self) -> None:
        for host in (self.near, self.far):
            run("ip", "netns", "add", host)
        run("ip", "link", "add", "c0", "netns", self.near, "type", "veth", "peer", "name", "c0", "netns", self.far)
        for host, number in ((self.near, 1), (self.far, 2)):
            run("ip", "-n", host, "addr", "add", f"10.99.0.{number}/24", "dev", "c0")
            run("ip", "-n", host, "link", "set", "c0", "up")

    def remove(self) -> None:
        for host in (self.near, self.far):
            works("ip", "netns", "del", host)

    def lose_packets(self, percent: int) -> None:
        """Lose so many of the packets both ways: with `tc netem`, or with nftables where the kernel has no netem."""
        for host in (self.near, self.far):
            if works("tc", "-n", host, "qdisc", "add", "dev", "c0", "root", "netem", "loss", f"{percent}%"):
                continue
            rules = f"add table ip t; add chain ip t c {{ type filter hook input priority 0; }}; \
                      add rule ip t c numgen random mod 100 < {percent} drop"
            if not (shutil.which("nft") and works("ip", "netns", "exec", host, "nft", rules)):
                pytest.skip("needs a kernel with netem, or nft")


@pytest.fixture
def network() -> Iterator[Network]:
    if sys.platform != "linux" or os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")):
        pytest.skip("needs Linux, root, ip and tc")
    network = Network()
    try:
        network.lay()
    except subprocess.CalledProcessError as error:
        network.remove()
        pytest.skip(f"needs namespaces and veth: {error.stderr.strip()}")
    yield network
    network.remove()


@pytest.fixture
def server(network: Network) -> Iterator[Program]:
    program = Program(network.far, SERVER)
    assert program.read() == "ready\n"
    yield program
    program.end()


@pytest.fixture
def client(network: Network, server: Program) -> Iterator[Program]:
    options = {"heartbeat_interval": 0.3, "heartbeat_timeout": 0.7, "connect_timeout": 2.0, "proxy": False}
    program = Program(network.near, CLIENT, "ws://10.99.0.2:7000/ws", json.dumps(options))
    yield program
    program.end()


def test_a_link_that_goes_down_and_comes_back(network: Network, client: Program) -> None:
    client.until("connected")
    start = time.monotonic()
    run("ip", "-n", network.far, "link", "set", "c0", "down")
    error = client.until("error")
    assert time.monotonic() - start < 1.0 + PATIENCE
    assert error["context"] == "connection"
    assert "and so was its system: heartbeat_timeout ran out" in error["error"]
    client.until("disconnected")
    client.until("error")  # an attempt, too
    run("ip", "-n", network.far, "link", "set", "c0", "up")
    assert client.until("connected")["gap"] > 0
    client.write(1)
    client.until("echo", lambda line: line["n"] == 1)


def test_a_link_that_goes_down_at_our_end(network: Network, client: Program) -> None:
    """The system has then sent nothing that could be acknowledged."""
    client.until("connected")
    run("ip", "-n", network.near, "link", "set", "c0", "down")
    assert "and so was its system: heartbeat_timeout ran out" in client.until("error")["error"]
    run("ip", "-n", network.near, "link", "set", "c0", "up")
    assert client.until("connected")["reconnected"]


def test_a_link_that_goes_down_while_the_server_is_busy(network: Network, server: Program, client: Program) -> None:
    """As long as the cable is there its system is alive, for more than the time-out."""
    client.until("connected")
    server.process.send_signal(signal.SIGSTOP)
    client.until("busy")
    time.sleep(2 * 0.7)  # how long it is busy then
    run("ip", "-n", network.far, "link", "set", "c0", "down")
    error = client.until("error")
    assert "and so was its system: heartbeat_timeout ran out" in error["error"]
    server.process.send_signal(signal.SIGCONT)
    run("ip", "-n", network.far, "link", "set", "c0", "up")
    assert client.until("connected")["reconnected"]


BUSY_SERVER = """
import socket, sys
from tests.support.raw_server import Peer
with socket.create_server(("0.0.0.0", 7000)) as listener:
    print("ready", flush=True)
    peer = Peer(listener.accept()[0], None)
    peer.upgrade()
    sys.stdin.read()  # how busy it is
"""

LONE_SENDER = """
import logging, sys, threading, time
from masquerade_ws import WebSocketClient
beaten, busy = threading.Event(), threading.Event()
class Watch(logging.Handler):
    def emit(self, record):
        beaten.set() if record.getMessage() == "sent a heartbeat" else None
        busy.set() if "may be busy" in record.getMessage() else None
logging.getLogger("masquerade_ws").addHandler(Watch())
logging.getLogger("masquerade_ws").setLevel("DEBUG")
client = WebSocketClient(
    "ws://10.98.0.2:7000/ws", lambda: "t", proxy=False, connect_timeout=30, heartbeat_interval=3, heartbeat_timeout=2
)
client.connect()
assert beaten.wait(30)
time.sleep(2 - 0.4)  # an acknowledgement takes 0.8 s, and in 0.4 s the system is asked
client.emit("lone")
assert busy.wait(30), client.last_error
print("busy", flush=True)
client.disconnect(timeout=0.1)
"""


@pytest.mark.slow
def test_what_was_sent_just_before_the_system_is_asked_is_not_a_sign_of_death(network: Network) -> None:
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    line = SlowLine(network.near, network.far, 0.4)
    server = Program(network.far, BUSY_SERVER)
    try:
        assert server.read() == "ready\n"
        client = Program(network.near, LONE_SENDER)
        assert client.read() == "busy\n"
        client.end()
    finally:
        server.end()
        line.remove()


def test_a_link_that_comes_back_in_time_costs_nothing(network: Network, server: Program) -> None:
    options = {"heartbeat_interval": 0.3, "heartbeat_timeout": PATIENCE, "proxy": False}
    program = Program(network.near, CLIENT, "ws://10.99.0.2:7000/ws", json.dumps(options))
    program.until("connected")
    run("ip", "-n", network.far, "link", "set", "c0", "down")
    program.write(1)
    time.sleep(0.5)  # how long the cable is out
    run("ip", "-n", network.far, "link", "set", "c0", "up")
    program.until("echo", lambda line: line["n"] == 1)
    assert [line["type"] for line in program.lines] == ["connected", "echo"]
    program.end()


def test_an_address_that_changes(network: Network, client: Program) -> None:
    """As in a host that moves to another network: what was connected from the old address never comes back."""
    client.until("connected")
    run("ip", "-n", network.near, "addr", "del", "10.99.0.1/24", "dev", "c0")
    run("ip", "-n", network.near, "addr", "add", "10.99.0.77/24", "dev", "c0")
    assert "and so was its system: heartbeat_timeout ran out" in client.until("error")["error"]
    assert client.until("connected")["reconnected"]
    client.write(1)
    client.until("echo", lambda line: line["n"] == 1)


@pytest.mark.slow
@pytest.mark.parametrize("percent", [5, 20])
def test_lost_packets_lose_no_event(network: Network, server: Program, percent: int) -> None:
    """TCP sends them anew; a peer that is only slow is given time."""
    network.lose_packets(percent)
    options = {"heartbeat_interval": 1.0, "heartbeat_timeout": PATIENCE, "connect_timeout": PATIENCE, "proxy": False}
    program = Program(network.near, CLIENT, "ws://10.99.0.2:7000/ws", json.dumps(options))
    program.until("connected")
    for n in range(100):
        program.write(n)
    program.until("echo", lambda line: line["n"] == 99)
    assert [line["n"] for line in program.lines if line["type"] == "echo"] == list(range(100))
    assert [line["type"] for line in program.lines if line["type"] != "echo"] == ["connected"]
    program.end()


@pytest.mark.slow
def test_a_line_that_loses_nearly_all_packets_is_given_up_and_taken_up_again(network: Network, client: Program) -> None:
    client.until("connected")
    network.lose_packets(90)
    assert client.until("error")["context"] == "connection"
    client.until("disconnected")
    for host in (network.near, network.far):
        works("tc", "-n", host, "qdisc", "del", "dev", "c0", "root")
        works("ip", "netns", "exec", host, "nft", "flush ruleset")
    client.until("connected")
    client.write(1)
    client.until("echo", lambda line: line["n"] == 1)
