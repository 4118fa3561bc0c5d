"""The client."""

from __future__ import annotations

import logging
import ssl
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from typing_extensions import Self

from masquerade_ws.checks import check_callable, check_count, check_duration, check_flag, check_timeout
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.dispatcher import Delivery
from masquerade_ws.delivery.filters import Filter, Where
from masquerade_ws.delivery.image_jobs import ImageJob
from masquerade_ws.delivery.listeners import Listeners
from masquerade_ws.delivery.message_decoder import Decode, MessageDecoder
from masquerade_ws.delivery.near_misses import NearMisses
from masquerade_ws.delivery.patterns import check_type
from masquerade_ws.delivery.reader import Intake
from masquerade_ws.delivery.stream_index import StreamIndex
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.errors import ConnectError, DisconnectedError, NotConnectedError, copy_of
from masquerade_ws.events import (
    ErrorEvent,
    Event,
    ImageGenerationCompletedEvent,
    ImageGenerationProgressEvent,
)
from masquerade_ws.lifecycle.connector import Connector
from masquerade_ws.lifecycle.control import Control
from masquerade_ws.lifecycle.heartbeat import beat
from masquerade_ws.lifecycle.options import ClientOptions, HeartbeatOptions
from masquerade_ws.lifecycle.poller import Poller
from masquerade_ws.lifecycle.source import Source
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.lifecycle.supervisor import Rooms, Supervisor
from masquerade_ws.lifecycle.waiting import Waiting
from masquerade_ws.log import logger, show_debug
from masquerade_ws.overloads import PolledT, typed_as_events, typed_as_future, typed_as_on, typed_as_wait_for
from masquerade_ws.process_hooks import notice_fork
from masquerade_ws.protocol.codec import encode
from masquerade_ws.sanitize import excerpt
from masquerade_ws.stats import Counters, Stats

if TYPE_CHECKING:
    # Here alone: jedi, which completes names in IPython, fails at a property whose annotation it finds to be a Literal.
    from masquerade_ws.events import ConnectionState

__all__ = ["Client", "WebSocketClient", "is_running", "may_block", "seconds_lost", "watch_unheard_errors"]


class Client:
    """What every client has, wherever its events come from. `WebSocketClient` says what users need to know.

    Args:
        source: Makes the connections.
        options: What the life cycle is to do.
        guard: Refuses waits on threads that others wait for.
        intake: Makes what turns the messages of a connection into events.
        debug: Whether to show the log.
    """

    def __init__(
        self,
        source: Source,
        options: ClientOptions,
        guard: Guard,
        intake: Callable[[Takers, ClientState], Intake],
        debug: bool,
    ) -> None:
        check_flag("debug", debug)
        counters = Counters()
        self._source = source
        self._guard = guard
        self._listeners = Listeners()
        self._near_misses = NearMisses()
        self._streams = StreamIndex(guard)
        takers = Takers(self._listeners, self._streams)
        self._delivery = Delivery(takers, options.around_event, counters)
        self._state = ClientState(self._streams, counters)
        rooms = Rooms(
            self._delivery,
            intake(takers, self._state),
            self._listeners,
            self._streams,
            counters,
            guard,
            Poller(),
        )
        self._waiting = Waiting(self._state, self._streams, guard, rooms.poller)
        self._control = Control(self._state, Supervisor(self._state, options, source, rooms), options, rooms)
        if debug:
            show_debug()

    @property
    def state(self) -> ConnectionState:
        """``"connecting"``, ``"connected"``, ``"disconnecting"`` or ``"disconnected"``, as between two attempts."""
        notice_fork()
        return self._state.current

    @property
    def last_error(self) -> ConnectError | DisconnectedError | None:
        """Why the last attempt failed or the last connection was lost, also if the server closed it properly.

        ``None`` before either and while connected. It changes together with ``state``, and ``disconnect()`` leaves it,
        so that ``get_token``, ``url`` and ``headers`` can ask why the attempt before theirs failed. A copy, each time.
        """
        notice_fork()
        error = self._state.last_error
        return None if error is None else copy_of(error)

    @property
    def stats(self) -> Stats:
        """A snapshot of the counters."""
        notice_fork()
        return self._control.stats()

    def connect(self, *, block: bool = True, timeout: float | None = None) -> None:
        """Start the client and wait for the outcome of its first attempt to connect.

        Does nothing if it is connected already. An attempt under way is waited for, one that waits for its time
        starts at once, and a ``disconnect()`` under way is waited for first. Call it again to start anew; once the
        client has given up by itself, that first waits, within ``timeout``, for the listeners of its last events.

        Args:
            block: Whether to wait; ``False`` leaves all to the background.
            timeout: Seconds to wait; the attempt, for which there is ``connect_timeout``, goes on after that.

        Raises:
            ConnectError: If the attempt failed. With ``auto_reconnect`` the client goes on trying.
            DisconnectedError: If ``disconnect()`` was called meanwhile.
            WaitTimeoutError: If the attempt is not over after ``timeout``.
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
        """
        check_flag("block", block)
        check_timeout(timeout)
        notice_fork()
        self._control.connect(block=block, timeout=timeout)

    def disconnect(self, *, timeout: float = 5.0) -> None:
        """Close the connection with code 1000, or cancel the attempts, and stop the threads. Idempotent.

        What was received is delivered first. Waits, streams and futures end. Legal in a listener too, whose own return
        it does not wait for. In a predicate, in ``decode``, in a done-callback and in a log handler, where they run on
        a thread of the client, it waits for nothing: ``state`` says ``disconnected`` at once, and the rest follows when
        they have returned. Legal in a signal handler as well; one that cuts into a change of the state, or into the
        middle of a step of a stream, waits for nothing either.

        Args:
            timeout: Seconds after which it returns in any case, with the state ``disconnected``; the peer's answer to
                the close is waited for during half of them at most. Where something hangs, listeners get half a second
                more for the last events.
        """
        check_duration("timeout", timeout)
        notice_fork()
        self._control.disconnect(timeout)

    def __enter__(self) -> Self:
        try:
            self.connect()
        except BaseException:
            self.disconnect()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disconnect()

    @typed_as_on
    def on(self, type: str, handler: Callable[[Any], object] | None = None) -> Any:
        """Call ``handler`` with each event of a type, on the dispatcher thread.

        Args:
            type: A type, a pattern (``"image.generation.*"``, or ``"*"`` for every server event), or the name of one
                of the client's own events.
            handler: What to call; without it the call returns a decorator. The same one twice counts once.

        Returns:
            The handler.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``type`` is empty or has a ``*`` in the wrong place.

        Warns:
            UserWarning: If ``type`` is nearly the name of a known event; once per name.
        """
        return self._register(type, handler, once=False)

    @typed_as_on
    def once(self, type: str, handler: Callable[[Any], object] | None = None) -> Any:
        """Call ``handler`` with the next event of a type; as `on`, but removed before its one call."""
        return self._register(type, handler, once=True)

    def _register(self, type: str, handler: Callable[[Any], object] | None, *, once: bool) -> Any:
        check_type(type)
        self._check_names((type,))
        notice_fork()
        register = partial(self._listeners.add, type, once=once)
        return register if handler is None else register(handler)

    def off(self, type: str, handler: Callable[[Any], object] | None = None) -> None:
        """Remove a handler that `on` or `once` registered; one that is not registered is ignored.

        Args:
            type: The type or pattern that it was registered for.
            handler: The handler; without it, all that are registered for exactly this type or pattern.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If ``type`` is empty or has a ``*`` in the wrong place.
        """
        notice_fork()
        if handler is None:
            self._listeners.remove_all(type)
        else:
            self._listeners.remove(type, handler)

    def send(self, event: Event | Mapping[str, Any]) -> None:
        """Send an event.

        Args:
            event: An `Event`, or a mapping with ``type``, ``payload`` and, if wanted, ``timestamp``.

        Raises:
            NotConnectedError: If there is no connection.
            TypeError: If the event cannot be written as JSON.
            ValueError: Likewise (numbers that are not finite, circular references).
            SendError: If the transport did not take it in time; the connection is replaced then, unless the time went
                by in waiting for another thread's send.
        """
        text = encode(event)
        notice_fork()
        connection = self._state.connection
        if connection is None:
            advice = "" if self._state.running else "; call connect() first"
            raise NotConnectedError(f"WebSocket is not connected{advice}")
        connection.send(text)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("sent %s", excerpt(text))

    def emit(self, type: str, payload: Mapping[str, Any] | None = None) -> None:
        """Send an event with the present time; raises as `send` does."""
        self.send(Event(type, payload))

    @typed_as_wait_for
    def wait_for(
        self,
        *types: str,
        where: Where = None,
        timeout: float | None = None,
        poll: Callable[[], Any] | None = None,
    ) -> Any:
        """Wait for the next event that matches, and return it. Goes on across reconnections.

        Args:
            types: Types, patterns and names of the client's own events; none means every server event.
            where: A mapping of payload fields that must be equal, or a predicate of the event, which runs on the
                reader thread and must not block; one that raises ends this wait with its exception.
            timeout: Seconds to wait; ``None`` waits until the client ends.
            poll: Asked in this thread when the wait begins, and after each connection made during it, for what
                happened unseen; what it returns, unless ``None``, is the answer.

        Raises:
            WaitTimeoutError: If no event came in time.
            DisconnectedError: If the client is not started, gives up, or ``disconnect()`` is called.
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
        """
        check_timeout(timeout)
        check_callable("poll", poll, optional=True)
        self._check_waits("wait_for")
        self._check_names(types)
        return self._waiting.wait_for(types, where, timeout, poll, self)

    @typed_as_events
    def events(self, *types: str, where: Where = None, maxsize: int = 10_000) -> Any:
        """Return an `EventStream`, which buffers from now on; it may be made before ``connect()``.

        One that is made after the client has given up waits for the next ``connect()``.

        Args:
            types: As for `wait_for`.
            where: As for `wait_for`.
            maxsize: How many events it buffers before it drops the oldest.
        """
        check_count("maxsize", maxsize)
        self._check_names(types)
        stream = self._make_stream(Filter(types, where, self._guard), maxsize)
        notice_fork()
        self._streams.add(stream)
        return stream

    def __iter__(self) -> Iterator[Event]:
        """Iterate over all events of the server, as ``events()`` does.

        Raises:
            DisconnectedError: If the client is not started, has given up, or is being disconnected.
        """
        notice_fork()
        self._waiting.check_running()
        return self.events()

    @typed_as_future
    def future(self, *types: str, where: Where = None) -> Any:
        """Return the next event that matches as a `concurrent.futures.Future`, which takes no thread.

        It is armed from now on. Its result is the event; its exception is what would end `wait_for`. It is done at once
        with `DisconnectedError` if the client is not running. Legal in a listener.

        Its callbacks run on the thread that ends it, mostly one of the client's, and must not block; what one raises is
        reported as what a listener raises. With a callback it is kept until it is done, and keeps the client; without
        one it is forgotten once nothing refers to it.

        Args:
            types: As for `wait_for`.
            where: As for `wait_for`.
        """
        self._check_waits("future")
        self._check_names(types)
        return self._waiting.future(types, where, self)

    def submit_image_job(
        self,
        start: Callable[[], str],
        *,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None = None,
        poll: Callable[[str], PolledT | None] | None = None,
        fail_after_gap: bool = False,
    ) -> ImageJob[ImageGenerationCompletedEvent | PolledT]:
        """Start an image job and return it as a future, an `ImageJob`, which takes no thread. Legal in a listener.

        Args:
            start: Starts the job and returns its id. Called in this thread, before this returns.
            on_progress: Called with each progress event of the job on the dispatcher thread, as a listener is; one that
                raises ends the future with that. With it, the future ends on that thread too, after the progress.
            poll: Called with the job's id once it is started and after each connection made since; what it returns,
                unless ``None``, is the result. All ``poll`` of a client run on one thread of their own, one after the
                other.
            fail_after_gap: As for `run_image_job`.

        Raises:
            DisconnectedError: If the client is not started, has given up, or is being disconnected.
            TypeError: If an argument is of the wrong type, or ``start`` does not return a str.
        """
        check_callable("start", start)
        check_callable("on_progress", on_progress, optional=True)
        self._check_waits("submit_image_job", on_progress)
        check_callable("poll", poll, optional=True)
        check_flag("fail_after_gap", fail_after_gap)
        return self._waiting.submit_image_job(
            start, on_progress=on_progress, poll=poll, fail_after_gap=fail_after_gap, keeps=self
        )

    def run_image_job(
        self,
        start: Callable[[], str],
        *,
        timeout: float | None = None,
        on_progress: Callable[[ImageGenerationProgressEvent], object] | None = None,
        poll: Callable[[str], PolledT | None] | None = None,
        fail_after_gap: bool = False,
    ) -> ImageGenerationCompletedEvent | PolledT:
        """Start an image job and wait for its end; no event of it can slip between the two.

        Args:
            start: Starts the job and returns its id.
            timeout: Seconds to wait, the time that ``start`` takes included.
            on_progress: Called in this thread with each progress event of the job; one that raises ends the wait.
            poll: Called with the job's id when the wait begins and after each connection made during it; what it
                returns, unless ``None``, is the answer.
            fail_after_gap: Whether the job counts as failed if a connection is made after ``start`` was called, unless
                nothing can have been missed (``resumed``) or ``poll`` has an answer; for a gateway that has forgotten
                the job then. The one that was there before never counts.

        Returns:
            The event that tells of the completion, or what ``poll`` returned.

        Raises:
            ImageGenerationError: If the job failed, or counts as failed.
            WaitTimeoutError: If it did not end in time.
            DisconnectedError: If the client is not started, gives up, or ``disconnect()`` is called.
            RuntimeError: If it would block in a listener, a callable of an attempt, ``decode``, a predicate or a
                done-callback.
        """
        check_timeout(timeout)
        check_callable("start", start)
        check_callable("on_progress", on_progress, optional=True)
        self._check_waits("run_image_job", on_progress)
        check_callable("poll", poll, optional=True)
        check_flag("fail_after_gap", fail_after_gap)
        return self._waiting.run_image_job(
            start, timeout=timeout, on_progress=on_progress, poll=poll, fail_after_gap=fail_after_gap, keeps=self
        )

    def _check_names(self, names: Iterable[str]) -> None:
        """Warn of names that were probably meant to be others; a client that does not read all events refuses some."""
        self._near_misses.warn(names)

    def _check_waits(self, member: str, on_progress: object = None) -> None:
        """Refuse a wait that cannot work on a client that does not read all events.

        Args:
            member: What waits.
            on_progress: What is to get progress events, if the wait takes such a callable.
        """

    def _make_stream(self, taken: Filter, maxsize: int) -> EventStream[Any]:
        return EventStream(self._streams, taken, maxsize, self)

    def __repr__(self) -> str:
        if "_control" not in vars(self):  # set last
            return f"<{type(self).__name__} that was not made>"
        return f"<{type(self).__name__} {self._source.name()} {self.state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied; make one in each process")


class WebSocketClient(Client):
    """A client of the Masquerade gateway.

    It connects, reconnects and keeps the connection alive in background threads. Listeners (`on`) are called on one
    thread, one event after the other; waits (`wait_for`) and streams (`events`) wake the threads that wait in them.
    Every member may be used from any thread. Durations are in seconds.

    Args:
        url: ``ws://`` or ``wss://``, without user name and fragment; its query is kept. May be a callable that returns
            one for each attempt.
        get_token: Called before every attempt to connect; returns the token to show. It may raise `StopReconnecting`,
            and so may ``url`` and ``headers``.
        initial_reconnect_delay: Before the first retry; the next three double it.
        max_reconnect_delay: The longest delay, and that of every retry from the fifth on.
        heartbeat_interval: From one heartbeat to the next.
        auto_reconnect: Whether to retry a failed attempt and to replace a lost connection.
        debug: Show the logger ``masquerade_ws`` on stderr, unless logging is configured already.
        reconnect_jitter: The share (0 to 1) of a delay that chance may take off.
        min_uptime: A connection that lasted less does not start the schedule of delays anew.
        connect_timeout: For one whole attempt, from name resolution to the answer of the server.
        heartbeat_timeout: The silence after a heartbeat that makes the peer count as dead, unless its system still
            acknowledges what is sent (Linux alone can tell); ``None`` allows any silence.
        busy_timeout: The silence that makes the peer count as dead where its system does, since its program may be
            busy; less than ``heartbeat_timeout`` counts as that, ``None`` allows any.
        send_timeout: A send that cannot finish in this time fails and drops the connection.
        max_message_size: Bytes after decompression; a larger message ends the connection with code 1009.
        queue_size: How many events may wait for listeners before reading stops.
        token_in: ``"query"`` sends the token as ``token=``, ``"header"`` as ``Authorization: Bearer``.
        around_event: Called with an event; the context manager that it returns is entered around the listeners.
        headers: Further headers of the opening handshake, copied; or a callable that returns them for each attempt.
        subprotocols: Subprotocols to offer (RFC 6455, section 1.9).
        ssl_context: Replaces the default, which verifies the server with the roots of the system.
        token_timeout: For ``get_token``, ``url`` and ``headers`` of one attempt together; ``None`` allows any.
        final_close_codes: Close codes of the server after which the client gives up.
        heartbeat_message: ``False`` sends pings alone as heartbeats, without the JSON message.
        proxy: URL of a proxy; ``None`` takes the environment's, ``False`` none.
        compression: ``"deflate"`` offers permessage-deflate (RFC 7692).
        decode: Replaces the wire format of what is received. Called with each message, ``str`` or ``bytes``; returns
            the events that it carries, each an `Event` or a mapping, or one alone. Runs on the reader thread and must
            not block.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(
        self,
        url: str | Callable[[], str],
        get_token: Callable[[], str],
        *,
        initial_reconnect_delay: float = 1.0,
        max_reconnect_delay: float = 30.0,
        heartbeat_interval: float = 30.0,
        auto_reconnect: bool = True,
        debug: bool = False,
        reconnect_jitter: float = 0.0,
        min_uptime: float = 0.0,
        connect_timeout: float = 10.0,
        heartbeat_timeout: float | None = 10.0,
        busy_timeout: float | None = 120.0,
        send_timeout: float = 10.0,
        max_message_size: int = 16 * 2**20,
        queue_size: int = 10_000,
        token_in: Literal["query", "header"] = "query",
        around_event: Callable[[Any], AbstractContextManager[object]] | None = None,
        headers: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        subprotocols: Sequence[str] = (),
        ssl_context: ssl.SSLContext | None = None,
        token_timeout: float | None = 30.0,
        final_close_codes: Collection[int] = (),
        heartbeat_message: bool = True,
        proxy: str | Literal[False] | None = None,
        compression: Literal["deflate"] | None = None,
        decode: Decode | None = None,
    ) -> None:
        options = ClientOptions(
            token_timeout=token_timeout,
            initial_reconnect_delay=initial_reconnect_delay,
            max_reconnect_delay=max_reconnect_delay,
            auto_reconnect=auto_reconnect,
            reconnect_jitter=reconnect_jitter,
            min_uptime=min_uptime,
            connect_timeout=connect_timeout,
            queue_size=queue_size,
            around_event=around_event,
            final_close_codes=final_close_codes,
        )
        heartbeat_options = HeartbeatOptions(
            heartbeat_interval=heartbeat_interval,
            heartbeat_timeout=heartbeat_timeout,
            busy_timeout=busy_timeout,
            heartbeat_message=heartbeat_message,
        )
        connection_options = ConnectionOptions(
            subprotocols=subprotocols,
            ssl_context=ssl_context,
            proxy=proxy,
            max_message_size=max_message_size,
            send_timeout=send_timeout,
            compression=compression,
        )
        check_callable("decode", decode, optional=True)
        guard = Guard()
        connector = Connector(
            url, get_token, headers=headers, token_in=token_in, options=connection_options, guard=guard
        )
        decoder = None if decode is None else MessageDecoder(decode, guard)
        super().__init__(
            Source(lambda: connector.name, lambda _: connector.prepare(), partial(beat, options=heartbeat_options)),
            options,
            guard,
            lambda takers, state: Intake(takers, state.counters, decoder),
            debug,
        )


def is_running(client: Client) -> bool:
    """Return whether a client is started, has not given up and is not being stopped; for the integrations."""
    notice_fork()
    return client._state.running  # pyright: ignore[reportPrivateUsage]


def may_block(client: Client) -> bool:
    """Return whether this thread may wait for a client: not in a listener, for example; for the integrations."""
    return client._guard.role is None  # pyright: ignore[reportPrivateUsage]


def seconds_lost(client: Client) -> float | None:
    """Return how long ago the connection was lost, ``None`` while there is one or if none was; for the integrations."""
    notice_fork()
    session = client._state.session  # pyright: ignore[reportPrivateUsage]
    if session is None or session.loss is None:
        return None
    return time.monotonic() - session.schedule.lost_at


def watch_unheard_errors(client: Client, watch: Callable[[ErrorEvent], object]) -> None:
    """Call ``watch``, which must not raise, with each error that nobody listens to; for the pytest plugin."""
    client._delivery.unheard.watchers.append(watch)  # pyright: ignore[reportPrivateUsage]
