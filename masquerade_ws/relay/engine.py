"""A connection to the engine, Redis or Valkey: made, used for one call after the other, and shut down from outside.

redis-py packs and parses, authenticates and selects the database; the sockets are dialled as those to the gateway are,
so that an attempt has one deadline and can be ended at once. This is the only module that knows redis-py.

Who may use it: one thread at a time calls; any thread, or a signal handler, may call `Engine.shutdown`. That shuts the
socket down (closing the descriptor would leave a blocked call where it is), so that the call returns the end of the
stream and raises `EngineLost`; whoever made the connection then closes it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

import redis
import redis.exceptions as replies
from redis.backoff import NoBackoff
from redis.retry import Retry

from masquerade_ws.connection.attempt import Attempt, Cancelled, OutOfTime
from masquerade_ws.connection.dialing import dial
from masquerade_ws.connection.resolver import resolve
from masquerade_ws.connection.sockets import ignoring_failures
from masquerade_ws.connection.tls import default_context
from masquerade_ws.relay.keys import Keys
from masquerade_ws.sanitize import clean, excerpt

__all__ = ["Command", "Engine", "EngineError", "EngineLost", "EngineRefusal", "EngineUrl"]

Command: TypeAlias = Sequence[str | bytes | int]

_PORT = 6379
_QUERY = {"redis": ("db",), "rediss": ("db", "ssl_ca_certs"), "unix": ("db",)}
_SHOWN = 200  # characters of an error reply

# redis-py strips the code off some error replies.
_CODES: dict[type[Exception], str] = {
    replies.AuthenticationError: "WRONGPASS",
    replies.BusyLoadingError: "LOADING",
    replies.ClusterDownError: "CLUSTERDOWN",
    replies.ExecAbortError: "EXECABORT",
    replies.MasterDownError: "MASTERDOWN",
    replies.MovedError: "MOVED",
    replies.NoPermissionError: "NOPERM",
    replies.OutOfMemoryError: "OOM",
    replies.ReadOnlyError: "READONLY",
    replies.TryAgainError: "TRYAGAIN",
}
_ADVICE = {
    "LOADING": "it is still loading its data",
    "MISCONF": "see why it cannot write to its disk",
    "NOAUTH": "give a user name and a password in the URL",
    "NOPERM": "give its user the rules that the documentation lists",
    "OOM": "give it more memory (maxmemory), or keep less",
    "READONLY": "it is a replica: connect to its primary",
    "WRONGPASS": "check the user name and the password in the URL",
}


class EngineError(Exception):
    """The engine did not do what was asked; the text names it, and says what to do."""


class EngineLost(EngineError):  # noqa: N818 - the name says what happened
    """The engine cannot be reached, or the connection has ended, or there was no answer in time."""


class EngineRefusal(EngineError):  # noqa: N818 - likewise
    """The engine answered with an error.

    Args:
        message: What happened.
        code: The first word of the reply, such as ``NOPERM``.
        reply: The rest of it.
    """

    def __init__(self, message: str, code: str, reply: str) -> None:
        super().__init__(message)
        self.code = code
        self.reply = reply


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """Where an engine is, and how to get in. Neither its text nor its repr show the password.

    Attributes:
        scheme: ``redis``, ``rediss`` or ``unix``.
        host: The name or address; empty with ``unix``.
        port: The port.
        path: Of the socket, with ``unix``.
        db: The number of the database.
        username: ``None`` for the default user.
        password: The password, if there is one.
        ca_certs: A file of certificates that takes the place of the system's roots.
    """

    scheme: str
    host: str = ""
    port: int = _PORT
    path: str = ""
    db: int = 0
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    ca_certs: str | None = None

    @classmethod
    def parse(cls, url: object) -> EngineUrl:
        """Return the parts of ``redis://``, ``rediss://`` or ``unix://`` and what follows.

        Raises:
            TypeError: If it is not a ``str``.
            ValueError: If it is not such a URL. The message shows nothing of it, since it may hold a password.
        """
        if not isinstance(url, str):
            raise TypeError(f"url must be a str, not {type(url).__name__}")
        scheme = url.partition("://")[0].lower()
        known = _QUERY.get(scheme)
        if known is None:
            raise ValueError("url of the engine must begin with redis://, rediss:// or unix://")
        if clean(url) != url or "#" in url:
            raise ValueError("url of the engine has a control character or a fragment; write # as %23 in a password")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError("url of the engine has a host or a port that is not one") from None
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not query.keys() <= {*known} or (parts.query and not query):
            raise ValueError(f"url of the engine may have no query but {' and '.join(known)} with {scheme}://")
        db = query.get("db", "0" if scheme == "unix" else parts.path.strip("/") or "0")
        if not (db.isascii() and db.isdigit() and len(db) < 10):
            raise ValueError("url of the engine has a database that is not a number")
        if scheme == "unix" and not (parts.path and hasattr(socket, "AF_UNIX")):
            raise ValueError("url of the engine has no path of a socket, or this system has no such sockets")
        if scheme != "unix" and not parts.hostname:
            raise ValueError("url of the engine has no host")
        return cls(
            scheme,
            host="" if scheme == "unix" else parts.hostname or "",
            port=_PORT if port is None else port,
            path=unquote(parts.path) if scheme == "unix" else "",
            db=int(db),
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            ca_certs=query.get("ssl_ca_certs"),
        )

    @property
    def name(self) -> str:
        """What is shown: the URL without user name, password and query."""
        if self.scheme == "unix":
            return f"unix://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.db}"

    def __str__(self) -> str:
        return self.name


class _Link(redis.Connection):
    """What redis-py makes of a socket that is connected. It makes none itself, so that it never connects anew."""

    def __init__(self, sock: socket.socket, url: EngineUrl) -> None:
        self._given: list[socket.socket] = [sock]
        super().__init__(  # type: ignore[no-untyped-call]
            host=url.host or "localhost",
            db=url.db,
            username=url.username,
            password=url.password,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,  # that of the socket holds
        )

    def _connect(self) -> socket.socket:
        if not self._given:
            raise redis.ConnectionError("the connection has ended")
        return self._given.pop()


class Engine:
    """One connection to the engine, used once. One thread at a time calls; any thread shuts it down.

    Replies are as RESP2 has them: ``bytes``, ``int``, ``None``, and lists of these.

    Args:
        url: Where to, and how to get in.
        keys: Those of the namespace, by which a node of a cluster is asked whether it is the right one.
        reply_timeout: Seconds for each answer, after which the connection counts as lost; ``None`` for a connection
            whose calls block, and which another thread shuts down when an answer is overdue.
    """

    def __init__(self, url: EngineUrl, keys: Keys, *, reply_timeout: float | None) -> None:
        self._url = url
        self._keys = keys
        self._reply_timeout = reply_timeout
        self._link: Any = None  # a `_Link`, whose methods have no types
        # Guards what `shutdown` finds: the attempt, the socket, and whether either is wanted. Reentrant, since a signal
        # handler may shut down at any line.
        self._lock = threading.RLock()
        self._attempt: Attempt | None = None
        self._sock: socket.socket | None = None
        self._unwanted = False

    # Connecting

    def connect(self, timeout: float | None) -> None:
        """Connect, once, to the node of a cluster that another node names, if need be.

        Args:
            timeout: Seconds for look-up, TCP, TLS and the first answers, each of which has what is left at its begin.

        Raises:
            EngineLost: If the engine cannot be reached, or another thread shut the connection down.
            EngineRefusal: If it does not let us in.
        """
        attempt = Attempt(timeout)
        try:
            self._enter(self._url.host, self._url.port, attempt)
            try:
                self.call("GET", self._keys.status)
            except EngineRefusal as refusal:
                if refusal.code != "MOVED":
                    raise
                self.close()
                host, _, port = refusal.reply.rpartition(" ")[2].rpartition(":")
                self._enter(host or self._url.host, int(port), attempt)
                self.call("GET", self._keys.status)
            self._socket().settimeout(self._reply_timeout)
        except BaseException:
            self.close()
            raise

    def _enter(self, host: str, port: int, attempt: Attempt) -> None:
        with self._explaining("connecting"):
            try:
                sock = self._dial(host, port, attempt)
            finally:
                with self._lock:
                    self._attempt = None
                    attempt.close()
            sock.settimeout(attempt.deadline.remaining())
            if self._url.scheme == "rediss":
                sock = self._start_tls(sock, host)
            self._link = _Link(sock, self._url)
            self._link.connect()

    def _dial(self, host: str, port: int, attempt: Attempt) -> socket.socket:
        with self._lock:
            if self._unwanted:
                raise Cancelled
            self._attempt = attempt
        if self._url.scheme == "unix":
            attempt.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            attempt.sock.setblocking(False)  # it is connected at once, or not at all
            attempt.sock.connect(self._url.path)
        else:
            dial(resolve(host, port, attempt), attempt)
        with self._lock:
            attempt.check()
            assert attempt.sock is not None
            self._sock, attempt.sock, self._attempt = attempt.sock, None, None
            return self._sock

    def _start_tls(self, sock: socket.socket, host: str) -> socket.socket:
        context = default_context() if self._url.ca_certs is None else _context_of(self._url.ca_certs)
        with self._lock:  # the new object takes the descriptor from the old one
            secure = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            self._sock = secure
        secure.do_handshake()
        return secure

    # Calling

    def call(self, *command: str | bytes | int) -> Any:
        """Run a command and return its reply.

        Raises:
            EngineLost: If there is no connection, or no answer.
            EngineRefusal: If the answer is an error.
        """
        [reply] = self.pipeline([command])
        if isinstance(reply, EngineRefusal):
            raise reply
        return reply

    def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one go and return their replies, error replies as `EngineRefusal` objects.

        Raises:
            EngineLost: If there is no connection, or an answer is missing.
            EngineRefusal: If an error reply ended the connection.
        """
        link = self._link
        if link is None:
            raise EngineLost(f"there is no connection to the engine {self._url.name}")
        with self._explaining(str(commands[0][0])):
            link.send_packed_command(link.pack_commands(commands), check_health=False)
            return [self._read(link, command) for command in commands]

    def transaction(self, commands: Sequence[Command]) -> list[Any] | None:
        """Run commands in a ``MULTI``.

        Returns:
            Their replies, error replies as `EngineRefusal` objects; ``None`` if a key that is watched has changed.

        Raises:
            EngineLost: If there is no connection, or an answer is missing.
            EngineRefusal: If a command was not even queued, so that none was run.
        """
        *queued, result = self.pipeline([("MULTI",), *commands, ("EXEC",)])
        for reply in (*queued, result):
            if isinstance(reply, EngineRefusal):
                raise reply
        if result is None:
            return None
        return [
            self._refusal_of(reply, str(command[0])) if isinstance(reply, redis.RedisError) else reply
            for command, reply in zip(commands, result, strict=True)
        ]

    def set_reply_timeout(self, seconds: float | None) -> None:
        """Change how long each answer may take; ``None``: any time."""
        self._socket().settimeout(seconds)

    def time_ms(self) -> int:
        """Return the engine's time, in milliseconds since 1970."""
        seconds, microseconds = self.call("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _read(self, link: Any, command: Command) -> Any:
        try:
            return link.read_response()
        except redis.ResponseError as error:
            return self._refusal_of(error, str(command[0]))

    # Ending

    def shutdown(self) -> None:
        """End the connection, or the attempt at one, from any thread; the thread in a call then sees its end."""
        with self._lock:
            self._unwanted = True
            if self._attempt is not None:
                self._attempt.cancel()
            elif self._sock is not None:
                with ignoring_failures():  # of the plain socket: TLS's own state belongs to the thread that calls
                    socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; to be called by the thread that calls, or after it has left."""
        with self._lock:
            sock, self._sock = self._sock, None
        link, self._link = self._link, None
        if link is not None:
            link.disconnect()
        if sock is not None:
            sock.close()

    def after_fork(self) -> None:
        """Close the descriptor alone, in a forked child, without the lock, which a thread that is not here may hold."""
        self._lock = threading.RLock()
        self._link = None
        for one in (self._sock, self._attempt):
            if one is not None:
                one.close()

    def _socket(self) -> socket.socket:
        assert self._sock is not None
        return self._sock

    # Saying what went wrong

    @contextlib.contextmanager
    def _explaining(self, doing: str) -> Generator[None, None, None]:
        """Turn what redis-py and the system raise into our own errors."""
        try:
            yield
        except (redis.AuthenticationError, redis.BusyLoadingError) as error:  # replies, but to redis-py ends as well
            failure: EngineError = self._refusal_of(error, doing)
        except redis.ResponseError as error:  # of redis-py's own commands, as the connection is made
            failure = self._refusal_of(error, doing)
        except (redis.TimeoutError, OutOfTime, TimeoutError):
            failure = EngineLost(f"the engine {self._url.name} did not answer in time ({doing})")
        except Cancelled:
            failure = EngineLost(f"the connection to the engine {self._url.name} was given up")
        except (redis.RedisError, OSError) as error:
            failure = EngineLost(f"the engine {self._url.name} cannot be reached ({doing}): {_words_of(error)}")
        else:
            return
        raise failure from None  # whose context could show a password

    def _refusal_of(self, error: Exception, command: str) -> EngineRefusal:
        text = str(error)
        code = _CODES.get(type(error))
        if code is None:
            code, _, rest = text.partition(" ")
            code, text = (code, rest) if len(code) > 2 and code.isupper() else ("ERR", text)
        elif code == "WRONGPASS" and "required" in text:
            code = "NOAUTH"
        said = excerpt(text, _SHOWN).removesuffix(".")
        advice = f"; {_ADVICE[code]}" if code in _ADVICE else ""
        return EngineRefusal(f"the engine {self._url.name} refused {command}: {code} {said}{advice}", code, text)


def _context_of(ca_certs: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_certs)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _words_of(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        return error.strerror or os.strerror(error.errno)  # without the path
    return excerpt(str(error) or type(error).__name__, _SHOWN).removesuffix(".")
