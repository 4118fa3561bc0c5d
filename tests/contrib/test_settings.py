"""How the integrations read settings."""

from __future__ import annotations

import os
from typing import Any

import pytest

from masquerade_ws.contrib.settings import read

GOOD = {"URL": "ws://localhost/", "get_token": str}


def mistakes(**settings: Any) -> list[tuple[str, str]]:
    return [(mistake.name, str(mistake)) for mistake in read({**GOOD, **settings}).mistakes]


def test_options_come_under_their_names_in_small_letters_and_dotted_paths_as_what_they_lead_to() -> None:
    settings = {"URL": "ws://localhost/", "GET_TOKEN": "os.getcwd", "around_event": None, "queue_size": 7}
    found = read(settings)
    assert found.mistakes == []
    assert found.arguments == {"url": "ws://localhost/", "get_token": os.getcwd, "around_event": None, "queue_size": 7}


@pytest.mark.parametrize("settings", [{}, {"URL": None, "GET_TOKEN": None}])
def test_what_is_required_and_not_there_is_missing(settings: dict[str, Any]) -> None:
    assert [(mistake.name, str(mistake)) for mistake in read(settings).mistakes] == [
        ("url", "is missing"),
        ("get_token", "is missing"),
    ]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no.such.thing", "No module named 'no'"),
        ("os.no_such_thing", "module 'os' has no attribute 'no_such_thing'"),
        ("not a path", "invalid format: 'not a path'"),
    ],
)
def test_a_path_that_leads_nowhere_is_reported_with_the_reason(path: str, why: str) -> None:
    assert mistakes(GET_TOKEN=path, AROUND_EVENT=path) == [
        ("get_token", f"cannot be imported: {why}"),
        ("around_event", f"cannot be imported: {why}"),
    ]


def test_every_mistake_is_reported_with_its_option() -> None:
    assert mistakes(QUEUE_SISE=1, QUEUE_SIZE=0, GET_TOKEN="os") == [
        ("get_token", "is wrong: get_token must be callable, not module"),
        ("queue_sise", "is not an option"),
        ("queue_size", "is wrong: queue_size must be at least 1, not 0"),
    ]


def test_options_that_do_not_go_together_are_reported_without_a_name() -> None:
    ((name, message),) = mistakes(TOKEN_IN="header", HEADERS={"Authorization": "Basic secret"})
    assert name == ""
    assert message.startswith("is wrong: headers")
    assert "secret" not in message


def test_how_a_framework_runs_the_client_is_no_argument_of_the_client() -> None:
    usual = read(GOOD)
    assert (usual.autostart, usual.listen_alone) == (True, False)
    chosen = read({**GOOD, "AUTOSTART": False, "listeners": "listen"})
    assert (chosen.autostart, chosen.listen_alone, chosen.mistakes) == (False, True, [])
    assert chosen.arguments.keys() == {"url", "get_token"}


@pytest.mark.parametrize("value", [None, 1, 0, "yes", "False", [True]])
def test_autostart_is_true_or_false(value: object) -> None:
    assert mistakes(AUTOSTART=value) == [("autostart", f"is wrong: autostart must be True or False, not {value!r}")]


@pytest.mark.parametrize("value", [None, True, "", "Listen", "none", ["listen"]])
def test_listeners_are_called_everywhere_or_by_the_command(value: object) -> None:
    assert mistakes(LISTENERS=value) == [("listeners", f"is wrong: listeners must be 'all' or 'listen', not {value!r}")]
