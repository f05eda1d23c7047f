"""What a call came to, to be compared between the kernel's sockets and a Stack's."""

from __future__ import annotations

import enum
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from namespace import Namespace

    import pystack

PLAIN = (int, float, str, bytes, bool, type(None))


def told(value: Any) -> Any:
    """A value without what has to differ: numbers of descriptors, ports, objects' places."""
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *map(told, value)
    if isinstance(value, dict):
        return "dict", *sorted((key, told(one)) for key, one in value.items())
    return "an object"


def outcome(call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the call returns, or the class and errno of what it raises.

    Texts are compared where OpenSSL's reason or Python's own check is what they say.
    """
    try:
        return "returns", told(call(*arguments, **named))
    except ssl.SSLError as error:
        return "raises", type(error).__name__, error.errno
    except socket.gaierror as error:
        return "raises", "gaierror", error.errno
    except OSError as error:
        return "raises", type(error).__name__, error.errno
    except (TypeError, ValueError, NotImplementedError, OverflowError, AttributeError) as error:
        return "raises", type(error).__name__


def agree(kernel: Callable[[], Any], stack: Callable[[], Any], tries: int = 20) -> Any:
    """What both come to; an assertion fails where they never come to the same.

    A busy kernel takes in a packet to itself only after the call that sent it, so that what is
    asked next doesn't know of it yet.
    """
    for _ in range(tries - 1):
        wanted = kernel()
        if stack() == wanted:
            return wanted
    wanted = kernel()
    assert stack() == wanted
    return wanted


def compare(
    kernel: Namespace, net: pystack.Stack, function: Callable[..., Any], *arguments: Any
) -> Any:
    """Runs a function of the module `socket` on both, which have to agree; what it comes to."""
    return agree(
        lambda: kernel.call(function, socket, *arguments),
        lambda: function(net.sockets, *arguments),
    )
