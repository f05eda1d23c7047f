"""Another's functions in the place of those of the standard library."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from pystack._native.fork import keep_over_fork

# What is replaced: a module or class, and the name of its attribute.
Place: TypeAlias = tuple[Any, str]
Layer: TypeAlias = dict[Place, Any]

_lock = threading.Lock()
keep_over_fork(_lock)
_originals: Layer = {}
_layers: list[Layer] = []
# In the place of an original: the attribute was a base class's, or there was none.
_ABSENT = object()


def _apply() -> None:
    for (owner, name), value in _originals.items():
        if value is not _ABSENT:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)
    for layer in _layers:
        for (owner, name), value in layer.items():
            setattr(owner, name, value)


def _note(places: Mapping[Place, Any]) -> None:
    for owner, name in places:
        if (owner, name) not in _originals:
            _originals[owner, name] = vars(owner).get(name, _ABSENT)


@contextmanager
def patched(places: Mapping[Place, Any]) -> Iterator[Layer]:
    """Replaces attributes, for the whole process, during the block.

    Blocks may nest, and end in any order: the youngest that is left holds.

    Yields:
        What stands for the block in `extend`.
    """
    layer = dict(places)
    with _lock:
        _note(layer)
        _layers.append(layer)
        _apply()
    try:
        yield layer
    finally:
        with _lock:
            # By identity: two blocks of one Stack are equal.
            del _layers[next(i for i, one in enumerate(_layers) if one is layer)]
            _apply()
            if not _layers:
                _originals.clear()


def extend(layer: Layer, places: Mapping[Place, Any]) -> None:
    """Has a block that is open replace these, too."""
    with _lock:
        if not any(one is layer for one in _layers):
            return  # it has just ended
        _note(places)
        layer.update(places)
        _apply()


@contextmanager
def suspended(layer: Layer) -> Iterator[None]:
    """Takes back, during this block, what a block that is open replaces; in all threads."""
    with _lock:
        kept = dict(layer)
        layer.clear()
        _apply()
    try:
        yield
    finally:
        extend(layer, {**kept, **layer})


def replaced() -> Layer:
    """What is replaced at the moment, and what was there before."""
    with _lock:
        return dict(_originals)
