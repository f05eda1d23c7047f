"""Another's functions in the place of those of the standard library."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

# What is replaced: a module or class, and the name of its attribute.
Place: TypeAlias = tuple[Any, str]

_lock = threading.Lock()
_originals: dict[Place, Any] = {}
_layers: list[Mapping[Place, Any]] = []


def _apply() -> None:
    for (owner, name), value in _originals.items():
        setattr(owner, name, value)
    for layer in _layers:
        for (owner, name), value in layer.items():
            setattr(owner, name, value)


@contextmanager
def patched(places: Mapping[Place, Any]) -> Iterator[None]:
    """Replaces attributes, for the whole process, during the block.

    Blocks may nest, and end in any order: the youngest that is left holds.
    """
    layer = dict(places)
    with _lock:
        for owner, name in layer:
            _originals.setdefault((owner, name), getattr(owner, name))
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
                _originals.clear()
