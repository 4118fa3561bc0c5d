"""Tables and lists on the pages are those of the code."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from typing_extensions import NotRequired

from masquerade_ws import WebSocketClient, errors, events
from masquerade_ws.lifecycle.backoff import delay_before
from tests.docs.reading import error_names, literals, tables_of, text_of
from tests.support.pages import ROOT


def documented_fields(documented: type, section: str) -> list[str]:
    """Return the names that a docstring lists under ``Args:`` or ``Attributes:``."""
    docstring = inspect.getdoc(documented) or ""
    listed = re.search(rf"^{section}:\n((?:    .*\n?|\n)+)", docstring, re.MULTILINE)
    return re.findall(r"^    (\w+):", listed[1], re.MULTILINE) if listed else []


def test_every_argument_of_the_client_is_documented_in_its_order() -> None:
    assert documented_fields(WebSocketClient, "Args") == [*inspect.signature(WebSocketClient).parameters]


PARAMETERS = inspect.signature(WebSocketClient).parameters


def test_the_defaults_that_the_limits_name_are_those_of_the_client() -> None:
    rows = tables_of(text_of("docs/explanation/security.rst"))["limit | default | what happens beyond it"]

    for name, default, _ in rows:
        if name in {f"``{parameter}``" for parameter in PARAMETERS}:
            assert amount_of(default) == PARAMETERS[name.strip("`")].default, name


def test_the_defaults_that_the_tuning_names_are_those_of_the_client() -> None:
    named = re.findall(r"^``(\w+)`` \((.+)\)$", text_of("docs/howto/tuning.rst"), re.MULTILINE)

    assert named
    for name, default in named:
        assert amount_of(default) == PARAMETERS[name].default, name


def amount_of(text: str) -> float:
    """Return a number as a page shows it: ``10 s``, ``16 MiB``, ``10,000 events``."""
    number = float(re.findall(r"^[\d.,]+", text)[0].replace(",", ""))
    return number * 2**20 if "MiB" in text else number


def field_type(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0]).__name__
    name: str = (get_origin(hint) or hint).__name__
    return name


def payload_fields(event_class: Any) -> tuple[list[str], list[str]]:
    hints = get_type_hints(getattr(events, event_class.__name__.replace("Event", "Payload")), include_extras=True)
    optional = {name: get_args(hint)[0] for name, hint in hints.items() if get_origin(hint) is NotRequired}
    required = {name: hint for name, hint in hints.items() if name not in optional}
    return described(required), described(optional)


def described(fields: dict[str, Any]) -> list[str]:
    return [f"{name}: {field_type(hint)}" for name, hint in fields.items()]


def test_the_servers_events_are_those_of_the_code() -> None:
    rows = tables_of(text_of("docs/reference/events.rst"))["type | payload | payload, may be absent"]

    assert {literals(name)[0]: (literals(fields), literals(others)) for name, fields, others in rows} == {
        name: payload_fields(event_class) for name, event_class in events.EVENT_CLASSES.items()
    }


def test_the_clients_events_are_those_of_the_code() -> None:
    rows = tables_of(text_of("docs/reference/events.rst"))["name | class | when"]

    assert {literals(name)[0] for name, _, _ in rows} == events.CLIENT_EVENT_TYPES
    for name, class_name, _ in rows:
        event_class = getattr(events, class_name.split("`")[1])
        assert event_class.type == literals(name)[0]
        assert documented_fields(event_class, "Attributes") == [field.name for field in dataclasses.fields(event_class)]


BASES = {
    name: [base.__name__ for base in getattr(errors, name).__bases__ if base is not errors.MasqueradeError]
    for name in error_names()
    if name != "MasqueradeError"
}


@pytest.mark.parametrize("page", ["README.rst", "docs/reference/errors.rst"])
def test_a_tree_of_errors_is_that_of_the_code(page: str) -> None:
    listed = re.findall(r"^ +[├└]── (\w+) +(?:\((\w+)\))?", text_of(page), re.MULTILINE)

    assert {name: [base] if base else [] for name, base in listed} == BASES


def test_the_table_of_errors_is_that_of_the_code() -> None:
    rows = tables_of(text_of("docs/errors/index.rst"))["error | is also a | raised when"]

    assert {name.split("`")[1]: base.split() for name, base, _ in rows} == {"MasqueradeError": [], **BASES}


def test_the_delays_are_those_of_the_code() -> None:
    rows = tables_of(text_of("docs/howto/tuning.rst"))["arguments | delays"]

    for arguments, delays in rows:
        given = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", arguments)}
        first, longest = given.get("initial_reconnect_delay", 1.0), given.get("max_reconnect_delay", 30.0)
        shown = [float(delay) for delay in re.findall(r"[\d.]+(?=,| \.\.\.)", delays)]
        assert len(shown) == 6
        assert shown == [delay_before(attempt, first, longest, 0.0) for attempt in range(1, 7)]


def test_the_examples_that_are_listed_are_all_there_are() -> None:
    rows = tables_of(text_of("docs/howto/index.rst"))["program | what it shows"]

    assert {literals(name)[0] for name, _ in rows} == {
        path.name
        for path in (ROOT / "examples").iterdir()
        if path.suffix == ".py" or (path.is_dir() and [*path.glob("*.py")])
    }
