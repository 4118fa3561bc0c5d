"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.commands import Command, Ended
from tests.support.scenes import running


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of the commands."""
    for name in ("MASQUERADE_URL", "NO_COLOR", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command to its end; ``meanwhile`` runs beside it."""
    from masquerade_ws.cli.commands import cli  # noqa: PLC0415 - its packages may be missing

    monkeypatch.setenv("MASQUERADE_TOKEN", "secret-token")

    def command(*arguments: str, meanwhile: Callable[[], object] = lambda: None) -> Ended:
        beside = running(meanwhile)
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments, "masquerade-ws")
        beside.result()
        status = caught.value.code
        assert isinstance(status, int)
        return Ended(status, *capsys.readouterr())

    return command
