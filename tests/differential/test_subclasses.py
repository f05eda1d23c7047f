"""Classes derived from the socket: they may use any name, and override any method."""

from __future__ import annotations

import re
import socket
from typing import Any

from differential import LOCAL, Place, differential


@differential
def subclasses(p: Place) -> Any:
    class Mine(p.module.socket):  # type: ignore[misc,name-defined]
        extra = 5

        def send(self, data: bytes) -> int:  # type: ignore[override]
            return super().send(data.upper())

    with Mine(socket.AF_INET, socket.SOCK_STREAM) as mine:
        listener = p.listener()
        mine.connect(listener.getsockname())
        made, _ = listener.accept()
        p.keep(made)
        mine.send(b"abc")
        mine.attribute = 1
        return made.recv(9), mine.extra, mine.attribute, isinstance(mine, p.module.socket)


@differential
def a_subclass_accepts_its_own(p: Place) -> Any:
    class Mine(p.module.socket):  # type: ignore[misc,name-defined]
        pass

    with Mine() as listener:
        listener.bind((LOCAL, 0))
        listener.listen()
        p.socket().connect(listener.getsockname())
        made, _ = listener.accept()
        with p.keep(made).dup() as other:
            return type(made).__name__, type(other).__name__


@differential
def a_subclass_whose_methods_use_each_other(p: Place) -> Any:
    class Mine(p.module.socket):  # type: ignore[misc,name-defined]
        def settimeout(self, timeout: float | None) -> None:
            super().setblocking(timeout is None)

        def recvmsg_into(self, *arguments: Any) -> Any:
            return super().recvmsg(64)

        def fileno(self) -> int:
            return super().detach()

        def getsockname(self) -> Any:
            return repr(self).count("laddr")

    near, far = p.pair()
    with Mine(fileno=near.detach()) as mine:
        mine.settimeout(0)
        blocking = mine.getblocking()
        mine.setblocking(True)
        far.sendall(b"abc")
        got = mine.recvmsg_into([bytearray(9)])[0]
        number = mine.detach()
        with p.module.socket(fileno=number) as again:
            again.sendall(b"def")
            return blocking, got, far.recv(9), mine.fileno()


_NAMES = re.findall(
    r"\w+",
    """_accept_number _address _connect _control _descriptor _family _fileno _fd _flag
    _handle _linger _name _number _open _peer _port _queue _receive _receive_into
    _received _recv _repeat _resolve _said _send _send_all _send_rest _sender _show _sock
    _socket _source _stack _take _timeout _type _wait""",
)


@differential
def a_subclass_with_private_names_of_its_own(p: Place) -> Any:
    def mine(*_arguments: Any) -> Any:
        raise AssertionError("called")

    base: Any = p.module.socket
    methods = type("Methods", (base,), dict.fromkeys(_NAMES, mine))
    values = type("Values", (base,), {})
    said: list[Any] = []
    for kind in methods, values:
        near, far = p.pair()
        with kind(fileno=near.detach()) as s:
            if kind is values:
                for name in _NAMES:
                    setattr(s, name, name)
            s.settimeout(5)
            far.sendall(b"abcdefghi")
            said += [s.recv(2), s.recv_into(bytearray(2)), s.recvmsg(2)[0], s.recvfrom(2)[0]]
            said += [s.send(b"a"), s.sendall(b"b"), s.sendmsg([b"c"])]
            with far.makefile("rb") as file:
                said += [file.read(3)]
            said += [s.gettimeout(), int(s.type), s.getsockopt(socket.SOL_SOCKET, 3)]
            with s.dup() as other:
                said += [other.recv(1), s.shutdown(socket.SHUT_WR), far.recv(1)]
            said += [[getattr(s, name) for name in _NAMES] == _NAMES]
    with methods() as listener:
        listener.bind((LOCAL, 0))
        listener.listen()
        with methods() as client:
            said += [
                client.connect(listener.getsockname()),
                p.keep(listener.accept()[0]).send(b"x"),
            ]
            said += [client.recv(2)]
    return said
