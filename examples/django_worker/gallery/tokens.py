"""The token, read anew before every attempt to connect."""

import os


def get_token() -> str:
    return os.environ.get("MASQUERADE_TOKEN", "my-token")
