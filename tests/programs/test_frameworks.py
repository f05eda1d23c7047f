"""Servers on a Stack by `pystack run`, whose clients are on the kernel at the TAP's other end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from both_ends import SERVER, STACK, behind_tap, on_kernel, serving, serving_on_stack
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace


@pytest.fixture
def place() -> Iterator[Namespace]:
    with behind_tap() as made:
        yield made


def test_flask(place: Namespace, tmp_path: Path) -> None:
    server = """
        import hashlib, sys, threading, time
        from flask import Flask, Response, request

        app = Flask("lab")
        together = threading.Barrier(8)

        @app.get("/who")
        def who():
            together.wait(20)  # each in a thread of its own, or nobody comes back
            return request.remote_addr

        @app.post("/digest")
        def digest():
            return {"sha256": hashlib.sha256(request.get_data()).hexdigest()}

        @app.get("/stream")
        def stream():
            return Response(b"x" * 10_000 for _ in range(200))

        app.run(sys.argv[1], 5000, threaded=True)
        """
    client = """
        import concurrent.futures, hashlib, json, sys, urllib.request
        base = f"http://{sys.argv[1]}:5000"
        get = lambda path, data=None: urllib.request.urlopen(base + path, data, 30).read()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            print(set(pool.map(lambda _: get("/who"), range(8))))
        data = bytes(range(256)) * 10_000
        print(json.loads(get("/digest", data))["sha256"] == hashlib.sha256(data).hexdigest())
        print(len(get("/stream")))
        """
    with serving_on_stack(place, tmp_path, 5000, server):
        printed = on_kernel(place, tmp_path, client)
    assert printed == f"{{b'{SERVER}'}}\nTrue\n2000000\n"


def test_tornado(place: Namespace, tmp_path: Path) -> None:
    server = """
        import asyncio, sys
        import tornado.httpclient, tornado.web, tornado.websocket

        class Echo(tornado.websocket.WebSocketHandler):
            def on_message(self, message):
                self.write_message(message, binary=isinstance(message, bytes))

        class Slow(tornado.web.RequestHandler):
            async def get(self):
                for _ in range(10):
                    self.write(b"x" * 100_000)
                    await self.flush()

        class Relay(tornado.web.RequestHandler):
            "Asks another server, on the kernel."
            async def get(self):
                client = tornado.httpclient.AsyncHTTPClient()
                answer = await client.fetch(self.get_argument("url"))
                self.write(str(len(answer.body)))

        async def main():
            app = tornado.web.Application([("/ws", Echo), ("/slow", Slow), ("/relay", Relay)])
            app.listen(8888, sys.argv[1], max_buffer_size=1 << 24)
            await asyncio.Event().wait()

        asyncio.run(main())
        """
    client = f"""
        import sys, urllib.request
        from websockets.sync.client import connect
        host = sys.argv[1]
        print(len(urllib.request.urlopen(f"http://{{host}}:8888/slow", timeout=30).read()))
        with connect(f"ws://{{host}}:8888/ws", max_size=None, proxy=None) as socket:
            for message in "text", bytes(1_000_000):
                socket.send(message)
                print(socket.recv() == message)
        url = f"http://{{host}}:8888/relay?url=http://{SERVER}:8000/data"
        print(urllib.request.urlopen(url, timeout=30).read())
        """
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "data").write_bytes(bytes(300_000))
    words = (sys.executable, "-m", "http.server", "8000", "--bind", SERVER,
             "--directory", str(tmp_path / "files"))  # fmt: skip
    with serving(place, 8000, *words), serving_on_stack(place, tmp_path, 8888, server):
        printed = on_kernel(place, tmp_path, client)
    assert printed == "1000000\nTrue\nTrue\nb'300000'\n"


def test_twisted(place: Namespace, tmp_path: Path) -> None:
    server = """
        import hashlib, sys
        from twisted.internet import protocol, reactor
        from twisted.protocols import basic
        from twisted.web import resource, server

        class Digest(resource.Resource):
            isLeaf = True
            def render_POST(self, request):
                return hashlib.sha256(request.content.read()).hexdigest().encode()

        class Lines(basic.LineReceiver):
            def lineReceived(self, line):
                self.sendLine(line.upper())
                if line == b"bye":
                    self.transport.loseConnection()

        class Datagrams(protocol.DatagramProtocol):
            def datagramReceived(self, data, where):
                self.transport.write(data[::-1], where)

        host = sys.argv[1]
        reactor.listenUDP(8002, Datagrams(), host)
        reactor.listenTCP(8001, protocol.Factory.forProtocol(Lines), interface=host)
        reactor.listenTCP(8000, server.Site(Digest()), interface=host)
        reactor.run()
        """
    client = """
        import hashlib, socket, sys, urllib.request
        host, data = sys.argv[1], bytes(range(256)) * 10_000
        answer = urllib.request.urlopen(f"http://{host}:8000/", data, 30).read()
        print(answer.decode() == hashlib.sha256(data).hexdigest())
        with socket.create_connection((host, 8001), 30) as lines:
            lines.sendall(b"hello\\r\\nbye\\r\\n")
            print(lines.makefile("rb").read())
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.settimeout(20)
            for size in 3, 1400, 8000:
                datagrams.sendto(b"a" * size + b"b", (host, 8002))
                print(datagrams.recv(65536)[:2], end=" ")
        """
    with serving_on_stack(place, tmp_path, 8000, server):
        printed = on_kernel(place, tmp_path, client)
    assert printed == "True\nb'HELLO\\r\\nBYE\\r\\n'\nb'ba' b'ba' b'ba' "


@pytest.mark.slow
def test_hypercorn_with_http_2_and_3(place: Namespace, tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert(STACK)
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(tmp_path / "cert.pem"), append=True)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = f"""
        import asyncio, sys
        from hypercorn.asyncio import serve
        from hypercorn.config import Config

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                while (await receive())["type"] != "lifespan.shutdown":
                    await send({{"type": "lifespan.startup.complete"}})
                await send({{"type": "lifespan.shutdown.complete"}})
                return
            size = 0
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    return
                size += len(message["body"])
                if not message.get("more_body"):
                    break
            body = f"{{scope['http_version']}} {{size}} {{scope['client'][0]}} ".encode()
            await send({{"type": "http.response.start", "status": 200, "headers": []}})
            await send({{"type": "http.response.body", "body": body + bytes(500_000)}})

        config = Config()
        config.bind = [f"{{sys.argv[1]}}:443"]
        config.quic_bind = [f"{{sys.argv[1]}}:443"]
        config.certfile, config.keyfile = "{tmp_path}/cert.pem", "{tmp_path}/key.pem"
        asyncio.run(serve(app, config))
        """
    client = f"""
        import asyncio, ssl, sys
        import httpx
        from aioquic.asyncio import QuicConnectionProtocol, connect
        from aioquic.h3.connection import H3Connection
        from aioquic.h3.events import DataReceived
        from aioquic.quic.configuration import QuicConfiguration

        host = sys.argv[1]

        class Client(QuicConnectionProtocol):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                self.http, self.got = H3Connection(self._quic), {{}}
                self.done = {{}}

            def quic_event_received(self, event):
                for one in self.http.handle_event(event):
                    if isinstance(one, DataReceived):
                        self.got[one.stream_id] = self.got.get(one.stream_id, b"") + one.data
                    if getattr(one, "stream_ended", False):
                        self.done[one.stream_id].set_result(self.got[one.stream_id])

            async def post(self, body):
                stream = self._quic.get_next_available_stream_id()
                self.done[stream] = asyncio.get_running_loop().create_future()
                headers = [(b":method", b"POST"), (b":scheme", b"https"), (b":path", b"/"),
                           (b":authority", host.encode())]
                self.http.send_headers(stream, headers)
                self.http.send_data(stream, body, True)
                self.transmit()
                return await asyncio.wait_for(self.done[stream], 30)

        async def main():
            context = ssl.create_default_context(cafile="{tmp_path}/ca.pem")
            async with httpx.AsyncClient(http2=True, verify=context, trust_env=False) as http:
                answers = await asyncio.gather(
                    *(http.post(f"https://{{host}}/", content=bytes(n * 1000), timeout=30)
                      for n in range(20))
                )
                print({{one.http_version for one in answers}}, answers[7].content[:15])
                print(sum(len(one.content) for one in answers) > 10_000_000)
            settings = QuicConfiguration(is_client=True, alpn_protocols=["h3"],
                                         cafile="{tmp_path}/ca.pem")
            async with connect(host, 443, configuration=settings, create_protocol=Client) as quic:
                answers = await asyncio.gather(*(quic.post(bytes(n * 1000)) for n in range(5)))
                print(answers[4][:15], {{len(one) > 500_000 for one in answers}})

        asyncio.run(main())
        """
    with serving_on_stack(place, tmp_path, 443, server):
        printed = on_kernel(place, tmp_path, client)
    assert printed == (
        f"{{'HTTP/2'}} b'2 7000 {SERVER[:8]}'\nTrue\nb'3 4000 {SERVER[:8]}' {{True}}\n"
    )
