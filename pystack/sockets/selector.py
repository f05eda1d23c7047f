"""`StackSelector`: `selectors.DefaultSelector` that asks Stacks which of their sockets are ready.

A Stack's socket shows its readiness by a descriptor, which costs two of the kernel's calls or more
each time it changes. This selector polls the descriptors of others, and asks the Stack about its
own: no call of the kernel's, as long as there is always something to do. What it can't ask about
(a Stack of a World or of another process, another descriptor of the same socket) is polled.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterator, Mapping
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE, SelectorKey
from typing import Any

from pystack._native import StackHandle
from pystack.errors import StackPanic
from pystack.sockets import descriptors
from pystack.sockets.notifier import READ, WRITE, Notifier

__all__ = ["StackSelector"]


class _Asked:
    """A Stack, and those of its sockets that one selector asks about."""

    __slots__ = ("bell", "handle", "keys", "notifier")

    def __init__(self, handle: StackHandle) -> None:
        self.handle = handle
        self.notifier = Notifier(handle)
        self.bell = self.notifier.fileno()
        self.keys: dict[int, SelectorKey] = {}

    def look(self, ready: list[tuple[SelectorKey, int]], waits: bool, always: bool) -> None:
        """Adds what is ready.

        Args:
            ready: To which.
            waits: If nothing is ready, the bell is waited for next.
            always: It may be waited for at any time.

        Raises:
            OSError: EBADF, the Stack is closed, or was inherited.
            StackPanic: The engine has failed.
        """
        notifier = self.notifier
        for number, mask in notifier.take() if always else notifier.look(len(self.keys), waits):
            key = self.keys.get(number)
            if key is not None:
                events = (EVENT_WRITE if mask & ~READ else 0) | (EVENT_READ if mask & ~WRITE else 0)
                ready.append((key, events & key.events))


class _Keys(Mapping[Any, SelectorKey]):
    """All keys of a selector, by what was registered or by its descriptor."""

    def __init__(self, selector: StackSelector, polled: Mapping[Any, SelectorKey]) -> None:
        self._selector, self._polled = selector, polled

    def __getitem__(self, fileobj: Any) -> SelectorKey:
        fd = self._selector._ps_fd(fileobj)
        if fd is not None:
            asked, number = self._selector._ps_asked[fd]
            return asked.keys[number]
        key = self._polled[fileobj]
        if isinstance(key.data, _Asked):
            raise KeyError(f"{fileobj!r} is not registered")
        return key

    def __len__(self) -> int:
        return len(self._polled) - len(self._selector._ps_stacks) + len(self._selector._ps_asked)

    def __iter__(self) -> Iterator[Any]:
        yield from self._selector._ps_asked
        for fd, key in self._polled.items():
            if not isinstance(key.data, _Asked):
                yield fd


class StackSelector(selectors.DefaultSelector):
    """See the module. `selectors.DefaultSelector` is this class in a block of `Stack.installed`.

    ``asyncio.SelectorEventLoop(StackSelector())`` has it elsewhere. It differs from its base class
    in nothing that can be seen but the calls it makes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ps_stacks: dict[StackHandle, _Asked] = {}
        self._ps_asked: dict[int, tuple[_Asked, int]] = {}  # by descriptor
        self._ps_polled: Mapping[Any, SelectorKey] = super().get_map()
        self._ps_keys: _Keys | None = _Keys(self, self._ps_polled)
        self._ps_is_polled = False  # somebody waits for this selector's own descriptor

    def _ps_fd(self, fileobj: Any) -> int | None:
        """The descriptor, if a Stack is asked about it."""
        fd = _number_of(fileobj)
        if fd is not None:
            return fd if fd in self._ps_asked else None
        for fd, (asked, number) in self._ps_asked.items():  # it has been closed since
            if asked.keys[number].fileobj is fileobj:
                return fd
        return None

    def _ps_ask(self, fileobj: Any, fd: int, events: int, data: Any) -> SelectorKey | None:
        """Has a Stack asked about a descriptor; None: it has to be polled."""
        opened = descriptors.find(fd)
        if opened is None or opened.handle.remote or self._ps_keys is None:
            return None
        number = opened.number
        asked = self._ps_stacks.get(opened.handle)
        if asked is not None and number in asked.keys:
            return None  # it is there by another descriptor
        try:
            if asked is None:
                asked = _Asked(opened.handle)
                super().register(asked.bell, EVENT_READ, asked)
                self._ps_stacks[opened.handle] = asked
            # Another thread may be in `select`: what that is told of, it has to find here.
            key = asked.keys[number] = SelectorKey(fileobj, fd, events, data)
            self._ps_asked[fd] = asked, number
            asked.notifier.change(number, _interest(events))
        except (OSError, StackPanic):
            self._ps_asked.pop(fd, None)
            if asked is not None:
                asked.keys.pop(number, None)
            return None
        return key

    def _ps_poll_all(self, gone: _Asked) -> None:
        """Polls the descriptors of a Stack that has ended: they show what is left of it."""
        super().unregister(gone.bell)
        del self._ps_stacks[gone.handle]
        for key in gone.keys.values():
            del self._ps_asked[key.fd]
            with suppress(OSError, KeyError, ValueError):  # it is closed
                super().register(key.fileobj, key.events, key.data)
        gone.notifier.close()

    def register(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """See `selectors.BaseSelector.register`."""
        fd = _number_of(fileobj)
        if fd in self._ps_asked:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        key = None
        if fd is not None and _are_valid(events) and fd not in self._ps_polled:
            key = self._ps_ask(fileobj, fd, events, data)
        return super().register(fileobj, events, data) if key is None else key

    def unregister(self, fileobj: Any) -> SelectorKey:
        """See `selectors.BaseSelector.unregister`."""
        fd = self._ps_fd(fileobj)
        if fd is None:
            return super().unregister(fileobj)
        asked, number = self._ps_asked[fd]
        asked.notifier.forget(number)
        del self._ps_asked[fd]
        return asked.keys.pop(number)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> SelectorKey:
        """See `selectors.BaseSelector.modify`."""
        fd = self._ps_fd(fileobj)
        if fd is None:
            return super().modify(fileobj, events, data)
        asked, number = self._ps_asked[fd]
        key = asked.keys[number]
        if events != key.events:
            if not _are_valid(events):
                self.unregister(fileobj)
                raise ValueError(f"Invalid events: {events!r}")
            asked.notifier.change(number, _interest(events))
        key = asked.keys[number] = key._replace(events=events, data=data)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """See `selectors.BaseSelector.select`."""
        ready: list[tuple[SelectorKey, int]] = []
        waits = timeout is None or timeout > 0
        for asked in tuple(self._ps_stacks.values()):
            self._ps_look(asked, ready, waits)
        are_given = bool(ready)  # those of all Stacks
        for key, events in super().select(0 if are_given else timeout):
            if not isinstance(key.data, _Asked):
                ready.append((key, events))
            elif not are_given:
                self._ps_look(key.data, ready, waits=False)
        return ready

    def _ps_look(self, asked: _Asked, ready: list[tuple[SelectorKey, int]], waits: bool) -> None:
        try:
            asked.look(ready, waits, self._ps_is_polled)
        except (OSError, StackPanic):
            self._ps_poll_all(asked)

    def fileno(self) -> int:
        """See `selectors.EpollSelector.fileno`."""
        fd = int(super().fileno())
        if not self._ps_is_polled:
            self._ps_is_polled = True
            for asked in tuple(self._ps_stacks.values()):
                self._ps_look(asked, [], waits=False)
        return fd

    def get_map(self) -> Mapping[Any, SelectorKey]:
        """See `selectors.BaseSelector.get_map`."""
        return self._ps_keys  # type: ignore[return-value]  # None once closed, as the base class's

    def close(self) -> None:
        """See `selectors.BaseSelector.close`."""
        for asked in self._ps_stacks.values():
            asked.notifier.close()
        self._ps_stacks, self._ps_asked, self._ps_keys = {}, {}, None
        super().close()


def _are_valid(events: int) -> bool:
    return bool(events) and not events & ~(EVENT_READ | EVENT_WRITE)


def _interest(events: int) -> int:
    return (READ if events & EVENT_READ else 0) | (WRITE if events & EVENT_WRITE else 0)


def _number_of(fileobj: Any) -> int | None:
    """The descriptor; None: there is none, as the base class will say."""
    try:
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
    except (AttributeError, TypeError, ValueError):
        return None
    return fd if fd >= 0 else None
