"""What ``masquerade-ws relay`` does."""

from __future__ import annotations

__all__ = ["ENGINE_VARIABLE", "engine_url", "run"]

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import click

from masquerade_ws import ConnectedEvent, ConnectError, DisconnectedEvent, ErrorEvent
from masquerade_ws.cli.conversation import WAKE_INTERVAL
from masquerade_ws.cli.output import note, note_of, say
from masquerade_ws.cli.target import Target
from masquerade_ws.cli.unicode import text_in
from masquerade_ws.connection.options import ConnectionOptions
from masquerade_ws.log import logger
from masquerade_ws.protocol.uri import parse_uri
from masquerade_ws.relay.engine import EngineUrl
from masquerade_ws.relay.gateway import Gateway, GatewayClient
from masquerade_ws.relay.metrics import Metrics
from masquerade_ws.relay.process import Relay, RelayError, Report, Settings
from masquerade_ws.sanitize import clean

ENGINE_VARIABLE = "MASQUERADE_ENGINE"

_ROLES = {"leader": "leading", "standby": "standing by", "stopped": "stopping"}


def run(
    target: Target,
    engine: EngineUrl,
    options: Mapping[str, Any],
    linger: float | None,
    listen: tuple[str, int] | None,
) -> None:
    """Relay until Ctrl-C or SIGTERM, and say what happens.

    Args:
        target: The gateway.
        engine: The engine.
        options: What the relay is to do, by the names of `Settings`; ``None`` and nothing stand for the default.
        linger: The same for ``linger``, in milliseconds.
        listen: Where to serve metrics, if anywhere.

    Raises:
        click.UsageError: If the gateway's URL, an option or the namespace is not allowed.
        click.ClickException: If it cannot listen there.
        ConnectError: If the relay cannot work.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    settings = Settings(**given) if linger is None else Settings(**given, linger=linger / 1000)
    screen = _Screen()
    relay = _make(target, engine, settings)
    for name in ("connected", "disconnected", "error"):
        relay.client.on(name, screen.tell)
    with _showing_warnings(screen), _serving(listen, relay), _stopping(relay, target):
        relay.start()
        screen.line(f"relaying {_name_of(target)} to {engine.name}, namespace {settings.namespace}; stop with Ctrl-C")
        while not relay.wait(WAKE_INTERVAL):
            screen.show(relay)
    screen.line("stopped")


def _make(target: Target, engine: EngineUrl, settings: Settings) -> Relay:
    options = dict(target.options)
    headers, token_in = options.pop("headers"), options.pop("token_in")

    def make_client(gateway: Gateway) -> GatewayClient:
        return GatewayClient(
            gateway,
            target.url,
            target.token,
            headers=headers,
            token_in=token_in,
            options=ConnectionOptions(**options),
        )

    try:
        return Relay(engine, settings, make_client, _name_of(target))
    except (TypeError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _name_of(target: Target) -> str:
    return parse_uri(target.url).name


@contextlib.contextmanager
def _showing_warnings(screen: _Screen) -> Generator[None]:
    """Show what the relay's thread warns of as lines among the others."""
    handler = _Lines(screen)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@contextlib.contextmanager
def _serving(listen: tuple[str, int] | None, relay: Relay) -> Generator[None]:
    if listen is None:
        yield
        return
    host, port = listen
    try:
        metrics = Metrics(host, port, relay.report)
    except OSError as error:
        raise click.ClickException(f"cannot serve metrics on {host}:{port}: {error.strerror or error}") from error
    with metrics:
        note(f"serving /metrics and /healthz on {host}:{metrics.port}")
        yield


@contextlib.contextmanager
def _stopping(relay: Relay, target: Target) -> Generator[None]:
    """Stop the relay in order, by whatever it ends."""
    try:
        with contextlib.suppress(KeyboardInterrupt):
            yield
    except RelayError as error:
        raise ConnectError(str(error)) from error
    finally:
        target.token.close()
        with contextlib.suppress(RelayError):  # which has been reported
            relay.stop()


class _Screen:
    """Says what happens: lines, and below them on a terminal one line of where the relay stands."""

    def __init__(self) -> None:
        self._live = sys.stderr is not None and sys.stderr.isatty()
        self._stands = ""
        self._shown = False
        self._rate = _Rate()
        self._lock = threading.Lock()  # guards what the terminal shows: the client's dispatcher thread writes, too

    def line(self, text: str) -> None:
        """Print a line."""
        with self._lock:
            self._clear()
            note(text)

    def tell(self, event: ConnectedEvent | DisconnectedEvent | ErrorEvent) -> None:
        """Say what has happened to the connection to the gateway, on the dispatcher thread."""
        self.line(f"gateway: {note_of(event)}")

    def show(self, relay: Relay) -> None:
        """Say where the relay stands, if that has changed, and on a terminal how much comes."""
        report = relay.report()
        stands = f"engine: {clean(report.engine)}" if report.engine else _ROLES[report.role]
        if stands != self._stands:
            self._stands = stands
            self.line(stands)
            self._say_survey(relay)
        if self._live:
            rate = self._rate.of(report, time.monotonic())
            with self._lock:
                self._clear()
                self._shown = True
                say(f"{stands} | gateway {report.gateway} | {report.events:,} events, {rate:,.0f} a second", err=True)

    def _say_survey(self, relay: Relay) -> None:
        found, relay.survey_to_tell = relay.survey_to_tell, None
        if found is not None:
            self.line(f"engine: {found.version}, {found.durability}")
            if found.warning is not None:
                self.line(f"engine: {found.warning}")

    def _clear(self) -> None:
        if self._shown:
            self._shown = False
            sys.stderr.write("\x1b[A\x1b[2K")
            sys.stderr.flush()


class _Lines(logging.Handler):
    """Shows warnings."""

    def __init__(self, screen: _Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record."""
        self._screen.line(clean(record.getMessage()))


class _Rate:
    """Events a second, between two looks."""

    def __init__(self) -> None:
        self._events, self._at = 0, time.monotonic()

    def of(self, report: Report, now: float) -> float:
        """Return the rate since the look before this one."""
        rate = (report.events - self._events) / max(now - self._at, 0.001)
        self._events, self._at = report.events, now
        return rate


def engine_url(option: str | None, file: Path | None) -> EngineUrl:
    """Return the engine's URL, from an option, a file or the environment.

    Raises:
        click.UsageError: If there is none, or more than one, or one with a password in the option, where other users
            can see it.
        click.ClickException: If the file cannot be read.
    """
    if option is not None and file is not None:
        raise click.UsageError("--engine and --engine-file cannot be combined: give one of them")
    text = option if option is not None else os.environ.get(ENGINE_VARIABLE, "")
    if file is not None:
        try:
            text = text_in(file.read_bytes()).strip()
        except OSError as error:
            raise click.ClickException(f"cannot read {file}: {error.strerror}") from error
        except UnicodeError:
            raise click.ClickException(f"{file} is not UTF-8") from None
    if not text:
        raise click.UsageError(
            f"no engine is given: set {ENGINE_VARIABLE}, such as redis://localhost:6379/0, or use --engine or "
            "--engine-file"
        )
    try:
        url = EngineUrl.parse(text)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if option is not None and url.password is not None:
        raise click.UsageError(
            f"--engine must not have a password, which other users can see: set {ENGINE_VARIABLE}, or use --engine-file"
        )
    return url
