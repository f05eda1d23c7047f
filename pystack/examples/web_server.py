"""The standard library's web server over a TAP, for the kernel's programs to fetch from.

Root makes the device once; the program itself needs no privilege:

    ip tuntap add dev tap0 mode tap user "$USER"
    ip address add 10.0.0.1/24 dev tap0
    ip link set tap0 up
    python -m pystack.examples.web_server &
    curl http://10.0.0.2/
"""

from __future__ import annotations

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pystack


def main(words: list[str] | None = None) -> None:
    """Serves this folder on 10.0.0.2 until Ctrl-C."""
    name = (sys.argv[1:] if words is None else words or [""])[:1] or ["tap0"]
    with pystack.nic.Tap(name[0]) as tap, pystack.Stack() as net:
        net.attach(tap, "10.0.0.2/24", gateway="10.0.0.1")
        with (
            net.installed(),
            ThreadingHTTPServer(("10.0.0.2", 80), SimpleHTTPRequestHandler) as server,
        ):
            print("Serving on http://10.0.0.2/", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                print("Bye")


if __name__ == "__main__":
    main()
