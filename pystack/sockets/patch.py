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

_lock = threading.RLock()
keep_over_fork(_lock)
# How often this module's code is in a change, all in the thread that has the lock: what the garbage
# collector finds, or a signal's handler, may begin and end blocks amid another change.
_depth = 0
# Whether such a one has filled places, which the outermost may fill with what was right before.
_again = False
# Layers of blocks that have ended amid a change, which goes on with what it knows.
_ended: list[Layer] = []
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
    for (owner, name), put in list(_put.items()):
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
    for owner, name in list(_originals):
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
def _changing() -> Iterator[None]:
    """Keeps other threads out, and leaves every place as it has to be."""
    global _depth, _again  # noqa: PLW0603
    with _lock:
        _depth += 1
        try:
            if _depth == 1:
                _look()
            yield
        finally:
            try:
                if _depth == 1:
                    _settle()
                else:
                    _again = True
                    _apply()
            finally:
                _depth -= 1
        if _depth == 0 and (_again or _ended):  # since just now
            with _changing():
                pass


def _settle() -> None:
    """Ends the blocks that have ended, and fills all places."""
    global _again, _layers, _found  # noqa: PLW0603 - there is one of each
    while True:
        _again = False
        while _ended:
            _layers = _without(_ended.pop(), _layers)
        _apply()
        if not (_again or _ended):
            break
    if all(_is(one, _found) for one in _layers):
        # What is left is the program's, and stays where it is.
        _layers, _found = [], []
        _originals.clear()
        _put.clear()


@contextmanager
def patched(places: Mapping[Place, Any]) -> Iterator[Layer]:
    """Replaces attributes, for the whole process, during the block.

    Blocks may nest, and end in any order: the youngest that is left holds.

    Yields:
        What stands for the block in `extend`.
    """
    layer = dict(places)
    with _changing():
        _note(layer)
        _layers.append(layer)
    try:
        yield layer
    finally:
        with _changing():
            _ended.append(layer)


def extend(layer: Layer, places: Mapping[Place, Any]) -> None:
    """Has a block that is open replace these, too."""
    with _changing():
        if _is(layer, _layers):  # it may just have ended
            _note(places)
            layer.update(places)


@contextmanager
def suspended(layer: Layer) -> Iterator[None]:
    """Takes back, during this block, what a block that is open replaces; in all threads."""
    with _changing():
        kept = dict(layer)
        layer.clear()
    try:
        yield
    finally:
        extend(layer, {**kept, **layer})


def replaced() -> Layer:
    """What is replaced at the moment, and what was there before."""
    with _lock:
        return dict(_originals)
