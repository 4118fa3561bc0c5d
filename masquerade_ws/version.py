"""The library's version: the build, the documentation, ``--version`` and ``User-Agent`` take it from here."""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "1.1.0"
