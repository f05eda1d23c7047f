"""Clients that others wrote, by `SocksServer` to a web server on another Stack."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from installed import need
from pair import LEFT, Pair, pair

from pystack.embed.socks import SocksServer

BODY = bytes(range(256)) * 4096
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = "www.flow.test"
PAGE = b"<html><body><script>document.write('rendered ' + 6 * 7)</script></body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = PAGE if self.path == "/page" else BODY
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/html" if body is PAGE else "application/binary")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, both: Pair) -> None:
        self.address_family = socket.AF_INET
        super().__init__((LEFT, 80), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = both.left.sockets.create_server((LEFT, 80))  # type: ignore[assignment]
        self.server_address = (LEFT, 80)


@contextmanager
def serving(**options: Any) -> Iterator[int]:
    """The port of a SOCKS server; by its Stack there is a web server, and names are known."""
    with pair() as both:
        server = Server(both)
        both.right.sockets.getaddrinfo = lambda _host, port, **_rest: [  # type: ignore[method-assign]
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (LEFT, port))
        ]
        loop = asyncio.new_event_loop()
        proxy = SocksServer(both.right, port=0, **options)
        loop.run_until_complete(proxy.start())
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,)),
            threading.Thread(target=loop.run_forever),
        ]
        for thread in threads:
            thread.start()
        try:
            yield proxy.address[1]
        finally:
            asyncio.run_coroutine_threadsafe(proxy.close(), loop).result(20)
            loop.call_soon_threadsafe(loop.stop)
            server.shutdown()
            for thread in threads:
                thread.join()
            loop.close()
            server.server_close()


def fetched(*command: str, **environment: str) -> str:
    """The hash of what a program writes."""
    import os

    done = subprocess.run(
        command, capture_output=True, timeout=60, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr.decode()
    return hashlib.sha256(done.stdout).hexdigest()


@pytest.mark.parametrize("way", ["socks5h", "socks5-user", "http"])
def test_curl(way: str) -> None:
    need("curl")
    login = {"user": "me", "password": "se:cret"} if way == "socks5-user" else {}
    with serving(**login) as port:
        user = "me:se%3Acret@" if login else ""
        kind = "http" if way == "http" else "socks5h"
        tunnel = ["-p"] if way == "http" else []
        proxy = f"{kind}://{user}127.0.0.1:{port}"
        assert fetched("curl", "-sf", *tunnel, "-x", proxy, f"http://{NAME}/") == DIGEST


def test_proxychains4(tmp_path: Path) -> None:
    need("proxychains4", "curl")
    with serving() as port:
        config = tmp_path / "proxychains.conf"
        config.write_text(f"strict_chain\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 {port}\n")
        command = ("proxychains4", "-q", "-f", str(config), "curl", "-sf", f"http://{NAME}/")
        assert fetched(*command) == DIGEST


def test_dante(tmp_path: Path) -> None:
    need("socksify", "curl")
    with serving() as port:
        config = tmp_path / "socks.conf"
        config.write_text(
            textwrap.dedent(
                f"""\
                resolveprotocol: fake
                route {{
                  from: 0.0.0.0/0 to: 0.0.0.0/0 via: 127.0.0.1 port = {port}
                  proxyprotocol: socks_v5
                  protocol: tcp udp
                  method: none
                }}
                """
            )
        )
        command = ("socksify", "curl", "-sf", f"http://{LEFT}/")
        assert fetched(*command, SOCKS_CONF=str(config)) == DIGEST


def test_pysocks() -> None:
    socks = pytest.importorskip("socks")
    with serving() as port, socks.socksocket() as client:
        client.set_proxy(socks.SOCKS5, "127.0.0.1", port, rdns=True)
        client.settimeout(20)
        client.connect((NAME, 80))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        whole = b""
        while data := client.recv(65536):
            whole += data
        assert hashlib.sha256(whole.partition(b"\r\n\r\n")[2]).hexdigest() == DIGEST


# It asks for a loop where there is none, which uvloop of today doesn't take.
PPROXY = """
import asyncio, sys
sys.modules["uvloop"] = None
asyncio.set_event_loop(asyncio.new_event_loop())
from pproxy.server import main
main()
"""


def listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def pproxy(upstream: str) -> Iterator[int]:
    """Its port. It takes no 0, and another program may take a free one first: then it ends."""
    for _ in range(10):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        program = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", PPROXY, "-l", f"http://127.0.0.1:{port}",
             "-r", upstream],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            while program.poll() is None and not listens(port):
                time.sleep(0.05)
            if program.poll() is None:
                yield port
                return
        finally:
            program.kill()
            program.wait()
    pytest.fail("pproxy ends, whatever port it is given")


def test_pproxy() -> None:
    pytest.importorskip("pproxy")
    need("curl")
    with serving() as port, pproxy(f"socks5://127.0.0.1:{port}") as other:
        through = f"http://127.0.0.1:{other}"
        assert fetched("curl", "-sf", "-x", through, f"http://{NAME}/") == DIGEST


NPM = """
const {SocksClient} = require('socks');
SocksClient.createConnection({
  proxy: {host: '127.0.0.1', port: +process.argv[2], type: 5}, command: 'connect',
  destination: {host: process.argv[3], port: 80},
}).then(({socket}) => {
  let all = Buffer.alloc(0);
  socket.on('data', (data) => { all = Buffer.concat([all, data]); });
  socket.on('end', () => process.stdout.write(all.subarray(all.indexOf('\\r\\n\\r\\n') + 4)));
  socket.write('GET / HTTP/1.0\\r\\n\\r\\n');
}).catch((error) => { console.error(error); process.exit(1); });
"""


def test_npm_socks(tmp_path: Path) -> None:
    need("node", "npm")
    installed = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "socks"],
        cwd=tmp_path, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    if installed.returncode != 0:
        pytest.skip("npm can't install socks here")
    (tmp_path / "get.js").write_text(NPM)
    with serving() as port:
        assert fetched("node", str(tmp_path / "get.js"), str(port), NAME) == DIGEST


@pytest.mark.slow
def test_chromium(tmp_path: Path) -> None:
    need("chromium")
    with serving() as port:
        done = subprocess.run(
            ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom",
             f"--proxy-server=socks5://127.0.0.1:{port}", f"--user-data-dir={tmp_path}",
             f"http://{NAME}/page"],
            capture_output=True, timeout=90, check=False,
        )  # fmt: skip
        assert b"rendered 42" in done.stdout, done.stderr.decode()
