"""The reprs of what belongs to a Stack, which may be gone."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["shown"]


def shown(what: object, tell: Callable[[], str]) -> str:
    """What `tell` says of an object, or why there is nothing to say; a repr doesn't raise."""
    try:
        return tell()
    except (OSError, RuntimeError) as error:
        return f"<{type(what).__name__}: {error}>"
