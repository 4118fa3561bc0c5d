"""The table of the life cycle, and what one session holds."""

from __future__ import annotations

import pytest

from masquerade_ws.connection import Connection
from masquerade_ws.lifecycle.session import Mail, Schedule, Session
from masquerade_ws.lifecycle.transitions import STATES, TRANSITIONS, Phase, Trigger
from masquerade_ws.testing import EventServer
from tests.support.scenes import client_of, elapsed, running


def reachable(start: Phase) -> set[Phase]:
    found = {start}
    while grown := {after for (before, _), after in TRANSITIONS.items() if before in found} - found:
        found |= grown
    return found


def test_every_phase_has_rows() -> None:
    assert {phase for phase, _ in TRANSITIONS} == set(Phase)


def test_every_trigger_has_a_row() -> None:
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)


def test_every_phase_can_be_reached_and_can_end() -> None:
    assert reachable(Phase.PENDING) == set(Phase)
    assert all(Phase.ENDED in reachable(phase) for phase in Phase)


@pytest.mark.parametrize("trigger", [Trigger.STOP, Trigger.ABANDON])
def test_a_disconnect_is_legal_in_every_phase_that_waits(trigger: Trigger) -> None:
    phases = set(Phase) - {Phase.ENDED} - ({Phase.CLOSING} if trigger is Trigger.STOP else set())
    assert {phase for phase, each in TRANSITIONS if each is trigger} == phases


def test_a_fork_ends_a_session_in_every_phase() -> None:
    assert {phase for phase in Phase if TRANSITIONS[phase, Trigger.FORKED] is Phase.ENDED} == set(Phase)


def test_only_a_live_session_moves() -> None:
    assert [trigger for phase, trigger in TRANSITIONS if phase is Phase.ENDED] == [Trigger.FORKED]


def test_every_phase_that_can_be_seen_has_a_state() -> None:
    assert set(STATES) == set(Phase) - {Phase.PENDING}
    assert set(STATES.values()) == {"connecting", "connected", "disconnecting", "disconnected"}


def test_the_attempts_of_a_session_are_counted_from_its_start_or_its_loss() -> None:
    assert Schedule().attempts == 1
    assert Schedule(retries=2).attempts == 3
    assert Schedule(retries=1, connections=1).attempts == 1


def test_mail_is_received_in_order_or_none_in_time() -> None:
    session = Session(1, None)
    session.mail.put(Mail.HURRY)
    session.mail.put(Mail.STOP)
    assert [session.receive(None), session.receive(10), session.receive(0)] == [Mail.HURRY, Mail.STOP, None]
    assert elapsed(lambda: session.receive(0.05)) >= 0.05


def test_a_wait_for_mail_whose_time_is_over_at_once_ends() -> None:
    def receive() -> list[Mail | None]:
        return [Session(1, None).receive(1e-6) for _ in range(1000)]

    for _ in range(20):  # it took up to 20,000 waits to see one that never ended
        assert set(running(receive).result()) == {None}


def test_a_session_that_was_stopped_after_one_that_ended_is_quiet() -> None:
    first = Session(1, None)
    second = Session(1, first)
    third = Session(1, second)
    assert not third.quiet
    second.stopping = third.stopping = True
    assert not third.quiet
    first.phase = Phase.ENDED
    assert first.quiet
    assert third.quiet
    second.previous = None  # its thread is about to end it
    assert not second.quiet


def test_in_a_forked_child_a_session_is_over_and_so_is_the_one_before_it() -> None:
    first = Session(1, None)
    second = Session(1, first)
    second.after_fork()
    for session in (first, second):
        assert session.ended
        assert session.abandoned
        assert session.done.is_set()
        assert not session.event_queue.wait()


def test_a_client_that_was_never_started_starts_in_a_forked_child(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        client._control.after_fork()  # what a fork calls
        assert client.state == "disconnected"
        with client:
            assert client.stats.connections == 1


def test_in_a_forked_child_the_connections_of_a_session_are_over() -> None:
    session = Session(1, None)
    session.connection, session.cut = Connection("ws://127.0.0.1:1/"), Connection("ws://127.0.0.1:1/")
    connections = session.connection, session.cut
    session.after_fork()
    assert all(connection.tcp_closed for connection in connections)


def test_a_client_that_has_ended_starts_in_a_forked_child(masquerade_server: EventServer) -> None:
    with client_of(masquerade_server.url) as client:
        client.connect()
        client.disconnect()
        client._control.after_fork()
        with client:
            assert client.stats.connections == 2
