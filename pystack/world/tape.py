"""The tape: all that chance decided in a World, to be read, changed and played again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pystack._native import WorldClock, check, ffi, lib
from pystack.world.faults import Fault

__all__ = ["Choice", "Tape"]

_KINDS = {
    "turn": lib.PS_CHOICE_TURN,
    "task": lib.PS_CHOICE_TASK,
    "lost": lib.PS_CHOICE_LOST,
    "corrupt": lib.PS_CHOICE_CORRUPT,
    "twice": lib.PS_CHOICE_DUPLICATE,
    "late": lib.PS_CHOICE_LATE,
    "twin": lib.PS_CHOICE_TWIN_LATE,
    "choice": lib.PS_CHOICE_OWN,
}
_NAMES = {number: name for name, number in _KINDS.items()}
_WORD = re.compile(
    r"(?P<kind>[a-z]+)(?::(?P<stream>[^=]+?))?:(?P<number>\d+)(?:=(?P<value>-?\d+))?"
)
_VERSION = 1


@dataclass(frozen=True, order=True)
class Choice:
    """One decision of chance that differs from the ordinary.

    As text it is a word: `turn:17=1` (the 17th time that several threads could go on, it was not
    the first of them but the next), `task:3=2` (the same for asyncio's tasks), `lost:a>b:5` (the
    fifth frame that a sent to b), `corrupt:a>b:5=100` (its 100th bit was flipped), `twice:a>b:5`,
    `late:a>b:5=1000` (by so many microseconds; `twin:` if it is the second of two),
    `choice:name:1=2` (`World.choose`).

    Attributes:
        kind: The word before the first colon.
        stream: The direction of a link, "a>b" ("a>b#2" for a second link between the same two); or
            the name of a choice.
        number: Which of them, from 1.
        value: What was chosen; 0 is the ordinary.
    """

    kind: str
    stream: str
    number: int
    value: int = 1

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(f"a choice is one of {', '.join(_KINDS)}, not {self.kind!r}")
        if bool(self.stream) == (self.kind in ("turn", "task")):
            raise ValueError(f"{self} names {'no' if not self.stream else 'a'} stream")
        if self.number < 1:
            raise ValueError(f"choices are counted from 1, not {self.number}")
        if self.value < 0 and self.kind not in ("late", "twin"):
            raise ValueError(f"{self} has a negative value")

    @classmethod
    def parse(cls, word: str) -> Choice:
        """A choice from its word; ValueError if it is none."""
        found = _WORD.fullmatch(word)
        if found is None:
            raise ValueError(f"{word!r} is no choice, as `lost:a>b:5` or `turn:17=1` would be")
        value = found["value"]
        return cls(
            found["kind"],
            found["stream"] or "",
            int(found["number"]),
            1 if value is None else int(value),
        )

    def __str__(self) -> str:
        stream = f":{self.stream}" if self.stream else ""
        value = "" if self.kind in ("lost", "twice") else f"={self.value}"
        return f"{self.kind}{stream}:{self.number}{value}"


Entry = Choice | Fault


def _entry(one: Entry | str) -> Entry:
    if not isinstance(one, str):
        return one
    return Fault.parse(one) if "@" in one else Choice.parse(one)


@dataclass(frozen=True)
class Tape:
    """What differs from the ordinary in one run: `World(tape=tape)` does just that again.

    Whatever isn't on it is ordinary: the thread or task that became ready first goes on, a frame
    arrives as it was sent. So a tape can be written by hand, and be shortened:
    `Tape(7, ["turn:17=1", "lost:a>b:5"])`.

    Attributes:
        seed: Of the World: its hosts' own randomness (ports, sequence numbers) comes from it.
        entries: `Choice` and `Fault`; words are taken for them.

    Raises:
        ValueError: A word is none.
    """

    seed: int = 0
    entries: tuple[Entry, ...] = ()

    def __init__(self, seed: int = 0, entries: Iterable[Entry | str] = ()) -> None:
        object.__setattr__(self, "seed", seed)
        object.__setattr__(self, "entries", tuple(_entry(one) for one in entries))

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices on it."""
        return tuple(one for one in self.entries if isinstance(one, Choice))

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The faults on it."""
        return tuple(one for one in self.entries if isinstance(one, Fault))

    def including(self, *entries: Entry | str) -> Tape:
        """Another tape with these, too."""
        return Tape(self.seed, (*self.entries, *entries))

    def excluding(self, *entries: Entry | str) -> Tape:
        """Another tape without these."""
        gone = {_entry(one) for one in entries}
        return Tape(self.seed, (one for one in self.entries if one not in gone))

    @classmethod
    def parse(cls, text: str) -> Tape:
        """A tape from its text, as `str` gives it: `seed=7 turn:17=1 lost:a>b:5`."""
        seed, entries = 0, []
        for word in text.split():
            if word.startswith("seed="):
                try:
                    seed = int(word.removeprefix("seed="))
                except ValueError:
                    raise ValueError(f"a tape's seed is a whole number, not {word!r}") from None
            else:
                entries.append(word)
        return cls(seed, entries)

    def __str__(self) -> str:
        return " ".join([f"seed={self.seed}", *map(str, self.entries)])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes it to a file (JSON)."""
        found = {"pystack-tape": _VERSION, "seed": self.seed, "entries": [*map(str, self.entries)]}
        Path(path).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tape:
        """Reads what `save` has written, perhaps changed since.

        Raises:
            ValueError: It is no tape, or of another version.
        """
        try:
            found = json.loads(Path(path).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)} is no tape: {error}") from error
        if not isinstance(found, dict) or found.get("pystack-tape") != _VERSION:
            raise ValueError(f"{os.fspath(path)} is no tape of version {_VERSION}")
        return cls(int(found["seed"]), map(str, found["entries"]))


class Deck:
    """Where a World's choices are noted, and those of a tape are taken from.

    Args:
        clock: The World's.
        tape: What to play; None: chance decides.
    """

    def __init__(self, clock: WorldClock, tape: Tape | None) -> None:
        self._world = clock.pointer
        self._names: dict[int, str] = {0: ""}
        self._given: dict[str, list[Choice]] = {}
        self._counts: dict[int, int] = {}
        self.replays = tape is not None
        if tape is None:
            return
        lib.ps_tape_replay(self._world)
        for one in tape.choices:
            self._given.setdefault(one.stream, []).append(one)
        self.name_stream(0, "")

    def name_stream(self, stream: int, name: str) -> None:
        """Gives a stream its name, before anything is chosen in it."""
        self._names[stream] = name
        for one in self._given.get(name, ()):
            self._put(stream, one)

    def _put(self, stream: int, one: Choice) -> None:
        raw = ffi.new("struct ps_choice *", (_KINDS[one.kind], stream, one.number, one.value))
        check(lib.ps_tape_put(self._world, raw))

    def choose(self, stream: int, name: str, value: int) -> int:
        """A choice of one's own: the value, or what the tape says."""
        if stream not in self._names:
            self.name_stream(stream, name)
        number = self._counts[stream] = self._counts.get(stream, 0) + 1
        raw = ffi.new("struct ps_choice *", (lib.PS_CHOICE_OWN, stream, number, value))
        return int(lib.ps_tape_value(self._world, raw))

    @property
    def counts(self) -> dict[int, int]:
        """How many choices of one's own there were in each stream."""
        return dict(self._counts)

    @counts.setter
    def counts(self, counts: dict[int, int]) -> None:
        self._counts = dict(counts)

    def read(self) -> list[Choice]:
        """All choices until now.

        Raises:
            MemoryError: There was none to note them.
        """
        count = int(lib.ps_tape_read(self._world, ffi.NULL, 0))
        if count < 0:
            raise MemoryError("there was no memory to note all of a World's choices")
        raw: Any = ffi.new("struct ps_choice[]", max(count, 1))
        lib.ps_tape_read(self._world, raw, count)
        return [
            Choice(_NAMES[one.kind], self._names[one.stream], one.number, one.value)
            for one in raw[0:count]
        ]
