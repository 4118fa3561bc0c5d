"""Names are completed where people type them: jedi does that for IPython, notebooks and some editors."""

from __future__ import annotations

from typing import Any

import pytest

from masquerade_ws import ConnectError, Event, ImageGenerationCompletedEvent, WebSocketClient
from masquerade_ws.connection import Connection
from masquerade_ws.testing import EventServer

pytestmark = pytest.mark.slow  # reading the package and what it imports takes jedi seconds

CLIENT = WebSocketClient("ws://localhost/ws", lambda: "token")
OBJECTS: dict[str, Any] = {
    "client": CLIENT,
    "client_class": WebSocketClient,
    "stats": CLIENT.stats,
    "stream": CLIENT.events("news"),
    "event": Event("news"),
    "completed": ImageGenerationCompletedEvent({"job_id": "1", "image_url": "https://images.example/1"}),
    "error": ConnectError("refused", 401),
    "connection": Connection("ws://localhost/ws"),
    "server": EventServer(),
}


@pytest.fixture(autouse=True)
def _no_files_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    import jedi  # noqa: PLC0415 - only those who run slow tests have it

    monkeypatch.setattr(jedi.settings, "cache_directory", str(tmp_path_factory.mktemp("jedi")))


def completed(code: str) -> list[str]:
    """Return what may follow the code, in a session that has the objects."""
    import jedi  # noqa: PLC0415 - see above

    return [completion.name for completion in jedi.Interpreter(code, [OBJECTS]).complete()]


@pytest.mark.parametrize("name", OBJECTS)
def test_the_members_of_an_object_are_completed(name: str) -> None:
    public = {member for member in dir(OBJECTS[name]) if not member.startswith("_")}
    assert public <= set(completed(f"{name}."))


@pytest.mark.parametrize(
    ("code", "member"),
    [
        ("client.sta", "state"),
        ("client.state.", "upper"),
        ("client.stats.", "reconnects"),
        ("client.events('news').", "dropped"),
        ("client.wait_for('image.generation.completed').", "payload"),
        ("client.run_image_job(str).", "timestamp"),
        ("client.submit_image_job(str).", "progress"),
    ],
)
def test_what_a_member_gives_is_completed_too(code: str, member: str) -> None:
    assert member in completed(code)
