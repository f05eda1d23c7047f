from typing import Any

from typing_extensions import Buffer

from pystack._native.handle import StackHandle

class Transfer:
    _ps_handle: StackHandle
    _ps_number: int
    _ps_open: Any
    _ps_timeout: float | None

    def recv(self, size: int, flags: int = 0, /) -> bytes: ...
    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int: ...
    def send(self, data: Buffer, flags: int = 0, /) -> int: ...
    def sendall(self, data: Buffer, flags: int = 0, /) -> None: ...
