"""A Django app (extra ``django``).

::

    INSTALLED_APPS = [..., "masquerade_ws.contrib.django"]
    MASQUERADE_WS = {
        "URL": "wss://images.example/ws",
        "GET_TOKEN": "myproject.tokens.get_token",
        "HEARTBEAT_INTERVAL": 20,  # and any other argument of `WebSocketClient`
    }

::

    from masquerade_ws.contrib.django import client, event_received


    @receiver(event_received, sender="image.generation.completed")
    def store(sender, event, **kwargs): ...

The client starts by itself in each process that serves, once a receiver is connected; and wherever a process first
sends, waits or opens a stream. The command ``masquerade_listen`` runs it in a process that does nothing else.
"""

from __future__ import annotations

from typing import cast

from masquerade_ws import WebSocketClient
from masquerade_ws.contrib.django.lazy import lazy
from masquerade_ws.contrib.django.signals import event_received

__all__ = ["client", "event_received"]

client = cast("WebSocketClient", lazy)
