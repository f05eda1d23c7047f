"""scapy beside a Stack: a scan, a handshake by hand, and a page by scapy's own TCP client.

Nobody resets what scapy begins, so there is nothing to do with iptables. Over a TAP it is the same:
``share(pystack.nic.Tap("tap0"))``. Needs scapy.
"""

from __future__ import annotations

import threading
from typing import Any

from scapy.config import conf
from scapy.layers.http import HTTP, HTTPRequest
from scapy.layers.inet import IP, TCP, TCP_client
from scapy.sendrecv import sr, sr1

import pystack
from pystack.scapy import installed, share

connect: Any = TCP_client.tcplink  # type: ignore[attr-defined]


def serve(listener: Any) -> None:
    """Answers each connection with one page; a socket that is shut down ends it."""
    while True:
        try:
            sock, _peer = listener.accept()
        except OSError:
            return
        with sock:
            if sock.recv(1000):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")


def main() -> None:
    """Runs it."""
    conf.verb = 0
    left, right = pystack.nic.wire()
    with pystack.Stack() as net, pystack.Stack() as other:
        net.attach(share(left), "10.0.0.1/24")
        other.attach(right, "10.0.0.2/24")
        listener = other.sockets.create_server(("10.0.0.2", 80))
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with installed(net):
            answered, _silent = sr(IP(dst="10.0.0.2") / TCP(dport=[22, 80], flags="S"), timeout=5)
            print({sent.dport: str(back[TCP].flags) for sent, back in answered})

            syn = IP(dst="10.0.0.2") / TCP(sport=4000, dport=80, flags="S", seq=100)
            answer: Any = sr1(syn, timeout=5)
            print(f"the server acknowledges {answer.ack} with {answer[TCP].flags}")

            client = connect(HTTP, "10.0.0.2", 80)
            client.send(HTTP() / HTTPRequest(Host=b"10.0.0.2"))
            print(client.recv().load)
            client.close()
        print(net.counters()["tcp.out_resets"], "resets")
        listener.shutdown(2)
        listener.close()
        thread.join()


if __name__ == "__main__":
    main()
