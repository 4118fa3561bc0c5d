"""Keep a token while it is good; fetch a new one when it grows old or the server refuses it."""

from __future__ import annotations

import os
import time

from masquerade_ws import ConnectError, ErrorEvent, WebSocketClient

URL = os.environ.get("MASQUERADE_URL", "ws://localhost:34076/ws")


class Tokens:
    """Called by the client before every attempt to connect."""

    def __init__(self) -> None:
        self._token = "expired-long-ago"  # what was stored when the program ran last
        self._good_until = time.monotonic() + 3600

    def __call__(self) -> str:
        if time.monotonic() >= self._good_until:
            print("fetching a new token")
            self._token = "fresh"  # your application asks its authentication service here
            self._good_until = time.monotonic() + 15 * 60 - 30  # half a minute early, to be safe
        return self._token

    def check(self, event: ErrorEvent) -> None:
        """Give up a token that the server has refused: the next attempt, after a delay, gets a new one."""
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
