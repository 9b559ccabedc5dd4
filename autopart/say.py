"""Telling a user what is going on while a step takes its time."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str], None]
"""Hears a few words when something begins, and nothing ("") when all is done."""


def silent(_: str) -> None:
    """Tells nobody."""
