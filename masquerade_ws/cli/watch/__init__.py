"""The command ``watch``: a live view of the gateway."""
