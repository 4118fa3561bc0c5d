from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from masquerade_ws import WebSocketClient
from masquerade_ws.delivery.near_misses import _LOOKED_AT, NearMisses
from masquerade_ws.events import CLIENT_EVENT_TYPES, EVENT_CLASSES


def warned(*names: Any) -> list[str]:
    """Return what a new client's names are warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        NearMisses().warn(names)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("conected", "connected"),
        ("connect", "connected"),
        ("disconnect", "disconnected"),
        ("Connected", "connected"),
        ("errors", "error"),
        ("state.change", "state:change"),
        ("stateChange", "state:change"),
        ("heart.beat", "heartbeat"),
        ("image.generation.complete", "image.generation.completed"),
        ("image.generation.failure", "image.generation.failed"),
        ("image.generation.start", "image.generation.started"),
        ("imagegeneration.completed", "image.generation.completed"),
        ("system.notifications", "system.notification"),
    ],
)
def test_a_near_miss_is_warned_of_with_the_name_that_was_meant(name: str, meant: str) -> None:
    assert warned(name) == [f"no event of type {name!r} is known; did you mean {meant!r}?"]


@pytest.mark.parametrize(
    "name",
    [
        *EVENT_CLASSES,
        *sorted(CLIENT_EVENT_TYPES),
        *("news", "hello", "echo", "close", "mirror", "job.completed", "image.upscaling.completed", "system.warning"),
        *("image.generation.cancelled", "image.generation.queued", "image.generation.done"),
        *("*", "image.*", "image.generation.*", "conected.*", 1, None, b"conected"),
    ],
)
def test_any_other_name_is_not(name: object) -> None:
    assert warned(name) == []


def test_each_name_is_warned_of_once_and_names_that_a_program_makes_up_are_not_looked_at_for_ever() -> None:
    assert len(warned("conected", "conected", "errors")) == 2
    assert warned(*(f"news.{number}" for number in range(_LOOKED_AT)), "conected") == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: client.on("conected", print),
        lambda client: client.on("conected"),
        lambda client: client.once("conected", print),
        lambda client: client.events("conected", "news"),
        lambda client: client.wait_for("news", "conected"),
    ],
)
def test_the_warning_names_the_line_of_the_program(ask: Callable[[WebSocketClient], object]) -> None:
    client = WebSocketClient("ws://localhost/ws", str)
    with pytest.warns(UserWarning, match="did you mean 'connected'") as caught:
        ask_twice(ask, client)
    (warning,) = caught
    assert warning.filename == __file__


def ask_twice(ask: Callable[[WebSocketClient], object], client: WebSocketClient) -> None:
    """Ask for a name that is warned of, and for it again."""
    with suppress(ConnectionError):  # it is not started
        ask(client)
    client.on("conected", repr)
