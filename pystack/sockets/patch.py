"""Another's functions in the place of those of the module `socket`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_kernel: dict[str, Any] = {}
_layers: list[Mapping[str, Any]] = []


def _apply() -> None:
    for name, value in _kernel.items():
        setattr(socket, name, value)
    for layer in _layers:
        for name, value in layer.items():
            setattr(socket, name, value)


@contextmanager
def patched(names: Mapping[str, Any]) -> Iterator[None]:
    """Replaces attributes of the module `socket`, for the whole process, during the block.

    Blocks may nest, and end in any order: the youngest that is left holds.
    """
    layer = dict(names)
    with _lock:
        for name in layer:
            _kernel.setdefault(name, getattr(socket, name))
        _layers.append(layer)
        _apply()
    try:
        yield
    finally:
        with _lock:
            # By identity: two blocks of one Stack are equal.
            del _layers[next(i for i, one in enumerate(_layers) if one is layer)]
            _apply()
            if not _layers:
                _kernel.clear()
