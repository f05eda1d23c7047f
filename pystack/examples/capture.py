"""A lossy wire and its capture for Wireshark: where did TCP retransmit?"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pystack
from pystack.nic import Impairment, capture, impair, wire

SIZE = 1 << 20


def main(words: list[str] | None = None) -> None:
    """Sends a mebibyte over a wire that loses 2 % of the frames, and writes down all of them."""
    path = Path(((sys.argv[1:] if words is None else words) or ["lossy.pcapng"])[0])
    left, right = wire()
    # What wraps a NIC sees what passes between it and the Stack: here, what was really sent.
    near = capture(impair(left, Impairment(loss=0.02, delay=0.005), seed=7), path)
    with pystack.Stack() as a, pystack.Stack() as b:
        a.attach(near, "10.0.0.1/24")
        b.attach(right, "10.0.0.2/24")
        with b.sockets.create_server(("10.0.0.2", 7)) as listener:
            client = a.sockets.create_connection(listener.getsockname())
            server, _peer = listener.accept()
            sending = threading.Thread(target=client.sendall, args=(bytes(SIZE),))
            sending.start()
            with server, client:
                left_to_read = SIZE
                while left_to_read:
                    left_to_read -= len(server.recv(left_to_read))
                sending.join()
                again = client.tcp_info().total_retransmits
    near.close()
    print(f"{SIZE} bytes arrived, {again} segments were sent again; wireshark {path}")


if __name__ == "__main__":
    main()
