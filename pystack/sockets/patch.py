"""Another's functions in the place of those of the standard library.

Rules: of several blocks the youngest that is open holds. What the program itself puts in such a
place meanwhile (a mock, a guard, a wrapper) is the program's, and stays when something else begins
or ends: it counts as a block that began when it was found, and ends when it is taken away.
"""

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
# What was put into each place at last.
_put: Layer = {}
_layers: list[Layer] = []
# Those of `_layers` that are the program's own.
_found: list[Layer] = []
# In the place of an original: the attribute was a base class's, or there was none.
_ABSENT = object()


def _is(layer: Layer, others: list[Layer]) -> bool:
    """Whether it is one of them: by identity, as two blocks of one Stack are equal."""
    return any(one is layer for one in others)


def _without(layer: Layer, others: list[Layer]) -> list[Layer]:
    return [one for one in others if one is not layer]


def _look() -> None:
    """Notes what the program has put into places, or taken away again."""
    new: Layer = {}
    for (owner, name), put in _put.items():
        there = vars(owner).get(name, _ABSENT)
        if there is not put:
            for layer in _found:
                layer.pop((owner, name), None)
            # Whoever puts the original back doesn't leave the block by that.
            if there is not _wanted((owner, name)) and there is not _originals[owner, name]:
                new[owner, name] = there
    if new:
        _found.append(new)
        _layers.append(new)


def _wanted(place: Place) -> Any:
    """What belongs into a place."""
    return next((one[place] for one in reversed(_layers) if place in one), _originals[place])


def _apply() -> None:
    for owner, name in _originals:
        value = _put[owner, name] = _wanted((owner, name))
        if vars(owner).get(name, _ABSENT) is value:
            continue
        if value is not _ABSENT:
            setattr(owner, name, value)
        elif name in vars(owner):
            delattr(owner, name)


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
    global _layers, _found  # noqa: PLW0603 - there is one of each
    layer = dict(places)
    with _lock:
        _look()
        _note(layer)
        _layers.append(layer)
        _apply()
    try:
        yield layer
    finally:
        with _lock:
            _look()
            _layers = _without(layer, _layers)
            _apply()
            if all(_is(one, _found) for one in _layers):
                # What is left is the program's, and stays where it is.
                _layers, _found = [], []
                _originals.clear()
                _put.clear()


def extend(layer: Layer, places: Mapping[Place, Any]) -> None:
    """Has a block that is open replace these, too."""
    with _lock:
        if not _is(layer, _layers):
            return  # it has just ended
        _look()
        _note(places)
        layer.update(places)
        _apply()


@contextmanager
def suspended(layer: Layer) -> Iterator[None]:
    """Takes back, during this block, what a block that is open replaces; in all threads."""
    with _lock:
        _look()
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
