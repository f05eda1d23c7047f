"""A World: requests in eight threads against `http.server`, over a slow and lossy link.

Both libraries are used as they are; the order of events is the same in every run.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from pystack.world import World


class Handler(BaseHTTPRequestHandler):
    """Answers with as many bytes as the path says."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Sends them."""
        body = bytes(int(self.path[1:]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Says nothing."""


def serve() -> None:
    """One thread a connection."""
    with ThreadingHTTPServer(("", 80), Handler) as server:
        server.serve_forever()


def main() -> None:
    """Fetches 64 pages of 50 kB and prints how long that took, by the World's clock."""
    with World(seed=1) as world:
        client, server = world.host("client"), world.host("server")
        link = world.link(client, server, delay="40ms", rate="20Mbit/s", loss=0.01, queue=100)

        def fetch(number: int) -> int:
            return len(requests.get(f"http://server/{50_000 + number}", timeout=60).content)

        def ask() -> None:
            with ThreadPoolExecutor(8) as pool:
                sizes = list(pool.map(fetch, range(64)))
            lost = link.counts(server).lost
            print(f"{sum(sizes)} bytes in {world.now:.3f} s; {lost} of the server's frames lost")

        server.thread(serve)
        client.thread(ask).join()


if __name__ == "__main__":
    main()
