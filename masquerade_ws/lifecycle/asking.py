"""The token thread: it runs the callables of one attempt, for as long as somebody waits for what they return.

The supervisor thread waits for the answer, until `token_timeout` or a ``disconnect()`` ends that. It then joins the
thread, or leaves it to hang: what comes back late comes back to nothing.
"""

from __future__ import annotations

import queue
from collections.abc import Callable

from masquerade_ws.delivery.transport import Transport
from masquerade_ws.errors import ConnectError
from masquerade_ws.lifecycle.threads import Thread, receive, start

__all__ = ["Asking"]

_MOST = 8  # threads of one client that may hang at a time


class Asking:
    """What one attempt asks the user for.

    Args:
        prepare: Asks, and makes a connection of the answers.
    """

    def __init__(self, prepare: Callable[[], Transport]) -> None:
        self._prepare = prepare
        self._answers: queue.SimpleQueue[Transport | BaseException | None] = queue.SimpleQueue()

    def ask(self, timeout: float | None, running: set[Asking]) -> Transport | None:
        """Return the connection, not yet opened, or ``None`` if `cancel` was called before that.

        Args:
            timeout: Seconds to wait; ``None``: any.
            running: Those of the client whose thread has not ended.

        Raises:
            ConnectError: If there is no answer in time, or too many threads hang.
            BaseException: Whatever ``prepare`` raised.
        """
        if len(running) >= _MOST:
            raise ConnectError(f"get_token, url or headers still hang in {_MOST} earlier attempts; no more are made")
        thread = self._start(running)
        try:
            answer = receive(self._answers, timeout)
        except queue.Empty:
            answer = ConnectError(f"get_token, url and headers have not returned within token_timeout ({timeout:g} s)")
        else:
            if answer is not None:
                thread.join()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def cancel(self) -> None:
        """Let nobody wait any more; from any thread, and under any lock, since it takes none."""
        self._answers.put(None)

    def _start(self, running: set[Asking]) -> Thread:
        running.add(self)
        try:
            return start("token", self._run, running)
        except BaseException:
            running.discard(self)
            raise

    def _run(self, running: set[Asking]) -> None:
        answer: Transport | BaseException
        try:
            answer = self._prepare()
        except BaseException as error:
            answer = error
        running.discard(self)
        self._answers.put(answer)
