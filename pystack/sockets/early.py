"""Names that modules took from `socket` before a Stack replaced it.

Modules' names are found by identity with the originals. The class `socket.socket`, which may also
hide in an attribute or a default argument, makes the Stack's sockets itself. A class derived from
it can't be changed; see `strict`.
"""

from __future__ import annotations

import _socket
import contextvars
import socket as kernel
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Protocol, TypeAlias

from pystack._native import StackHandle
from pystack.sockets.address import FAMILIES
from pystack.sockets.patch import Layer, replaced

__all__ = [
    "FUNCTIONS",
    "ORIGINALS",
    "Choose",
    "StackSockets",
    "executor_places",
    "give_back",
    "in_context_of_caller",
    "kernel_socket",
    "places_for",
]


class StackSockets(Protocol):
    """A Stack's `SocketModule`, as what takes the place of `socket`; it has its names, too."""

    _handle: StackHandle

    @property
    def socket(self) -> Callable[..., Any]:
        """The class of its sockets."""
        ...

    def getaddrinfo(self, host: Any, port: Any) -> Any:
        """As `socket.getaddrinfo`."""
        ...


# Whose sockets are meant where this is called; None: the kernel's.
Choose: TypeAlias = "Callable[[], StackSockets | None]"

# create_connection, create_server and has_dualstack_ipv6 are the library's own, which find these.
FUNCTIONS = (
    "fromfd",
    "dup",
    "close",
    "getaddrinfo",
    "getfqdn",
    "getnameinfo",
    "gethostbyaddr",
    "gethostbyname",
    "gethostbyname_ex",
    "if_nameindex",
    "if_nametoindex",
    "if_indextoname",
)
# The kernel's, also while others stand in their places.
kernel_socket = kernel.socket
ORIGINALS: dict[str, Any] = {
    name: getattr(kernel, name) for name in ("socket", "SocketType", *FUNCTIONS)
}
_original_getaddrinfo = _socket.getaddrinfo
_original_new: Any = _socket.socket.__new__


def _names_of(module: Any) -> dict[str, Any]:
    """A module's contents; a lazily loaded module is left alone."""
    if not issubclass(type(module), ModuleType):
        return {}
    # A copy: another thread may be importing there.
    names: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return names.copy()


def _others() -> Iterator[tuple[dict[str, Any], Any]]:
    """The modules that are not pystack's, and what is in them."""
    modules: list[Any] = list(sys.modules.values())
    for module in modules:
        names = _names_of(module)
        if str(names.get("__name__")).partition(".")[0] != "pystack":
            yield names, module


def _early_names(replacements: Mapping[str, Any]) -> Layer:
    """The names of all modules that hold one of the originals, or would without other blocks."""
    wanted = {id(ORIGINALS[name]): value for name, value in replacements.items()}
    held: Layer = replaced()
    for names, module in _others():
        for name, value in names.items():
            if id(value) in wanted:
                held.setdefault((module, name), value)
    return {
        place: wanted[id(value)]
        for place, value in held.items()
        if id(value) in wanted and not (isinstance(value, type) and _derives(place[0]))
    }


def _derives(module: Any) -> bool:
    """Whether a module has classes derived from the kernel's, and so calls its methods."""
    return module is _socket or any(
        isinstance(one, type) and one is not kernel_socket and issubclass(one, kernel_socket)
        for one in _names_of(module).values()
    )


def _new(choose: Choose) -> Callable[..., Any]:
    """`socket.socket.__new__` that makes a Stack's sockets where those are meant."""

    def __new__(  # noqa: N807 - it is called so in tracebacks
        cls: Any,
        family: int = -1,
        type: int = -1,
        proto: int = -1,
        fileno: int | None = None,
        **more: Any,
    ) -> Any:
        ours = fileno is None and not more and (family == -1 or family in FAMILIES)
        if ours and cls is kernel_socket:
            current = choose()
            if current is not None:
                return current.socket(family, type, proto)
        return _original_new(cls, family, type, proto, fileno, **more)

    return __new__


def _getaddrinfo(choose: Choose) -> Callable[..., Any]:
    """`_socket.getaddrinfo`, which `socket.getaddrinfo` asks wherever that is held."""

    def getaddrinfo(*arguments: Any, **named: Any) -> Any:
        current = choose()
        function = _original_getaddrinfo if current is None else current.getaddrinfo
        return function(*arguments, **named)

    return getaddrinfo


def places_for(replacements: Mapping[str, Any], choose: Choose) -> Layer:
    """Where names of the module `socket` are to be replaced: there, and where they were taken."""
    return {
        **_early_names(replacements),
        **{(kernel, name): value for name, value in replacements.items()},
        (kernel_socket, "__new__"): _new(choose),
        (_socket, "getaddrinfo"): _getaddrinfo(choose),
    }


def give_back(replacements: Mapping[str, Any]) -> None:
    """Has modules that took names in a block, as those imported there, have them as they are now.

    Args:
        replacements: What the block had in the module `socket`; nothing is done while it is there.
    """
    if kernel.socket is replacements["socket"]:
        return  # another block of the same Stack is open
    names = {id(value): name for name, value in replacements.items()}
    names[id(replacements["socket"])] = "socket"  # SocketType is the same
    for its_names, module in _others():
        for name, value in its_names.items():
            if id(value) in names:
                same = name if replacements.get(name) is value else names[id(value)]
                setattr(module, name, vars(kernel)[same])


def in_context_of_caller(original: Callable[..., Any], wanted: Callable[[], bool]) -> Any:
    """A loop's `run_in_executor` whose threads run in a copy of the caller's context.

    As `asyncio.to_thread` does; `loop.getaddrinfo` and `loop.getnameinfo` go by it, too.
    """
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - see `executor_places`

    def run_in_executor(self: Any, executor: Any, func: Any, *arguments: Any) -> Any:
        threads = executor is None or isinstance(executor, ThreadPoolExecutor)
        if not threads or not wanted():
            return original(self, executor, func, *arguments)
        return original(self, executor, contextvars.copy_context().run, func, *arguments)

    return run_in_executor


def executor_places(choose: Choose) -> Layer:
    """Where the stock loop's executor is to be replaced by one as `in_context_of_caller` has it."""
    # Not with pystack itself: few need it, and it takes as long as all of pystack.
    from asyncio.base_events import BaseEventLoop  # noqa: PLC0415

    original: Any = BaseEventLoop.run_in_executor
    wanted = in_context_of_caller(original, lambda: choose() is not None)
    return {(BaseEventLoop, "run_in_executor"): wanted}
