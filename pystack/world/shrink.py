"""Shrinking a tape: as little as possible that still goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pystack.world.faults import Fault
from pystack.world.tape import Entry, Tape

__all__ = ["shrink"]

# Gives the tape that a run has really used, if it goes wrong in the same way.
Try = Callable[[Tape], "Tape | None"]


class _Search:
    def __init__(self, tape: Tape, fails: Try, most: int) -> None:
        self.best = tape
        self.tries = 0
        self._fails = fails
        self._most = most
        self._seen = {tape}

    @property
    def is_over(self) -> bool:
        return self.tries >= self._most

    def try_entries(self, entries: Sequence[Entry]) -> bool:
        """Whether so few are enough; then they are the best."""
        tape = Tape(self.best.seed, entries)
        if self.is_over or tape in self._seen:
            return False
        self._seen.add(tape)
        self.tries += 1
        used = self._fails(tape)
        if used is None:
            return False
        # What the run didn't come to is of no use; but it may have come to nothing new.
        kept = {*used.entries}
        self.best = Tape(tape.seed, [one for one in tape.entries if one in kept])
        return True


def _by_kind(search: _Search) -> None:
    """A whole kind at a time: FIFO everywhere, no frame late, no fault."""
    for kind in dict.fromkeys(one.kind for one in search.best.entries):
        search.try_entries([one for one in search.best.entries if one.kind != kind])


def _by_halves(search: _Search) -> None:
    """Delta debugging (Zeller and Hildebrandt, 2002): chunks are left out, ever smaller ones."""
    size = max(1, len(search.best.entries) // 2)
    while not search.is_over:
        place, found = 0, False
        while place < len(search.best.entries) and not search.is_over:
            entries = search.best.entries
            if search.try_entries(entries[:place] + entries[place + size :]):
                found = True
            else:
                place += size
        if size > 1:
            size //= 2
        elif not found:
            break


def _smaller(one: Entry) -> list[Entry]:
    """The same, but less of it."""
    if isinstance(one, Fault):
        at, lasts = (round(value / 2, 3) for value in (one.at, one.lasts))
        found: list[Entry] = [replace(one, at=float(round(one.at)), lasts=float(round(one.lasts)))]
        return [*found, replace(one, lasts=lasts), replace(one, at=at)]
    if one.kind == "corrupt" or one.value in (0, 1):
        return []
    values = dict.fromkeys((1, one.value // 2) if one.kind not in ("late", "twin") else
                           (one.value // 2,))  # fmt: skip
    return [replace(one, value=value) for value in values if value not in (0, one.value)]


def _by_values(search: _Search) -> None:
    place = 0
    while place < len(search.best.entries) and not search.is_over:
        entries = list(search.best.entries)
        for less in _smaller(entries[place]):
            if less != entries[place] and search.try_entries(
                [*entries[:place], less, *entries[place + 1 :]]
            ):
                break
        else:
            place += 1


def shrink(tape: Tape, fails: Try, *, most: int = 500) -> tuple[Tape, int]:
    """A smaller tape with which a run fails in the same way.

    Args:
        tape: One with which it does.
        fails: Runs it with a tape; gives the tape that the run has used, or None if it went well.
        most: How many runs at most.

    Returns:
        The tape, and how many runs it took.
    """
    search = _Search(tape, fails, most)
    if not search.try_entries([]):
        _by_kind(search)
        before: Tape | None = None
        while search.best != before and not search.is_over:
            before = search.best
            _by_halves(search)
            _by_values(search)
    return search.best, search.tries
