"""Libraries that nobody here wrote, client and server, unmodified on a Stack's sockets."""

from __future__ import annotations

import asyncio
import ftplib
import hashlib
import random
import smtplib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import pystack

DATA = random.Random(3).randbytes(2_000_000)
HOST = "127.0.0.1"

# What these libraries are warned of is theirs to mend.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Sending a large body"),
]


@pytest.fixture(autouse=True)
def net() -> Iterator[pystack.Stack]:
    """The module socket is this Stack's in each of these tests."""
    with pystack.Stack() as made, made.installed():
        yield made


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def used(net: pystack.Stack) -> int:
    """How many TCP connections the Stack has accepted: that it really was this Stack's."""
    return net.counters()["tcp.passive_opens"]


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The standard library's web server, with one file."""
    (tmp_path / "data").write_bytes(DATA)

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://{HOST}:{server.server_port}/data"
    server.shutdown()
    thread.join()
    server.server_close()


def test_requests(web: str, net: pystack.Stack) -> None:
    import requests

    with requests.Session() as session:
        for _ in range(3):
            assert digest(session.get(web, timeout=20).content) == digest(DATA)
    assert used(net) > 0


def test_urllib3(web: str, net: pystack.Stack) -> None:
    import urllib3

    with urllib3.PoolManager(maxsize=2) as pool:
        answer = pool.request("GET", web, headers={"Range": "bytes=0-"}, timeout=20)
        assert digest(answer.data) == digest(DATA)
    assert used(net) > 0


def test_httpx(web: str, net: pystack.Stack) -> None:
    import httpx

    async def fetch() -> bytes:
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.get(web, timeout=20)).content

    with httpx.Client(trust_env=False) as client:
        assert digest(client.get(web, timeout=20).content) == digest(DATA)
    assert digest(asyncio.run(fetch())) == digest(DATA)
    assert used(net) >= 2


def test_aiohttp_both_ends(net: pystack.Stack) -> None:
    from aiohttp import ClientSession, web

    async def hashes(request: web.Request) -> web.Response:
        return web.json_response({"sha256": digest(await request.read())})

    async def main() -> None:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_post("/", hashes)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, HOST, 8080).start()
        async with ClientSession() as session:
            answers = await asyncio.gather(
                *(session.post(f"http://{HOST}:8080/", data=DATA) for _ in range(5))
            )
            for answer in answers:
                assert (await answer.json())["sha256"] == digest(DATA)
        await runner.cleanup()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert used(net) > 0


def test_uvicorn(net: pystack.Stack) -> None:
    import httpx
    import uvicorn

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body[::-1]})

    server = uvicorn.Server(
        uvicorn.Config(app, host=HOST, port=8081, log_level="error", lifespan="off", loop="asyncio")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        with httpx.Client(transport=httpx.HTTPTransport(retries=10), trust_env=False) as client:
            answer = client.post(f"http://{HOST}:8081/", content=DATA, timeout=20)
        assert digest(answer.content) == digest(DATA[::-1])
    finally:
        server.should_exit = True
        thread.join()
    assert used(net) > 0


def test_websockets(net: pystack.Stack) -> None:
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(connection: Any) -> None:
        async for message in connection:
            await connection.send(message)

    async def main() -> None:
        async with serve(echo, HOST, 8082, max_size=None) as _server:
            async with connect(f"ws://{HOST}:8082", max_size=None, proxy=None) as client:
                for message in ("text", DATA):
                    await client.send(message)
                    assert await client.recv() == message

    asyncio.run(asyncio.wait_for(main(), 60))
    assert used(net) == 1


def test_ftplib_with_pyftpdlib(net: pystack.Stack, tmp_path: Path) -> None:
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import ThreadedFTPServer

    authorizer = DummyAuthorizer()
    authorizer.add_user("user", "secret", str(tmp_path), perm="elradfmw")
    handler = type("Handler", (FTPHandler,), {"authorizer": authorizer, "use_sendfile": False})
    server = ThreadedFTPServer((HOST, 2121), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"handle_exit": False})
    thread.start()
    try:
        import io

        with ftplib.FTP() as client:
            client.connect(HOST, 2121, timeout=20)
            client.login("user", "secret")
            client.storbinary("STOR file", io.BytesIO(DATA))
            assert (tmp_path / "file").read_bytes() == DATA
            back = bytearray()
            client.retrbinary("RETR file", back.extend)
            assert digest(back) == digest(DATA)
            assert client.nlst() == ["file"]
    finally:
        server.close_all()
        thread.join(20)
    assert used(net) >= 4


def test_smtplib_with_aiosmtpd(net: pystack.Stack) -> None:
    from aiosmtpd.controller import Controller

    letters: list[bytes] = []

    class Box:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
            letters.append(envelope.content)
            return "250 OK"

    controller = Controller(Box(), hostname=HOST, port=8025, ready_timeout=20)
    controller.start()
    try:
        with smtplib.SMTP(HOST, 8025, timeout=20) as client:
            body = "Subject: hello\r\n\r\n" + "line\r\n" * 10_000
            client.sendmail("a@example.test", ["b@example.test"], body)
        assert letters == [body.encode()]
    finally:
        controller.stop()
    assert used(net) > 0


def test_asyncssh_both_ends(net: pystack.Stack) -> None:
    import asyncssh

    class Server(asyncssh.SSHServer):
        def password_auth_supported(self) -> bool:
            return True

        def validate_password(self, username: str, password: str) -> bool:
            return (username, password) == ("user", "secret")

    async def upper(process: Any) -> None:
        process.stdout.write((await process.stdin.read()).upper())
        process.exit(0)

    async def main() -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        server = await asyncssh.create_server(
            Server, HOST, 8022, server_host_keys=[key], process_factory=upper
        )
        async with asyncssh.connect(
            HOST, 8022, username="user", password="secret", known_hosts=None, config=None,
            client_keys=None,
        ) as client:  # fmt: skip
            done = await client.run("upper", input="shout " * 50_000)
            assert done.stdout == "SHOUT " * 50_000
        server.close()
        await server.wait_closed()

    asyncio.run(asyncio.wait_for(main(), 60))
    assert used(net) == 1


def test_anyio(net: pystack.Stack) -> None:
    import anyio

    async def main() -> None:
        async def echo(stream: Any) -> None:
            async with stream:
                async for piece in stream:
                    await stream.send(piece)

        listener = await anyio.create_tcp_listener(local_host=HOST, local_port=8083)
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_tcp(HOST, 8083) as client:
                await client.send(DATA[:60_000])
                got = b""
                while len(got) < 60_000:
                    got += await client.receive()
                assert got == DATA[:60_000]
            group.cancel_scope.cancel()

    anyio.run(main, backend="asyncio")
    assert used(net) == 1
