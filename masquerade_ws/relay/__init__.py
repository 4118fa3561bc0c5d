"""One connection to the gateway for any number of worker processes, by way of a stream in Redis or Valkey."""

from masquerade_ws.relay.client import RelayClient

__all__ = ["RelayClient"]
