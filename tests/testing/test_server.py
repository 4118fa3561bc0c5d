from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from masquerade_ws import testing
from masquerade_ws.testing import EventServer, ExpectationError, host
from masquerade_ws.testing.gate import Gate, Listener
from tests.support.leaks import descriptors
from tests.support.messages import loss_of, wire
from tests.support.raw_server import until
from tests.support.scenes import elapsed

if TYPE_CHECKING:
    from masquerade_ws.testing import Peer

TIMEOUT = 10.0  # seconds, for what is bound to happen
SILENCE = 0.1  # seconds, for what must not happen


def receive(client: ClientConnection) -> dict[str, Any]:
    event = json.loads(client.recv(timeout=TIMEOUT))
    assert isinstance(event, dict)
    return event


def raw_client(server: EventServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT)


def start_handshake(sock: socket.socket, *headers: str) -> None:
    lines = [
        "GET /ws HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())


def fill(sock: socket.socket) -> None:
    """Send until the peer takes no more."""
    sock.settimeout(0.2)
    with pytest.raises(TimeoutError):
        sock.sendall(b"x" * 2**28)


# Life


def test_the_fixture_hands_out_a_running_server(masquerade_server: EventServer) -> None:
    with connect(masquerade_server.url):
        assert masquerade_server.connections == 1


def test_the_url_names_the_loopback_port(server: EventServer) -> None:
    assert server.url == f"ws://127.0.0.1:{server.port}/ws"


def test_a_server_that_was_never_started_has_no_url() -> None:
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = EventServer().url


def test_the_repr_tells_the_port_and_whether_it_runs() -> None:
    server = EventServer()
    assert repr(server) == "<EventServer port=0 stopped>"
    with server:
        assert repr(server) == f"<EventServer port={server.port} running>"


def test_starting_and_stopping_twice_is_harmless(server: EventServer) -> None:
    url = server.url
    server.start()
    assert server.url == url
    server.stop()
    server.stop()


def test_a_restarted_server_keeps_its_port_and_its_records(server: EventServer) -> None:
    with connect(server.url + "?token=one") as client:
        client.send(wire("before"))
        server.expect("before")
        server.stop()
        assert loss_of(client).rcvd.code == 1001  # type: ignore[union-attr]
    server.start()
    with connect(server.url + "?token=two") as client:
        server.emit("after")
        assert receive(client)["type"] == "after"
    assert server.tokens == ["one", "two"]
    assert [event["type"] for event in server.received] == ["before"]


def test_another_server_can_take_the_port_over() -> None:
    with EventServer() as first, connect(first.url) as client:
        first.stop()
        with EventServer(port=first.port) as second:
            assert second.url == first.url
            loss_of(client)
            with connect(second.url):
                assert second.connections == 1


def test_a_taken_port_is_an_error(server: EventServer) -> None:
    with pytest.raises(OSError, match=r".+"):
        EventServer(port=server.port).start()


def test_a_stopped_server_refuses_tcp(server: EventServer) -> None:
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        raw_client(server)


def test_stopping_leaves_no_thread_and_no_descriptor() -> None:
    threads = set(threading.enumerate())
    before = descriptors()
    with ExitStack() as stack:
        server = stack.enter_context(EventServer())
        for _ in range(20):
            stack.enter_context(connect(server.url))
        stack.enter_context(raw_client(server))
        assert server.connections == 20
        server.stop()
        names = [thread.name for thread in set(threading.enumerate()) - threads]
        assert not [name for name in names if "masquerade" in name or "handler" in name]
    until(lambda: set(threading.enumerate()) <= threads)  # those of the clients end by themselves
    assert descriptors() <= before


def test_stopping_is_quick_although_clients_are_frozen_mute_or_gone(server: EventServer) -> None:
    with connect(server.url), raw_client(server) as half, raw_client(server) as full:
        start_handshake(half)
        server.freeze()
        fill(full)
        assert elapsed(server.stop) < 5


def test_stopping_is_quick_although_a_client_answers_no_close(server: EventServer) -> None:
    with raw_client(server) as mute:
        start_handshake(mute)
        server.wait_for_connections(1, TIMEOUT)
        assert elapsed(server.stop) < 5


def test_stopping_is_quick_although_a_send_is_stuck(server: EventServer) -> None:
    with raw_client(server) as deaf:
        emitter = stuck_emitter(server, deaf)
        assert elapsed(server.stop) < 5
        emitter.join(TIMEOUT)
        assert not emitter.is_alive()


def stuck_emitter(server: EventServer, deaf: socket.socket) -> threading.Thread:
    """Start a thread that sends to a client that reads nothing; return when it is stuck, as far as can be told."""
    start_handshake(deaf)
    server.wait_for_connections(1, TIMEOUT)
    started = threading.Event()

    def flood() -> None:
        started.set()
        server.broadcast_raw("x" * 2**26)

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    assert started.wait(TIMEOUT)
    deaf.recv(1)
    thread.join(SILENCE)
    assert thread.is_alive()
    return thread


def test_a_connection_that_comes_while_the_server_stops_is_refused() -> None:
    release = threading.Event()

    def hold(_peer: Peer, _event: dict[str, Any]) -> None:
        assert release.wait(TIMEOUT)

    # The witness comes first, so that it is accepted before the client is: the kernel would reset what is not.
    with EventServer(hold) as server, raw_client(server) as witness, connect(server.url) as client:
        client.send(wire("hold"))
        server.expect("hold", TIMEOUT)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert witness.recv(1) == b""  # the server hangs up on all it has
        with pytest.raises(ConnectionRefusedError):
            raw_client(server)
        release.set()
        stopping.join(TIMEOUT)
        assert not stopping.is_alive()


# Events to clients


def test_an_emitted_event_reaches_every_client(server: EventServer) -> None:
    with connect(server.url) as one, connect(server.url) as two:
        server.emit("image.generation.started", {"job_id": "7", "user_id": "ü"})
        event = receive(one)
        assert event == receive(two)
    assert event["type"] == "image.generation.started"
    assert event["payload"] == {"job_id": "7", "user_id": "ü"}
    assert event["timestamp"].endswith("Z")
    assert len(event["timestamp"]) == len("2026-11-22T12:00:00.000Z")


def test_a_payload_is_empty_by_default(server: EventServer, client: ClientConnection) -> None:
    server.emit("heartbeat")
    assert receive(client)["payload"] == {}


def test_a_client_that_has_connected_misses_nothing(server: EventServer) -> None:
    for number in range(50):
        with connect(server.url) as client:
            server.emit("number", {"number": number})
            assert receive(client)["payload"] == {"number": number}


def test_raw_messages_go_as_text_and_as_binary(server: EventServer, client: ClientConnection) -> None:
    server.broadcast_raw("no event")
    server.broadcast_raw(b"\xff\x00")
    assert client.recv(timeout=TIMEOUT) == "no event"
    assert client.recv(timeout=TIMEOUT) == b"\xff\x00"


def test_emitting_to_nobody_is_harmless(server: EventServer) -> None:
    server.emit("unheard")


def test_large_messages_arrive_whole(server: EventServer, client: ClientConnection) -> None:
    with connect(server.url, max_size=None) as large:
        client.close()
        server.broadcast_raw(b"\x01" * 2**22)
        assert large.recv(timeout=TIMEOUT) == b"\x01" * 2**22
        large.send(wire("large", filling="x" * 2**22))
        assert len(server.expect("large", TIMEOUT)["payload"]["filling"]) == 2**22


# Events from clients


def test_what_clients_send_is_recorded_in_order(server: EventServer, client: ClientConnection) -> None:
    client.send(wire("heartbeat"))
    client.send(wire("job", number=1).encode())
    assert server.expect("job", TIMEOUT) == json.loads(wire("job", number=1))
    assert server.received == [json.loads(wire("heartbeat")), json.loads(wire("job", number=1))]


def test_the_record_is_a_snapshot(server: EventServer, client: ClientConnection) -> None:
    client.send(wire("one"))
    server.expect("one", TIMEOUT)
    server.received.clear()
    assert len(server.received) == 1


def test_each_event_is_expected_once_and_in_order(server: EventServer, client: ClientConnection) -> None:
    for number in (1, 2):
        client.send(wire("job", number=number))
    assert [server.expect("job", TIMEOUT)["payload"]["number"] for _ in range(2)] == [1, 2]
    with pytest.raises(ExpectationError, match=r"no 'job' event within 0 s; nothing else is waiting \(2 received"):
        server.expect("job", timeout=0)


def test_an_event_expected_later_may_have_come_earlier(server: EventServer, client: ClientConnection) -> None:
    client.send(wire("early"))
    client.send(wire("late"))
    server.expect("late", TIMEOUT)
    assert server.expect("early", timeout=0)["type"] == "early"


def test_an_expectation_waits_for_the_event(server: EventServer, client: ClientConnection) -> None:
    timer = threading.Timer(SILENCE, client.send, [wire("delayed")])
    timer.start()
    assert server.expect("delayed", TIMEOUT)["type"] == "delayed"
    timer.join()


@pytest.mark.parametrize("kind", [AssertionError, TimeoutError])
def test_a_failed_expectation_lists_what_did_arrive(
    server: EventServer, client: ClientConnection, kind: type[Exception]
) -> None:
    client.send(wire("other", job_id="7"))
    client.send(wire("done"))
    server.expect("done", TIMEOUT)
    with pytest.raises(kind, match=r'waiting are 1: other \{"job_id": "7"\}'):
        server.expect("missing", timeout=0.01)


def test_a_long_list_of_arrivals_is_shortened(server: EventServer, client: ClientConnection) -> None:
    for number in range(12):
        client.send(wire(f"n{number}"))
    client.send(wire("done"))
    server.expect("done", TIMEOUT)
    with pytest.raises(ExpectationError, match=r"waiting are 12: \.\.\. n2 \{\}, .*n11 \{\} "):
        server.expect("missing", timeout=0)


@pytest.mark.parametrize("message", ["no json", "[]", "{}", '{"type": 1}', b"\xff\xfe\xfd"])
def test_a_message_that_is_not_an_event_closes_its_connection(
    server: EventServer, client: ClientConnection, message: str | bytes
) -> None:
    client.send(message)
    loss = loss_of(client)
    assert loss.rcvd is not None
    assert (loss.rcvd.code, loss.rcvd.reason) == (1007, "not an event")
    assert server.received == []


# A handler


def test_a_handler_answers_the_one_who_asked() -> None:
    def answer(peer: Peer, event: dict[str, Any]) -> None:
        peer.emit("answer", {"to": event["payload"]["question"], "token": peer.token})

    with EventServer(answer) as server, connect(server.url + "?token=t") as asking, connect(server.url) as other:
        asking.send(wire("ask", question=6))
        assert receive(asking)["payload"] == {"to": 6, "token": "t"}
        other.send(wire("ask", question=7))
        assert receive(other)["payload"] == {"to": 7, "token": None}


def test_an_answer_to_a_client_that_has_gone_is_harmless() -> None:
    peers: list[Peer] = []
    with EventServer(lambda peer, _event: peers.append(peer)) as server:
        with connect(server.url) as client:
            client.send(wire("ask"))
            server.expect("ask", TIMEOUT)
        server.wait_for_connections(0, TIMEOUT)
        server.stop()
        peers[0].emit("answer")


def test_a_handler_that_raises_is_logged_and_closes_its_connection(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_peer: Peer, _event: dict[str, Any]) -> None:
        raise LookupError("lost the plot")

    with EventServer(fail) as server, connect(server.url) as client:
        client.send(wire("ask"))
        loss = loss_of(client)
        assert loss.rcvd is not None
        assert loss.rcvd.code == 1011
    assert "lost the plot" in caplog.text


# Tokens and connections


@pytest.mark.parametrize(
    ("query", "tokens"),
    [
        ("?token=a%20b%2Bc%2F%C3%BC", ["a b+c/ü"]),
        ("?token=a+b", ["a+b"]),
        ("?token=", [""]),
        ("?tenant=5&token=mine", ["mine"]),
        ("?token=theirs&token=mine", ["mine"]),
        ("?tenant=5", []),
        ("", []),
    ],
)
def test_tokens_are_read_from_the_query(server: EventServer, query: str, tokens: list[str]) -> None:
    with connect(server.url + query):
        assert server.tokens == tokens


@pytest.mark.parametrize(("value", "tokens"), [("Bearer a+b%20", ["a+b%20"]), ("Basic YTpi", [])])
def test_tokens_are_read_from_the_authorization_header(server: EventServer, value: str, tokens: list[str]) -> None:
    with connect(server.url, additional_headers={"Authorization": value}):
        assert server.tokens == tokens


def test_a_connection_counts_as_soon_as_its_client_knows_of_it(server: EventServer) -> None:
    with ExitStack() as stack:
        for number in range(20):
            stack.enter_context(connect(server.url))
            assert server.connections == number + 1


def test_waiting_without_time_counts_a_client_whose_thread_has_yet_to_run(
    server: EventServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = threading.Event()
    monkeypatch.setattr(host, "token_of", lambda request: held.wait(10))
    with connect(server.url):
        timer = threading.Timer(SILENCE, held.set)
        timer.start()
        server.wait_for_connections(1, timeout=0)
        timer.join()


def test_a_connection_that_its_client_closed_no_longer_counts(server: EventServer) -> None:
    with connect(server.url) as client:
        client.close()
        assert server.connections == 0


def test_a_request_that_is_not_a_handshake_does_not_count(server: EventServer) -> None:
    with raw_client(server) as sock:
        sock.sendall(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 426 " in sock.recv(4096)
    assert server.connections == 0


def test_waiting_for_connections_ends_with_the_last_one(server: EventServer) -> None:
    with ExitStack() as stack:
        timer = threading.Timer(SILENCE, lambda: [stack.enter_context(connect(server.url)) for _ in range(3)])
        timer.start()
        server.wait_for_connections(3, TIMEOUT)
        timer.join()
    server.wait_for_connections(0, TIMEOUT)


def test_waiting_for_connections_in_vain_tells_how_many_there_are(server: EventServer) -> None:
    with connect(server.url), pytest.raises(ExpectationError, match=r"1 clients are connected after 0\.01 s, not 2"):
        server.wait_for_connections(2, timeout=0.01)


# Faults


def test_drop_resets_every_connection(server: EventServer) -> None:
    with connect(server.url) as one, connect(server.url) as two:
        server.drop()
        assert server.connections == 0
        for client in (one, two):
            assert isinstance(loss_of(client).__cause__, ConnectionResetError)
    with connect(server.url):
        assert server.connections == 1


def test_drop_resets_idle_frozen_and_unfinished_connections(server: EventServer) -> None:
    with raw_client(server) as unfinished, raw_client(server) as opened:
        start_handshake(opened)
        server.wait_for_connections(1, TIMEOUT)  # so that the other one, which came first, is accepted as well
        assert opened.recv(65536).startswith(b"HTTP/1.1 101 ")
        server.freeze()
        start_handshake(unfinished)
        server.drop()
        for sock in (opened, unfinished):
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_drop_ends_a_stuck_send(server: EventServer) -> None:
    with raw_client(server) as deaf:
        emitter = stuck_emitter(server, deaf)
        server.drop()
        emitter.join(TIMEOUT)
        assert not emitter.is_alive()


def test_close_shakes_hands_with_every_client(server: EventServer) -> None:
    with connect(server.url) as one, connect(server.url) as two:
        server.close(4001, "später")
        assert server.connections == 0
        for client in (one, two):
            loss = loss_of(client)
            assert (loss.rcvd.code, loss.rcvd.reason) == (4001, "später")  # type: ignore[union-attr]
            assert loss.rcvd_then_sent


def test_close_is_normal_by_default_and_the_server_goes_on(server: EventServer, client: ClientConnection) -> None:
    server.close()
    assert loss_of(client).rcvd.code == 1000  # type: ignore[union-attr]
    with connect(server.url):
        assert server.connections == 1


def test_close_cuts_off_a_client_that_does_not_answer(server: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masquerade_ws.testing.server.CLOSE_GRACE", SILENCE)
    with raw_client(server) as mute:
        start_handshake(mute)
        server.wait_for_connections(1, TIMEOUT)
        server.close(1000)
        received = b"".join(iter(lambda: mute.recv(65536), b""))
        assert received.endswith(b"\x88\x02\x03\xe8")


@pytest.mark.parametrize(("code", "reason"), [(999, ""), (1005, ""), (1006, ""), (1000, "x" * 124)])
def test_a_close_that_may_not_be_sent_is_refused(server: EventServer, code: int, reason: str) -> None:
    with connect(server.url):
        with pytest.raises(ValueError, match="code or reason"):
            server.close(code, reason)
        assert server.connections == 1


def test_refused_handshakes_get_the_status_in_order(server: EventServer) -> None:
    server.refuse(401, times=2)
    server.refuse(503)
    statuses: list[int] = []
    for _ in range(3):
        with pytest.raises(InvalidStatus) as caught, connect(server.url + "?token=t"):
            pass  # the handshake raises
        statuses.append(caught.value.response.status_code)
    assert statuses == [401, 401, 503]
    assert server.tokens == ["t", "t", "t"]
    with connect(server.url):
        assert server.connections == 1


@pytest.mark.parametrize("status", [101, 299, 99])
def test_a_status_that_refuses_nothing_is_an_error(server: EventServer, status: int) -> None:
    with pytest.raises(ValueError, match=str(status)):
        server.refuse(status)


def test_a_frozen_server_answers_no_ping_until_it_thaws(server: EventServer, client: ClientConnection) -> None:
    server.freeze()
    server.freeze()
    pong = client.ping()
    assert not pong.wait(SILENCE)
    server.thaw()
    assert pong.wait(TIMEOUT)


def test_a_frozen_server_holds_events_back_in_both_directions(server: EventServer, client: ClientConnection) -> None:
    server.freeze()
    server.emit("first")
    client.send(wire("question"))
    with pytest.raises(ExpectationError):
        server.expect("question", SILENCE)
    with pytest.raises(TimeoutError):
        client.recv(timeout=0)
    server.thaw()
    server.emit("second")
    assert [receive(client)["type"] for _ in range(2)] == ["first", "second"]
    server.expect("question", TIMEOUT)


def test_a_frozen_server_accepts_tcp_and_answers_the_handshake_after_the_thaw(server: EventServer) -> None:
    server.freeze()
    with raw_client(server) as sock:
        start_handshake(sock)
        sock.settimeout(SILENCE)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        assert server.connections == 0
        server.thaw()
        sock.settimeout(TIMEOUT)
        assert sock.recv(65536).startswith(b"HTTP/1.1 101 ")
        assert server.connections == 1


def test_a_frozen_server_reads_nothing(server: EventServer) -> None:
    server.freeze()
    with raw_client(server) as sock:
        fill(sock)


def test_thawing_is_not_held_up_by_a_client_that_has_gone(server: EventServer) -> None:
    with connect(server.url, close_timeout=SILENCE) as client:
        server.freeze()
        server.broadcast_raw("x" * 2**24)
    # The client's close found no answer, so it has hung up.
    server.thaw()
    server.wait_for_connections(0, TIMEOUT)
    assert client.close_code == 1006


def test_what_arrives_while_a_frozen_connection_is_cut_is_lost(server: EventServer, client: ClientConnection) -> None:
    server.freeze()
    client.send(wire("unread"))
    server.drop()
    server.thaw()
    assert isinstance(loss_of(client), ConnectionClosedError)
    server.stop()
    assert server.received == []


def test_a_cut_socket_takes_and_gives_nothing_more() -> None:
    gate = Gate(threading.Condition())
    with (
        Listener(gate, 0) as listener,
        socket.create_connection(listener.getsockname(), timeout=TIMEOUT) as peer,
    ):
        gated, _ = next(listener.connections())
        with gated:
            peer.sendall(b"x")
            gated.cut()
            assert gated.recv(1) == b""
            with pytest.raises(ConnectionResetError):
                gated.sendall(b"x")


def test_a_connection_that_a_child_closed_lives_on_in_its_parent() -> None:
    gate = Gate(threading.Condition())
    with Listener(gate, 0) as listener, socket.create_connection(listener.getsockname(), timeout=TIMEOUT) as peer:
        gated, _ = next(listener.connections())
        with socket.socket(fileno=socket.dup(gated.fileno())) as parents:  # as if it were another process's
            with gate.changed:
                gate.after_fork()
            assert gated.fileno() == -1
            parents.sendall(b"x")
            assert peer.recv(1) == b"x"


def test_nothing_is_logged_about_faults(server: EventServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0, "masquerade_ws")
    server.refuse(500)
    with pytest.raises(InvalidStatus), connect(server.url, logger=None):
        pass  # the handshake raises
    with connect(server.url) as client:
        server.drop()
        loss_of(client)
    server.stop()
    assert not [record for record in caplog.records if record.name.startswith("masquerade_ws")]


def test_no_configuration_of_logging_shows_a_token() -> None:
    code = """
import logging, logging.config
from masquerade_ws import WebSocketClient
from masquerade_ws.testing import EventServer
logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
logging.getLogger("masquerade_ws").setLevel(logging.DEBUG)
logging.basicConfig(level=logging.DEBUG, force=True)
with EventServer() as server, WebSocketClient(server.url, lambda: "s3cret"):
    pass
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert "state: disconnected -> connecting" in done.stderr
    assert "s3cret" not in done.stderr


# The package


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "masquerade_ws.testing.server")
    monkeypatch.setitem(sys.modules, "websockets.exceptions", None)
    monkeypatch.delattr(testing, "server", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'masquerade-ws\[testing\]'"):
        _ = testing.EventServer


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(testing, name) is not None


def test_a_failed_expectation_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(ExpectationError("no 'job' event")))

    assert isinstance(error, ExpectationError)
    assert str(error) == "no 'job' event"


def test_the_plugin_loads_without_the_websockets_package() -> None:
    code = "import sys; sys.modules['websockets'] = None; import masquerade_ws.testing.plugin"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, timeout=60)
