"""A Stack's sockets for one task or thread: `Stack.active`.

While any block is open, the names in the module `socket` choose by a context variable: in the
block (and in the tasks that it starts) the Stack's, everywhere else the kernel's.
"""

from __future__ import annotations

import selectors
import socket as kernel
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from pystack.sockets.early import (
    FUNCTIONS,
    ORIGINALS,
    StackSockets,
    executor_places,
    give_back,
    kernel_socket,
    places_for,
)
from pystack.sockets.libraries import watching_libraries
from pystack.sockets.patch import patched
from pystack.sockets.selector import StackSelector
from pystack.sockets.socket import Socket

__all__ = ["active", "in_the_process", "inherited", "outside"]

_current: ContextVar[StackSockets | None] = ContextVar("pystack_active", default=None)
_outside: ContextVar[bool] = ContextVar("pystack_outside", default=False)


class _Chooser(type):
    """Makes a call of `ActiveSocket` itself a call of the class that the context says.

    So are its methods that class's, also for a program that replaces one; and a class that is
    derived from it is derived from that one.
    """

    def __new__(
        mcs, name: str, bases: tuple[type, ...], members: dict[str, Any], **named: Any
    ) -> Any:
        if kernel_socket in bases:  # this is `ActiveSocket` itself
            return super().__new__(mcs, name, bases, members, **named)
        chosen = _class_in_context()
        bases = tuple(chosen if one is ActiveSocket else one for one in bases)
        return types.new_class(name, bases, named, lambda space: space.update(members))

    def __getattribute__(cls, name: str) -> Any:
        current = None if cls is not ActiveSocket or name.startswith("__") else _in_context()
        if current is None:
            return super().__getattribute__(name)
        # To look is no reason to make it, in the midst of whatever import.
        return getattr(current._handle.socket_class or Socket, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        if cls is ActiveSocket:
            setattr(_class_in_context(), name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(cls, name: str) -> None:
        if cls is ActiveSocket:
            delattr(_class_in_context(), name)
        else:
            super().__delattr__(name)

    def __call__(cls, *arguments: Any, **named: Any) -> Any:
        if cls is not ActiveSocket:
            return super().__call__(*arguments, **named)
        return _class_in_context()(*arguments, **named)

    def __instancecheck__(cls, one: Any) -> bool:
        if cls is ActiveSocket:
            return isinstance(one, (kernel_socket, Socket))
        return super().__instancecheck__(one)

    def __subclasscheck__(cls, one: Any) -> bool:
        if cls is ActiveSocket:
            return issubclass(one, (kernel_socket, Socket))
        return super().__subclasscheck__(one)


class ActiveSocket(kernel_socket, metaclass=_Chooser):
    """`socket.socket` while a block of `Stack.active` is open."""

    __slots__ = ()


def _in_context() -> StackSockets | None:
    return None if _outside.get() else _current.get()


def _class_in_context() -> Any:
    current = _in_context()
    return kernel_socket if current is None else current.socket


def _function(name: str) -> Callable[..., Any]:
    original = ORIGINALS[name]

    def choose(*arguments: Any, **named: Any) -> Any:
        current = _in_context()
        return (original if current is None else getattr(current, name))(*arguments, **named)

    choose.__name__ = name
    choose.__doc__ = original.__doc__
    return choose


_CHOOSERS = {name: _function(name) for name in FUNCTIONS}


@contextmanager
def active(module: StackSockets, strict: bool) -> Iterator[None]:
    """See `Stack.active`."""
    replacements = {**_CHOOSERS, "socket": ActiveSocket, "SocketType": ActiveSocket}
    places = {**places_for(replacements, _in_context), **executor_places(_in_context)}
    try:
        with patched(places) as layer, watching_libraries(layer, _in_context, strict):
            token = _current.set(module)
            try:
                yield
            finally:
                # One that was never ended, as of a task that was given up, is ended by the garbage
                # collector, in whatever context.
                collected = isinstance(sys.exc_info()[1], GeneratorExit)
                with suppress(ValueError) if collected else nullcontext():
                    _current.reset(token)
    finally:
        give_back(replacements)


def inherited() -> Callable[[], AbstractContextManager[None]]:
    """What makes a block, in another thread, of what is meant by `socket` here."""
    module = _in_context()
    if module is None:
        return nullcontext
    return lambda: active(module, strict=False)


@contextmanager
def in_the_process(module: StackSockets, strict: bool) -> Iterator[None]:
    """See `Stack.installed`."""

    def choose() -> StackSockets | None:
        return None if _outside.get() else module

    replacements = {name: getattr(module, name) for name in ("socket", "SocketType", *FUNCTIONS)}
    places = {**places_for(replacements, choose), (selectors, "DefaultSelector"): StackSelector}
    try:
        with patched(places) as layer:  # noqa: SIM117 - in this order
            with watching_libraries(layer, choose, strict):
                yield
    finally:
        give_back(replacements)


_pristine = dict(vars(kernel))


class _KernelModule:
    """The module `socket` as it is without a Stack."""

    def __getattr__(self, name: str) -> Any:
        found = _pristine[name] if name in _pristine else getattr(kernel, name)
        if not isinstance(found, FunctionType):
            return found
        # So that what it calls in its module is the kernel's, too.
        made = FunctionType(found.__code__, _pristine, name, found.__defaults__)
        made.__kwdefaults__ = found.__kwdefaults__
        return made


@contextmanager
def outside() -> Iterator[Any]:
    """In this block, for this thread or task, nothing is carried onto a Stack or refused.

    For code that carries a Stack's own frames over the kernel's network: a NIC in Python that opens
    a socket while its Stack is installed. `pystack run` needs ``--no-strict`` for that besides.

    Yields:
        The module `socket`, with the kernel's sockets.
    """
    token = _outside.set(True)
    try:
        yield _KernelModule()
    finally:
        _outside.reset(token)
