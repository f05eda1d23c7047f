"""Libraries with their own event loop or sockets, below the module `socket`.

What a Stack can't take over from them is refused in words; where a library has a choice, it is
given the one that works. They are looked after when they are imported, if they are not yet.
"""

from __future__ import annotations

import _socket
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from types import FunctionType, ModuleType
from typing import Any

from pystack.sockets.children import spawn_places
from pystack.sockets.confined import places_for_children
from pystack.sockets.early import Choose, in_context_of_caller, kernel_socket
from pystack.sockets.patch import Layer, extend
from pystack.sockets.strict import REMEDY, refuse, strictly

__all__ = ["watching_libraries"]

_STOCK_LOOP = "Use asyncio's own event loop."
_THREADS = f"Use threads or asyncio. {REMEDY}"
_ANY_LOOP = f"{_STOCK_LOOP} {REMEDY}"
# What can't be imported in a strict block, and what to do. Other blocks refuse uvloop call by call.
_NOT_IMPORTED = {
    "eventlet": _THREADS,
    "gevent": _THREADS,
    "pycares": f"Use the module socket's resolver, or dnspython. {REMEDY}",
    "rloop": _ANY_LOOP,
    "uvloop": _STOCK_LOOP,
    "winloop": _ANY_LOOP,
    "zuvloop": _ANY_LOOP,
}


@dataclass(eq=False)
class _Watch:
    """An open block: the names it replaces, where it applies, and how strictly."""

    layer: Layer
    choose: Choose
    strict: bool
    is_open: bool = True

    def wants(self) -> bool:
        return self.is_open and self.choose() is not None


# --- what is done to each -----------------------------------------------------------------


def _uvloop(module: ModuleType, watch: _Watch) -> Layer:
    """Its calls that make sockets are libuv's own; those with `sock_` in their names are not.

    Names are asked of the module socket, as the stock loop does: `sock_connect` does so for
    literals, too.
    """
    loop: Any = getattr(module, "Loop", None)
    if loop is None:
        return {}

    def refusing(name: str) -> Callable[..., Any]:
        original = getattr(loop, name)

        def method(self: Any, *arguments: Any, **named: Any) -> Any:
            given = any(isinstance(one, kernel_socket) for one in (*arguments, *named.values()))
            if given or not watch.wants():
                return original(self, *arguments, **named)
            raise refuse(f"uvloop's {name} opens the kernel's own sockets", _STOCK_LOOP)

        method.__name__ = name
        return method

    places: Layer = {
        (loop, name): refusing(name)
        for name in (
            "connect_accepted_socket",
            "create_connection",
            "create_datagram_endpoint",
            "create_server",
        )
    }
    places[loop, "getaddrinfo"] = _asking(loop.getaddrinfo, _getaddrinfo, watch)
    places[loop, "getnameinfo"] = _asking(loop.getnameinfo, _getnameinfo, watch)
    places[loop, "run_in_executor"] = in_context_of_caller(loop.run_in_executor, watch.wants)
    if watch.strict:
        original = loop.__new__

        def __new__(cls: Any, *arguments: Any, **named: Any) -> Any:  # noqa: N807
            if watch.wants():
                raise refuse("uvloop's event loop opens the kernel's own sockets", _STOCK_LOOP)
            return original(cls, *arguments, **named)

        places[loop, "__new__"] = __new__
    return places


async def _getaddrinfo(
    loop: Any,
    host: Any,
    port: Any,
    *,
    family: int = 0,
    type: int = 0,
    proto: int = 0,
    flags: int = 0,
) -> Any:
    return await loop.run_in_executor(
        None, lambda: socket.getaddrinfo(host, port, family, type, proto, flags)
    )


async def _getnameinfo(loop: Any, sockaddr: Any, flags: int = 0) -> Any:
    return await loop.run_in_executor(None, lambda: socket.getnameinfo(sockaddr, flags))


def _asking(original: Any, ours: Callable[..., Any], watch: _Watch) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        return (ours if watch.wants() else original)(self, *arguments, **named)

    method.__name__ = original.__name__
    return method


def _trio(module: ModuleType, watch: _Watch) -> Layer:
    """It takes a socket only if its class is `socket.socket` itself, and has that one's methods.

    So a Stack's socket is given to trio's own function with the Stack's module in the place of
    `socket`, and its methods are looked up by their names.
    """
    kind: Any = getattr(module, "_SocketType", None)
    if kind is None:
        return {}
    original = kind.__init__
    plain: Any = getattr(original, "__wrapped__", original)  # a block inside another

    def __init__(self: Any, sock: Any) -> None:  # noqa: N807
        chosen = watch.choose() if watch.is_open else None
        if chosen is None or type(sock) is not chosen.socket:
            original(self, sock)
            return
        names = {**plain.__globals__, "_stdlib_socket": chosen}
        FunctionType(plain.__code__, names, closure=plain.__closure__)(self, sock)

    __init__.__wrapped__ = plain  # type: ignore[attr-defined]
    helper: Any = kind._nonblocking_helper

    async def _nonblocking_helper(
        self: Any, wait: Any, function: Any, *arguments: Any, **named: Any
    ) -> Any:
        if not isinstance(self._sock, _socket.socket):
            function = getattr(type(self._sock), function.__name__, function)
        return await helper(self, wait, function, *arguments, **named)

    return {(kind, "__init__"): __init__, (kind, "_nonblocking_helper"): _nonblocking_helper}


def _uvicorn(module: ModuleType, watch: _Watch) -> Layer:
    """Its loop "auto" is uvloop if that is installed."""
    places: Layer = {}
    # The second pair: before uvicorn 0.36.
    for name, stock in (
        ("auto_loop_factory", "asyncio_loop_factory"),
        ("auto_loop_setup", "asyncio_setup"),
    ):
        original = getattr(module, name, None)
        if original is not None:
            places[module, name] = _stock_loop_instead(original, stock, watch)
    return places


def _stock_loop_instead(original: Any, stock: str, watch: _Watch) -> Callable[..., Any]:
    def choose_loop(*arguments: Any, **named: Any) -> Any:
        if not watch.wants():
            return original(*arguments, **named)
        import uvicorn.loops.asyncio  # noqa: PLC0415 - it is there, for its neighbour calls

        return getattr(uvicorn.loops.asyncio, stock)(*arguments, **named)

    return choose_loop


def _zmq(module: ModuleType, watch: _Watch) -> Layer:
    """Transports other than inproc and ipc use libzmq's own sockets."""
    kind: Any = getattr(module, "Socket", None)
    if kind is None:
        return {}

    def refusing(name: str) -> Callable[..., Any]:
        original = getattr(kind, name)

        def method(self: Any, addr: Any, *arguments: Any, **named: Any) -> Any:
            text = addr.decode("utf-8", "replace") if isinstance(addr, bytes) else addr
            local = isinstance(text, str) and text.startswith(("inproc://", "ipc://", "vmci://"))
            if local or not isinstance(text, str) or not watch.wants():
                return original(self, addr, *arguments, **named)
            raise refuse(
                f"zmq's {name}({text!r}) opens the kernel's own sockets",
                "inproc and ipc work. In a block of pystack.outside() others go by the kernel.",
            )

        method.__name__ = name
        return method

    return {(kind, name): refusing(name) for name in ("bind", "connect")}


def _reduction(module: ModuleType, _watch: _Watch) -> Layer:
    """What it registers is the class that has the name; the kernel's sockets are pickled, too."""
    reduction: Any = module
    reduction.register(kernel_socket, reduction._reduce_socket)
    return {}


_PLACES: dict[str, Callable[[ModuleType, _Watch], Layer]] = {
    "multiprocessing.reduction": _reduction,
    "multiprocessing.spawn": lambda module, watch: spawn_places(module, watch.choose, watch.strict),
    "trio._socket": _trio,
    "uvicorn.loops.auto": _uvicorn,
    "uvloop": _uvloop,
    "zmq.sugar.socket": _zmq,
}


# --- when they are imported ---------------------------------------------------------------


class _Refusing:
    """A loader that refuses the import; `importlib.util.find_spec` still finds the module."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        raise ImportError(
            f"{spec.name} opens its own sockets on the kernel, bypassing the Stack: refused. "
            f"{_NOT_IMPORTED[spec.name]}",
            name=spec.name,
        )

    def exec_module(self, module: ModuleType) -> None:
        raise AssertionError(f"{module.__name__} can't have been made")


def _looked_after(spec: ModuleSpec) -> ModuleSpec:
    """Has the module changed as soon as it was executed."""
    loader: Any = spec.loader
    execute = loader.exec_module

    def exec_module(module: ModuleType) -> None:
        execute(module)
        for watch in _watches:
            extend(watch.layer, _PLACES[spec.name](module, watch))

    loader.exec_module = exec_module
    return spec


class _Finder:
    """First of `sys.meta_path` while a block is open."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in _NOT_IMPORTED and any(one.strict and one.wants() for one in _watches):
            return ModuleSpec(name, _Refusing())  # type: ignore[arg-type]
        if name in _PLACES:
            for finder in sys.meta_path:
                spec = None if finder is self else finder.find_spec(name, path, target)
                if spec is not None:
                    return _looked_after(spec)
        return None


_watches: list[_Watch] = []
_finder = _Finder()


@contextmanager
def watching_libraries(layer: Layer, choose: Choose, strict: bool) -> Iterator[None]:
    """In the block these libraries are looked after, and strictly, what else leaves is refused.

    Args:
        layer: What the block replaces.
        choose: Tells where a Stack is meant.
        strict: See `strictly`.
    """
    watch = _Watch(layer, choose, strict)
    if not _watches:
        sys.meta_path.insert(0, _finder)
    _watches.append(watch)
    try:
        for name, places in _PLACES.items():
            module = sys.modules.get(name)
            if module is not None:
                extend(layer, places(module, watch))
        if strict:
            extend(layer, places_for_children(choose))
        rule: AbstractContextManager[None] = strictly(choose) if strict else nullcontext()
        with rule:
            yield
    finally:
        watch.is_open = False
        _watches.remove(watch)
        # Gone if the interpreter exits inside the block.
        if not _watches and _finder in (sys.meta_path or ()):
            sys.meta_path.remove(_finder)
