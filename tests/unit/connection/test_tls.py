"""TLS through memory: a real server context on the other side, no sockets between."""

from __future__ import annotations

import ssl
import threading

import pytest

from masquerade_ws.connection.tls import TLS, default_context
from tests.support.openssl import can_call_openssl, update_keys
from tests.support.raw_server import tls_contexts

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """The other end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_side=True)

    def shake_hands(self, tls: TLS) -> None:
        done = False
        while not done:
            done = tls.handshake()
            self.incoming.write(tls.take())
            try:
                self.object.do_handshake()
            except ssl.SSLWantReadError:
                done = False
            if self.outgoing.pending:
                tls.receive(self.outgoing.read())

    def read(self, data: bytes) -> bytes:
        self.incoming.write(data)
        received = b""
        while self.incoming.pending or self.object.pending():
            received += self.object.read(65536)
        return received

    def write(self, data: bytes) -> bytes:
        self.object.write(data)
        return self.outgoing.read()


@pytest.fixture(params=VERSIONS)
def ends(request: pytest.FixtureRequest) -> tuple[TLS, Server]:
    server_context, client_context = tls_contexts(version=request.param)
    tls, server = TLS(client_context, "localhost"), Server(server_context)
    server.shake_hands(tls)
    return tls, server


def test_text_passes_in_both_directions(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    assert server.read(tls.encrypt(b"question")) == b"question"
    assert tls.decrypt(server.write(b"answer")) == b"answer"
    assert server.read(tls.encrypt(bytes(100_000))) == bytes(100_000)


def test_records_cut_anywhere_make_the_same_text(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    records = server.write(b"one") + server.write(b"two") + server.write(bytes(20_000))
    plain = b"".join(tls.decrypt(records[start : start + 7]) for start in range(0, len(records), 7))
    assert plain == b"onetwo" + bytes(20_000)


def test_many_records_at_once_are_all_read(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    records = b"".join(server.write(b"%03d" % i) for i in range(1000))
    assert tls.decrypt(records) == b"".join(b"%03d" % i for i in range(1000))


def test_the_peer_s_end_of_the_stream_is_noted_after_its_text(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    records = server.write(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        server.object.unwrap()
    assert tls.decrypt(records + server.outgoing.read()) == b"last words"
    assert tls.recv_closed
    assert tls.fault is None


def test_a_fault_is_noted_after_the_text_before_it(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    good, bad = server.write(b"good"), bytearray(server.write(b"bad"))
    bad[-1] ^= 1
    assert tls.decrypt(good + bytes(bad)) == b"good"
    assert tls.recv_closed
    assert tls.fault is not None


def test_nothing_is_owed_after_the_handshake(ends: tuple[TLS, Server]) -> None:
    tls, _ = ends
    assert not tls.owes
    assert tls.take() == b""


@pytest.mark.skipif(not can_call_openssl(), reason="this build of Python hides OpenSSL")
def test_a_peer_that_demands_new_keys_and_takes_no_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each demand is answered in memory (RFC 8446, 4.6.3), which a peer that does not read could fill."""
    server_context, client_context = tls_contexts(version=ssl.TLSVersion.TLSv1_3)
    tls, server = TLS(client_context, "localhost"), Server(server_context)
    server.shake_hands(tls)
    monkeypatch.setattr("masquerade_ws.connection.tls._MOST_OWED", 4096)
    received = 0
    for _ in range(1000):
        update_keys(server.object)
        received += len(tls.decrypt(server.write(b"x")))
        if tls.recv_closed:
            break
    assert "new keys" in str(tls.fault)
    assert 50 < received < 500


def test_threads_may_send_and_receive_at_once(ends: tuple[TLS, Server]) -> None:
    tls, server = ends
    incoming = [server.write(b"%05d" % i) for i in range(2000)]
    outgoing: list[bytes] = []
    sender = threading.Thread(target=lambda: outgoing.extend(tls.encrypt(b"%05d" % i) for i in range(2000)))
    sender.start()
    received = b"".join(tls.decrypt(record) for record in incoming)
    sender.join()
    expected = b"".join(b"%05d" % i for i in range(2000))
    assert received == expected
    assert server.read(b"".join(outgoing)) == expected


def test_a_signal_handler_may_send_while_its_thread_reads(
    ends: tuple[TLS, Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, server = ends
    read, sent = tls._object.read, []

    def read_late(size: int) -> bytes:
        monkeypatch.undo()
        sent.append(tls.encrypt(b"question"))
        return read(size)

    monkeypatch.setattr(tls._object, "read", read_late)
    decrypting = threading.Thread(target=lambda: sent.append(tls.decrypt(server.write(b"answer"))), daemon=True)
    decrypting.start()
    decrypting.join(10)
    question, answer = sent
    assert server.read(question) == b"question"
    assert answer == b"answer"


def test_a_certificate_for_another_name_is_refused() -> None:
    server_context, client_context = tls_contexts("other.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(server_context).shake_hands(TLS(client_context, "localhost"))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_can_be_the_certificate_s_name(host: str) -> None:
    server_context, client_context = tls_contexts(host)
    tls = TLS(client_context, host)
    Server(server_context).shake_hands(tls)
    assert tls.handshake()


def test_a_stream_that_ends_in_the_handshake_is_an_error() -> None:
    tls = TLS(default_context(), "localhost")
    assert not tls.handshake()
    tls.receive(b"")
    with pytest.raises(ssl.SSLError):
        tls.handshake()


def test_the_default_context_verifies_and_refuses_old_versions() -> None:
    context = default_context()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    server_context, _ = tls_contexts()
    with pytest.raises(ssl.SSLCertVerificationError):
        Server(server_context).shake_hands(TLS(context, "localhost"))
