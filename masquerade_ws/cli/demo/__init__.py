"""The commands that paint: ``demo``, ``serve`` and the gateway behind them."""
