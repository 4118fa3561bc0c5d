"""The client for workers: it reads what a relay keeps in the engine."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from masquerade_ws.checks import check_count, check_duration
from masquerade_ws.client import Client
from masquerade_ws.delivery.blocking import Guard
from masquerade_ws.delivery.filters import Filter
from masquerade_ws.delivery.patterns import check_type, is_pattern
from masquerade_ws.delivery.streams import EventStream
from masquerade_ws.delivery.takers import Takers
from masquerade_ws.events import CLIENT_EVENT_TYPES
from masquerade_ws.lifecycle.options import ClientOptions
from masquerade_ws.lifecycle.source import Source
from masquerade_ws.lifecycle.state import ClientState
from masquerade_ws.relay.engine import Engine, EngineUrl
from masquerade_ws.relay.group_intake import GroupIntake
from masquerade_ws.relay.group_place import GroupPlace
from masquerade_ws.relay.group_reading import GroupReading, tend_group
from masquerade_ws.relay.group_stream import GroupStream
from masquerade_ws.relay.hand import Hand
from masquerade_ws.relay.intake import RelayIntake
from masquerade_ws.relay.keeper import ANSWER, Keeper
from masquerade_ws.relay.keys import Keys, check_name
from masquerade_ws.relay.place import Place
from masquerade_ws.relay.reading import Reading, tend

__all__ = ["RelayClient"]

_KEY_EVENTS = ("image.generation.completed", "image.generation.failed")


class RelayClient(Client):
    """A client of the Masquerade gateway, by way of a relay.

    It has the members of `~masquerade_ws.WebSocketClient`, and they do the same. It makes no connection to the gateway:
    a relay (``masquerade-ws relay``) has one, and keeps what comes in a stream of Redis or Valkey, which any number of
    these clients read. It is ``connected`` while the engine is reached and a relay leads that is connected to the
    gateway.

    Args:
        url: The engine: ``redis://``, ``rediss://`` or ``unix://``.
        namespace: The relay's: 1 to 64 letters, digits, ``.``, ``_``, ``-``.
        group: Shares the key events with the other clients of the group, each event with one of them: 1 to 64 such
            characters.
        key_events_only: ``True``, or a tuple of types, reads the small stream of key events alone: by default
            ``image.generation.completed`` and ``.failed``.
        retry_after: With a group: how long an event that failed, or whose client has died, is left before it is tried
            again, here or elsewhere.
        max_deliveries: With a group: tries after which an event goes to the dead letters.
        connect_timeout: For one attempt: to reach the engine, and to find a relay that is connected to the gateway.
        send_timeout: A send that cannot finish in this time fails, here as well as at the relay.
        queue_size: How many events may wait for listeners before reading stops.
        initial_reconnect_delay: Before the first retry, and before each one while there is no relay.
        max_reconnect_delay: The longest delay, and that of every retry from the fifth on.
        reconnect_jitter: The share (0 to 1) of a delay that chance may take off.
        auto_reconnect: Whether to retry a failed attempt and to replace a lost connection.
        around_event: Called with an event; the context manager that it returns is entered around the listeners.
        debug: Show the logger ``masquerade_ws`` on stderr, unless logging is configured already.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If an argument has a value that is not allowed.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = "default",
        group: str | None = None,
        key_events_only: bool | tuple[str, ...] = False,
        retry_after: float = 60.0,
        max_deliveries: int = 5,
        connect_timeout: float = 10.0,
        send_timeout: float = 10.0,
        queue_size: int = 10_000,
        initial_reconnect_delay: float = 1.0,
        max_reconnect_delay: float = 30.0,
        reconnect_jitter: float = 0.0,
        auto_reconnect: bool = True,
        around_event: Callable[[Any], AbstractContextManager[object]] | None = None,
        debug: bool = False,
    ) -> None:
        options = ClientOptions(
            token_timeout=None,
            initial_reconnect_delay=initial_reconnect_delay,
            max_reconnect_delay=max_reconnect_delay,
            auto_reconnect=auto_reconnect,
            reconnect_jitter=reconnect_jitter,
            min_uptime=0.0,
            connect_timeout=connect_timeout,
            queue_size=queue_size,
            around_event=around_event,
            final_close_codes=(),
        )
        check_duration("send_timeout", send_timeout, zero=False)
        check_duration("retry_after", retry_after, zero=False)
        check_count("max_deliveries", max_deliveries)
        engine, keys = EngineUrl.parse(url), Keys(namespace)
        self._group = group
        self._key_events = types = _types_of(key_events_only if group is None else key_events_only or True)
        self._hand = hand = Hand()
        begin: Callable[[], Place] = partial(Place, engine, keys, types)
        source = Source(lambda: f"{engine.name} {namespace}", lambda place: Reading(place, send_timeout), tend, begin)
        intake: Callable[[Takers, ClientState], RelayIntake] = RelayIntake
        if group is not None and types is not None:
            keeper = Keeper(
                lambda: Engine(engine, keys, reply_timeout=ANSWER),
                keys,
                hand,
                group=check_name("group", group),
                retry_after=retry_after,
                max_deliveries=max_deliveries,
            )
            wants = partial(_wants, weakref.ref(self))
            source = Source(
                lambda: f"{engine.name} {namespace} {group}",
                lambda place: GroupReading(place, send_timeout),
                tend_group,
                lambda: GroupPlace(engine, types, keeper, wants),
            )
            intake = partial(GroupIntake, hand=hand)
        super().__init__(source, options, Guard(), intake, debug)

    def _check_names(self, names: Iterable[str]) -> None:
        super()._check_names(names)
        if self._key_events is None:
            return
        for name in names:
            if not (is_pattern(check_type(name)) or name in self._key_events or name in CLIENT_EVENT_TYPES):
                known = ", ".join(sorted(self._key_events))
                raise ValueError(f"type {name!r} is not among the key events that this client reads ({known})")

    def _check_waits(self, member: str, on_progress: object = None) -> None:
        if self._group is not None:
            raise RuntimeError(
                f"{member} cannot work on a client with a group, where each event goes to one client only; "
                "use a client without a group"
            )
        if on_progress is not None and self._key_events is not None:
            raise ValueError("on_progress gets no events on a client that reads key events only")

    def _make_stream(self, taken: Filter, maxsize: int) -> EventStream[Any]:
        if self._group is None:
            return super()._make_stream(taken, maxsize)
        return GroupStream(self._hand, self._streams, taken, self)

    @property
    def _wanting(self) -> bool:
        """Whether anybody here takes events of the server."""
        return self._listeners.serve or bool(self._streams)


def _wants(client_ref: weakref.ref[RelayClient]) -> bool:
    client = client_ref()
    return client is not None and client._wanting  # pyright: ignore[reportPrivateUsage]


def _types_of(key_events_only: bool | tuple[str, ...]) -> frozenset[str] | None:
    if key_events_only is False:
        return None
    if key_events_only is True:
        return frozenset(_KEY_EVENTS)
    if not isinstance(key_events_only, tuple):
        kind = type(key_events_only).__name__
        raise TypeError(f"key_events_only must be True, False or a tuple of types, not {kind}")
    if not key_events_only or any(
        is_pattern(check_type(name)) or name in CLIENT_EVENT_TYPES for name in key_events_only
    ):
        raise ValueError("key_events_only must hold types of the server's events, at least one, and no patterns")
    return frozenset(key_events_only)
