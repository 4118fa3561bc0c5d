"""The commands ``demo`` and ``serve``, and the gateway that both run."""
