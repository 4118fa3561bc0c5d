from __future__ import annotations

import atexit
import gc
import importlib.util
import multiprocessing.process
import multiprocessing.util
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from masquerade_ws import process_hooks
from masquerade_ws.deadline import Deadline
from tests.support.raw_server import until


class Recorder:
    """A client that writes down what is asked of it."""

    def __init__(self, diary: list[str], name: str) -> None:
        self.diary = diary
        self.name = name

    def close_at_exit(self, timeout: float) -> Callable[[Deadline], None]:
        assert timeout > 0
        self.diary.append(f"close {self.name}")
        return self._await

    def _await(self, deadline: Deadline) -> None:
        assert deadline.remaining() is not None
        self.diary.append(f"await {self.name}")

    def after_fork(self) -> None:
        self.diary.append(f"renew {self.name}")


def load_process() -> ModuleType:
    """Return the module executed anew, with no client in it but the test's."""
    spec = importlib.util.spec_from_file_location("masquerade_ws.process_anew", process_hooks.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    atexit.unregister(module._close_all)
    return module


@pytest.fixture(scope="module")
def anew() -> ModuleType:
    return load_process()


def test_at_exit_all_clients_begin_to_close_before_the_first_is_waited_for(anew: ModuleType) -> None:
    diary: list[str] = []
    clients = [Recorder(diary, name) for name in "ab"]
    for client in clients:
        anew.watch(client)
        anew.watch(client)
    anew._close_all()
    assert sorted(diary[:2]) == ["close a", "close b"]
    assert sorted(diary[2:]) == ["await a", "await b"]


def test_in_a_forked_child_each_client_starts_anew(anew: ModuleType) -> None:
    diary: list[str] = []
    client = Recorder(diary, "a")
    anew.watch(client)
    anew._after_fork()
    assert diary == ["renew a"]
    del client


def test_a_client_that_nobody_refers_to_is_left_out(anew: ModuleType) -> None:
    diary: list[str] = []
    anew.watch(Recorder(diary, "a"))
    gc.collect()
    anew._close_all()
    anew._after_fork()
    assert diary == []


def test_the_exit_waits_for_threads_whose_client_is_forgotten(anew: ModuleType) -> None:
    end = threading.Event()
    anew.await_at_exit(end)
    closing = threading.Thread(target=anew._close_all)
    closing.start()
    end.set()
    closing.join(10)
    assert not closing.is_alive()


def test_clients_that_daemon_threads_make_meanwhile_disturb_nothing(anew: ModuleType) -> None:
    diary: list[str] = []
    clients = [Recorder(diary, "kept") for _ in range(200)]
    for client in clients:
        anew.watch(client)
    over = threading.Event()

    def make() -> None:
        while not over.is_set():
            anew.watch(Recorder([], "made meanwhile"))

    threads = [threading.Thread(target=make) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for _ in range(100):
            diary.clear()
            anew._close_all()
            assert diary == ["close kept"] * 200 + ["await kept"] * 200
    finally:
        sys.setswitchinterval(interval)
        over.set()
        for thread in threads:
            thread.join()


def test_where_there_is_no_fork_the_module_loads_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "register_at_fork", raising=False)
    diary: list[str] = []
    module = load_process()
    client = Recorder(diary, "a")
    module.watch(client)
    module._close_all()
    assert diary == ["close a", "await a"]


def test_the_interpreter_closes_clients_when_it_exits_after_its_threads() -> None:
    script = """
import threading, time
from masquerade_ws import process_hooks as process
class Client:
    def close_at_exit(self, timeout):
        print("close")
        return lambda deadline: print("await")
    def after_fork(self): print("renew")
client = Client()
process.watch(client)
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["thread", "close", "await"], "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_starts_its_clients_anew_and_the_parent_does_not() -> None:
    script = """
import os
from masquerade_ws import process_hooks as process
class Client:
    renewals = 0
    def close_at_exit(self, timeout): return lambda deadline: None
    def after_fork(self): self.renewals += 1
client = Client()
process.watch(client)
pid = os.fork()
if pid == 0:
    os._exit(10 + client.renewals)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), client.renewals)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("11 0\n", "")


def test_a_process_that_is_not_the_one_that_it_was_starts_its_clients_anew_once(anew: ModuleType) -> None:
    diary: list[str] = []
    client = Recorder(diary, "a")
    anew.watch(client)
    anew._pid = -1  # as in a child that C code forked
    for _ in range(2):
        anew.notice_fork()
    assert diary == ["renew a"]
    del client


def test_a_second_thread_finds_the_clients_of_such_a_process_started_anew(anew: ModuleType) -> None:
    diary: list[str] = []

    class Slow(Recorder):
        def after_fork(self) -> None:
            if threading.current_thread() is not second:
                second.start()
                until(lambda: waiting)
            super().after_fork()

    def use() -> None:
        waiting.append(True)
        anew.notice_fork()
        diary.append("used")

    waiting: list[bool] = []
    second = threading.Thread(target=use)
    client = Slow(diary, "a")
    anew.watch(client)
    anew._pid = -1
    anew.notice_fork()
    second.join(10)
    assert diary == ["renew a", "used"]
    del client


@pytest.mark.parametrize("known", [True, False])
def test_a_child_of_multiprocessing_waits_for_its_threads_first_where_python_has_a_way(
    anew: ModuleType, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    diary: list[str] = []
    client = Recorder(diary, "a")
    anew.watch(client)
    if known:
        monkeypatch.setattr(threading, "_shutdown", lambda: diary.append("threads"))
    else:
        monkeypatch.delattr(threading, "_shutdown")
    anew._close_after_threads()
    assert diary == ["threads"] * known + ["close a", "await a"]
    del client


def test_a_child_of_multiprocessing_has_its_clients_closed_by_one_finalizer(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(multiprocessing.process, "parent_process", multiprocessing.process.current_process)
    monkeypatch.setattr(multiprocessing.util, "Finalize", lambda *arguments, **_: made.append(arguments))
    monkeypatch.setattr(process_hooks, "_finalized", None)
    end = threading.Event()
    end.set()
    process_hooks.await_at_exit(end)
    process_hooks.await_at_exit(end)
    assert len(made) == 1
