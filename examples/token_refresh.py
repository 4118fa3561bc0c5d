"""Keep a token while it is valid; fetch a new one when it expires or the server refuses it."""

from __future__ import annotations

import os
import time

from masquerade_ws import ConnectError, ErrorEvent, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")


class Tokens:
    """Called by the client before every attempt to connect."""

    def __init__(self) -> None:
        self._token = "expired-long-ago"  # stored by an earlier run of the program
        self._good_until = time.monotonic() + 3600

    def __call__(self) -> str:
        if time.monotonic() >= self._good_until:
            print("fetching a new token")
            self._token = "fresh"  # here your application asks its authentication service
            self._good_until = time.monotonic() + 15 * 60 - 30  # half a minute early, to be safe
        return self._token

    def check(self, event: ErrorEvent) -> None:
        """Discard a token that the server has refused, so that the next attempt fetches a new one."""
        if isinstance(event.error, ConnectError) and event.error.status == 401:
            print("the server refuses the token")
            self._good_until = time.monotonic()


tokens = Tokens()
client = WebSocketClient(URL, tokens, initial_reconnect_delay=0.2)
client.on("error", tokens.check)

with client.events("connected") as connections:
    client.connect(block=False)  # a blocking one would raise ConnectError for the first attempt
    event = connections.get(timeout=60)
    print(f"connected at attempt {event.attempts}")
client.disconnect()
