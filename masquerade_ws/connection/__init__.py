"""One WebSocket connection, usable without the client."""

from masquerade_ws.connection.connection import Connection

__all__ = ["Connection"]
