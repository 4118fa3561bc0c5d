from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator

import pytest

from masquerade_ws.errors import ConnectError
from masquerade_ws.lifecycle.threads import start
from tests.support.raw_server import until
from tests.support.scenes import TIMEOUT, running


def test_a_thread_is_a_daemon_and_tells_whose_it_is() -> None:
    seen: list[object] = []
    thread = start("reader", seen.append, 7)
    thread.join(10)
    assert (thread.name, thread.daemon, seen) == ("masquerade-ws-reader", True, [7])


def test_a_thread_that_is_refused_is_a_failure_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(ConnectError, match="no thread could be started: can't start new thread"):
        start("reader", print)


def test_a_thread_that_the_interpreter_does_not_even_let_us_make_is_a_failure_to_connect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a subinterpreter that allows no daemon threads."""

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("daemon threads are disabled in this (sub)interpreter")

    monkeypatch.setattr(threading.Thread, "__init__", refuse)
    with pytest.raises(ConnectError, match="no thread could be started: daemon threads are disabled"):
        start("reader", print)


def test_a_thread_can_be_waited_for_though_its_class_has_been_replaced_since(monkeypatch: pytest.MonkeyPatch) -> None:
    """As gevent does, whose greenlets the replaced class never sees end."""
    over = threading.Event()
    thread = start("reader", over.wait, 10)
    with monkeypatch.context() as patch:
        patch.setattr(threading, "Thread", type("Replacement", (), {}))
        thread.join(0.01)
        assert not thread._over.is_set()
        over.set()
        thread.join(10)
        assert thread._over.is_set()
    thread.join(10)


def test_a_thread_does_not_wait_for_itself() -> None:
    ended = threading.Event()

    def join_oneself() -> None:
        threading.current_thread().join()
        ended.set()

    start("reader", join_oneself)
    assert ended.wait(10)


def test_a_wait_for_a_thread_ends_at_its_deadline() -> None:
    over = threading.Event()
    thread = start("reader", over.wait, 10)
    thread.join(0.01)
    assert thread.is_alive()
    over.set()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers")
def test_an_interrupted_wait_does_not_take_a_thread_that_lives_for_one_that_has_ended() -> None:
    """As `threading` itself does before CPython 3.13."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    over = threading.Event()
    thread = start("reader", over.wait, TIMEOUT)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            thread.join(TIMEOUT)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert thread.is_alive()
    over.set()
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_a_wait_beside_that_of_another_thread_ends_at_its_own_deadline() -> None:
    over = threading.Event()
    thread = start("reader", over.wait, 10)
    patient = running(lambda: thread.join())
    until(lambda: thread._over._changed._waiters)  # type: ignore[attr-defined]
    thread.join(0.01)
    assert thread.is_alive()
    over.set()
    patient.result()
    assert not thread.is_alive()


@pytest.fixture
def switching_always() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("switching_always")
def test_many_threads_may_wait_for_one_at_once() -> None:
    """Before CPython 3.13 one in a few hundred to a few thousand such waits raised."""

    def wait(thread: threading.Thread, ready: threading.Barrier) -> None:
        ready.wait(10)
        thread.join(10)

    for _ in range(500):
        ready, over = threading.Barrier(9), threading.Event()
        thread = start("reader", over.wait, 10)
        waiters = [running(lambda thread=thread, ready=ready: wait(thread, ready)) for _ in range(8)]
        ready.wait(10)
        over.set()
        for waiter in waiters:
            waiter.result()
        assert not thread.is_alive()
