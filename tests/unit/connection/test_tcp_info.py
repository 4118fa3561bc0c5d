from __future__ import annotations

import socket
import sys
from contextlib import suppress

import pytest

from masquerade_ws.connection.tcp_info import acknowledged
from tests.support.raw_server import silent_port, tcp_pair, until

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can tell")


@linux
def test_a_system_acknowledges_for_a_program_that_does_not_read() -> None:
    with tcp_pair() as (near, _):
        near.sendall(b"heartbeat")
        until(lambda: acknowledged(near, 0.0))


@linux
def test_a_system_whose_buffer_is_full_acknowledges_what_it_took() -> None:
    with tcp_pair() as (near, _):
        near.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                near.send(b"x" * 65536)
        until(lambda: acknowledged(near, 0.0))


@linux
def test_what_is_on_its_way_counts_if_an_acknowledgement_has_just_come() -> None:
    """The request for a connection is on its way; the last acknowledgement is taken to be as old as the system."""
    with silent_port() as port, socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("127.0.0.1", port))
        assert acknowledged(sock, 0.001) is False
        assert acknowledged(sock, 1e9) is True


def test_a_closed_socket_tells_nothing() -> None:
    with tcp_pair() as (near, _):
        near.close()
        assert acknowledged(near, 60.0) is None


def test_other_systems_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with tcp_pair() as (near, _):
        assert acknowledged(near, 60.0) is None
