"""How many descriptors this process may have (RLIMIT_NOFILE, getrlimit(2))."""

from __future__ import annotations

import contextlib

__all__ = ["descriptor_limit", "raise_descriptor_limit"]

_UNKNOWN, _UNLIMITED = 1024, 1 << 20


def raise_descriptor_limit() -> None:
    """Raises the soft limit to the hard one, where the system lets it."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    with contextlib.suppress(ValueError, OSError):  # macOS has a lower limit of its own
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptor_limit() -> int:
    """The soft limit."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return _UNKNOWN
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return _UNLIMITED if limit == resource.RLIM_INFINITY else limit
