"""Brings what a comparison of stacks needs and no wheel can carry: engines that are built here.

Everything goes into pystack's cache folder, as the user who asks; the system stays as it is.
"""

from __future__ import annotations

__all__ = ["ProvisionError"]


class ProvisionError(Exception):
    """Something can't be brought or built on this machine; the text says what to do."""
