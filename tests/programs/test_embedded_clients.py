"""httpx, requests and aiohttp: each session on its own Stack, the kernel's sockets untouched."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import trustme

import pystack

aiohttp = pytest.importorskip("aiohttp", minversion="3.12")
httpx = pytest.importorskip("httpx")
requests = pytest.importorskip("requests")

from pystack.embed.aiohttp import Connector  # noqa: E402
from pystack.embed.httpx import AsyncTransport, Transport  # noqa: E402
from pystack.embed.requests import Adapter, session  # noqa: E402
from pystack.tables import TcpState  # noqa: E402

SERVER, CLIENT = "10.0.0.1", "10.0.0.2"
URL = f"http://{SERVER}/"
REQUESTS = 1000
AUTHORITY = trustme.CA()


@dataclass
class Site:
    """A server at 10.0.0.1 that says who it is, and a Stack that reaches it."""

    net: pystack.Stack
    far: pystack.Stack
    name: str


@contextmanager
def site(name: str) -> Iterator[Site]:
    class Server(ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 128

        def server_bind(self) -> None:
            self.socket.close()  # the kernel's
            self.socket = far.sockets.socket()
            self.socket.bind(self.server_address)
            self.server_address = self.socket.getsockname()
            self.server_name, self.server_port = SERVER, self.server_address[1]

        def handle_error(self, request: Any, client: Any) -> None:
            """A client that refuses our certificate."""

    class Tell(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = f"{name} {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Leaves standard error alone."""

    near, wire = pystack.nic.wire()
    with pystack.Stack() as net, pystack.Stack() as far:
        net.attach(near, f"{CLIENT}/24")
        far.attach(wire, f"{SERVER}/24")
        servers = [Server((SERVER, 80), Tell), Server((SERVER, 443), Tell)]
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        AUTHORITY.issue_cert(SERVER).configure_cert(context)
        secure = servers[1]
        secure.socket = context.wrap_socket(
            secure.socket, server_side=True, do_handshake_on_connect=False
        )
        threads = [threading.Thread(target=one.serve_forever, args=(0.01,)) for one in servers]
        for thread in threads:
            thread.start()
        try:
            yield Site(net, far, name)
        finally:
            for one, thread in zip(servers, threads, strict=True):
                one.shutdown()
                thread.join()
                one.server_close()
            net.close(linger=0)
            far.close(linger=0)


@contextmanager
def two_sites() -> Iterator[tuple[Site, Site]]:
    with site("red") as red, site("blue") as blue:
        yield red, blue


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def by_requests(one: Site, count: int) -> None:
    with session(one.net) as client:
        for number in range(count):
            assert client.get(f"{URL}{number}", timeout=30).text == f"{one.name} /{number}"


def by_httpx(one: Site, count: int) -> None:
    with httpx.Client(transport=Transport(one.net)) as client:
        for number in range(count):
            assert client.get(f"{URL}{number}", timeout=30).text == f"{one.name} /{number}"


async def by_httpx_tasks(one: Site, count: int) -> None:
    async with httpx.AsyncClient(transport=AsyncTransport(one.net), timeout=30) as client:

        async def ask(number: int) -> None:
            assert (await client.get(f"{URL}{number}")).text == f"{one.name} /{number}"

        for begin in range(0, count, 20):
            await asyncio.gather(*(ask(begin + more) for more in range(20)))


async def by_aiohttp(one: Site, count: int) -> None:
    async with aiohttp.ClientSession(connector=Connector(one.net, limit=20)) as client:

        async def ask(number: int) -> None:
            async with client.get(f"{URL}{number}") as answer:
                assert await answer.text() == f"{one.name} /{number}"

        await asyncio.gather(*(ask(number) for number in range(count)))


@pytest.mark.parametrize("ask", [by_requests, by_httpx])
def test_threads_never_mix(ask: Any) -> None:
    with two_sites() as sites, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda one: ask(one, 100), sites))


@pytest.mark.parametrize("ask", [by_aiohttp, by_httpx_tasks])
def test_tasks_never_mix(ask: Any) -> None:
    async def work(sites: tuple[Site, Site]) -> None:
        await asyncio.gather(*(ask(one, 100) for one in sites))

    with two_sites() as sites:
        asyncio.run(work(sites))


@pytest.mark.slow
@pytest.mark.parametrize("ask", [(by_requests, by_aiohttp), (by_httpx, by_httpx_tasks)])
def test_threads_and_tasks_never_mix_in_a_thousand_requests_each(ask: Any) -> None:
    blocking, awaited = ask

    async def work(sites: tuple[Site, Site]) -> None:
        jobs = [asyncio.to_thread(blocking, one, REQUESTS) for one in sites]
        await asyncio.gather(*jobs, *(awaited(one, REQUESTS) for one in sites))

    with two_sites() as sites:
        asyncio.run(work(sites))


def test_https_is_verified() -> None:
    url = f"https://{SERVER}/x"
    with site("red") as one:
        with httpx.Client(transport=Transport(one.net, verify=trusting())) as client:
            assert client.get(url).text == "red /x"
        with httpx.Client(transport=Transport(one.net)) as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                client.get(url)
        with session(one.net) as client, pytest.raises(requests.exceptions.SSLError):
            client.get(url)

        async def work() -> None:
            transport = AsyncTransport(one.net, verify=trusting())
            async with httpx.AsyncClient(transport=transport) as client:
                assert (await client.get(url)).text == "red /x"
            async with httpx.AsyncClient(transport=AsyncTransport(one.net)) as client:
                with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                    await client.get(url)
            async with aiohttp.ClientSession(connector=Connector(one.net)) as client:
                async with client.get(url, ssl=trusting()) as answer:
                    assert await answer.text() == "red /x"
                with pytest.raises(aiohttp.ClientConnectorCertificateError):
                    await client.get(url)
            await asyncio.sleep(0)

        asyncio.run(work())


def test_https_by_requests(tmp_path: Any) -> None:
    bundle = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(str(bundle))
    with site("red") as one, session(one.net) as client:
        assert client.get(f"https://{SERVER}/x", verify=str(bundle)).text == "red /x"


def test_errors_are_the_library_s() -> None:
    closed, silent = f"http://{SERVER}:81/", "http://10.0.0.77/"
    with site("red") as one:
        with httpx.Client(transport=Transport(one.net)) as client:
            with pytest.raises(httpx.ConnectError, match="refused"):
                client.get(closed)
            with pytest.raises(httpx.ConnectTimeout):
                client.get(silent, timeout=0.1)
            with pytest.raises(httpx.ConnectError, match="no name server"):
                client.get("http://shop.test/")
        with session(one.net) as client:
            with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
                client.get(closed)
            with pytest.raises(requests.exceptions.ConnectTimeout):
                client.get(silent, timeout=0.1)
            with pytest.raises(requests.exceptions.ConnectionError, match="resolve"):
                client.get("http://shop.test/")
            with pytest.raises(requests.exceptions.InvalidSchema, match="socks"):
                client.get(URL, proxies={"http": "socks5://10.0.0.1:1080"})

        async def work() -> None:
            async with httpx.AsyncClient(transport=AsyncTransport(one.net)) as client:
                with pytest.raises(httpx.ConnectError, match="failed"):
                    await client.get(closed)
                with pytest.raises(httpx.ConnectTimeout):
                    await client.get(silent, timeout=0.1)
            async with aiohttp.ClientSession(connector=Connector(one.net)) as client:
                with pytest.raises(aiohttp.ClientConnectorError):
                    await client.get(closed)
                with pytest.raises(aiohttp.ClientConnectorDNSError):
                    await client.get("http://shop.test/")

        asyncio.run(work())


def test_a_connection_whose_options_fail_is_closed() -> None:
    options = [(socket.SOL_SOCKET, 0x7FFF, 1)]

    def established(net: pystack.Stack) -> int:
        return sum(one.state is TcpState.ESTABLISHED for one in net.connections())

    # What raised is kept, and with it the frames that have the socket.
    with site("red") as one:
        with httpx.Client(transport=Transport(one.net, socket_options=options)) as client:
            with pytest.raises(httpx.ConnectError) as _caught:
                client.get(URL)
            assert established(one.net) == 0
        with session(one.net) as client:
            pools = client.get_adapter(URL).poolmanager
            pools.connection_pool_kw["socket_options"] = options
            with pytest.raises(requests.exceptions.ConnectionError) as _also:
                client.get(URL)
            assert established(one.net) == 0

        async def work() -> None:
            transport = AsyncTransport(one.net, socket_options=options)
            async with httpx.AsyncClient(transport=transport) as client:
                with pytest.raises(httpx.ConnectError) as _caught:
                    await client.get(URL)
                await asyncio.sleep(0)  # an aborted transport closes its socket a turn later
                assert established(one.net) == 0

        asyncio.run(work())


def test_a_proxy_of_http_is_reached_through_the_stack() -> None:
    with site("red") as one:
        with httpx.Client(transport=Transport(one.net, proxy=URL)) as client:
            assert client.get("http://any.test/y").text == "red http://any.test/y"
        with session(one.net) as client:
            answer = client.get("http://any.test/y", proxies={"http": URL})
            assert answer.text == "red http://any.test/y"


def test_an_adapter_on_one_prefix_alone() -> None:
    with site("red") as one, requests.Session() as client:
        client.trust_env = False
        client.mount(URL, Adapter(one.net, pool_maxsize=1))
        assert client.get(URL).text == "red /"
        with pytest.raises(requests.exceptions.ConnectionError):
            client.get("http://127.0.0.1:9/", timeout=5)  # the kernel's


def test_uvloop_s_loop() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def work(net: pystack.Stack) -> None:
        async with httpx.AsyncClient(transport=AsyncTransport(net)) as client:
            assert (await client.get(URL)).text == "red /"
        # aiohttp makes connections by the running loop's own calls.
        with pytest.raises(pystack.OffStackError, match="asyncio's own loop, or httpx"):
            Connector(net)

    loop = uvloop.new_event_loop()
    try:
        with site("red") as one:
            loop.run_until_complete(work(one.net))
    finally:
        loop.close()
