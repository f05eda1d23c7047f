"""Expecting an errno."""

from __future__ import annotations

import errno
from typing import Any

import pytest


def fails_with(code: int) -> Any:
    """Expects the block to raise the `OSError` of one errno."""
    assert code in errno.errorcode
    return pytest.raises(OSError, match=rf"\[Errno {code}\]")
