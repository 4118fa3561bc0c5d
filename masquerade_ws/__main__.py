"""``python -m masquerade_ws``: the same as the command ``masquerade-ws``."""

from __future__ import annotations

__all__: list[str] = []

from masquerade_ws.cli import main

main()
