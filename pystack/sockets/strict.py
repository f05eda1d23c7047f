"""In a strict block, anything that would use the kernel's network is refused with an explanation.

Python reports each socket created and each name looked up to an audit hook (PEP 578). A hook can't
be removed, so there is a single one, which does nothing while no strict block is open. C code that
makes its own system calls is left to `pystack run`.
"""

from __future__ import annotations

import socket as kernel
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pystack.errors import OffStackError
from pystack.sockets.early import kernel_socket

__all__ = ["REMEDY", "is_strict", "refuse", "strictly", "tell_of_refusals"]

REMEDY = "Without strict (pystack run --no-strict) it goes by the kernel."

# AF_PACKET too: its frames bypass the Stack. -1 is the default, when it is left out.
_FAMILIES = {
    int(kernel.AF_INET): "an IPv4 socket",
    int(kernel.AF_INET6): "an IPv6 socket",
    int(getattr(kernel, "AF_PACKET", kernel.AF_INET)): "a packet socket",
    -1: "an IPv4 socket",
}
# Where what leaves a Stack is refused, and what to do about it.
_rules: list[tuple[Callable[[], object], str]] = []
_tellers: list[Callable[[str], None]] = []
_told: set[str] = set()
_MOST_TOLD = 100
_hooked = False


def refuse(what: str, remedy: str = REMEDY) -> OffStackError:
    """The exception to raise, reported once to the listener, if there is one."""
    error = OffStackError(what, remedy)
    text = str(error.strerror)
    if text not in _told and len(_told) < _MOST_TOLD:  # every name asked for is a different text
        _told.add(text)
        for teller in _tellers:
            teller(text)
    return error


def tell_of_refusals(teller: Callable[[str], None]) -> None:
    """Reports each refusal, too: programs may catch the exception and go on."""
    _tellers.append(teller)


def _judge_socket(remedy: str, sock: Any, family: int, *_rest: Any) -> None:
    if family not in _FAMILIES:
        return
    kind = type(sock)
    what = f"{kind.__module__}.{kind.__qualname__} asked the kernel for {_FAMILIES[family]}"
    # Past the hook: the caller of `_socket.socket.__init__`.
    caller = sys._getframe(2)
    if caller.f_code is not kernel_socket.__init__.__code__:
        raise refuse(what, f"Use the module socket. {remedy}")
    if caller.f_locals["fileno"] is not None:
        return  # it is on something that is open
    if kind is kernel_socket:
        raise refuse(what, remedy)
    raise refuse(
        f"{what}, being derived from its class",
        f"Import what defines it after the Stack is installed. {remedy}",
    )


def _is_number(host: Any) -> bool:
    """Whether it is a literal address, which needs no resolver."""
    if isinstance(host, (bytes, bytearray)):
        host = host.decode("ascii", "replace")
    if not host or not isinstance(host, str):
        return True
    for family in (kernel.AF_INET, kernel.AF_INET6):
        with suppress(OSError, ValueError):
            kernel.inet_pton(family, host.partition("%")[0])
            return True
    return False


def _judge_name(remedy: str, host: Any, *_rest: Any) -> None:
    if not _is_number(host):
        raise refuse(
            f"the host's resolver was asked for {host!r}", f"Use the module socket. {remedy}"
        )


def _judge_address(remedy: str, address: Any, *_rest: Any) -> None:
    raise refuse(
        f"the host's resolver was asked for the name of {address!r}",
        f"Use the module socket. {remedy}",
    )


_JUDGES: dict[str, Callable[..., None]] = {
    "socket.__new__": _judge_socket,
    "socket.getaddrinfo": _judge_name,
    "socket.gethostbyname": _judge_name,
    "socket.gethostbyaddr": _judge_address,
    "socket.getnameinfo": _judge_address,
}


def is_strict() -> bool:
    """Whether what leaves a Stack is refused here."""
    return _remedy() is not None


def _remedy() -> str | None:
    """What to do about what leaves a Stack here; None: it may."""
    return next((remedy for where, remedy in _rules if where() is not None), None)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    judge = _JUDGES.get(event)
    if judge is None:
        return
    remedy = _remedy()
    if remedy is not None:
        judge(remedy, *arguments)


@contextmanager
def strictly(where: Callable[[], object], remedy: str = REMEDY) -> Iterator[None]:
    """Refuses in the block what leaves a Stack.

    Args:
        where: Gives something else than None where that is so.
        remedy: What to do instead.
    """
    global _hooked  # noqa: PLW0603 - one hook a process
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hook)
    _rules.append((where, remedy))
    try:
        yield
    finally:
        _rules.remove((where, remedy))
