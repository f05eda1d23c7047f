"""Small programs of libraries: on a Stack they print what they print on the kernel.

Each has both ends in it, on 127.0.0.1. The one on the Stack runs where the kernel's loopback is
down, so that nothing of it can be the kernel's.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from namespace import Namespace, namespace, needs_namespace

pytestmark = needs_namespace

INSTALLED = """
import runpy, sys
import pystack

if __name__ == "__main__":
    with pystack.Stack() as net, net.installed():
        runpy.run_path(sys.argv[1], run_name="__main__")
"""

# What has to be there, and the program.
PROGRAMS: dict[str, tuple[tuple[str, ...], str]] = {
    "conch": (("twisted.conch", "bcrypt"), """
        from cryptography.hazmat.primitives.asymmetric import rsa
        from twisted.conch import avatar
        from twisted.conch.ssh import channel, common, connection, factory, keys, session
        from twisted.conch.ssh import transport, userauth
        from twisted.cred import checkers, portal
        from twisted.internet import defer, protocol, reactor
        from twisted.python import components
        from zope.interface import implementer

        class Echo(protocol.Protocol):
            def dataReceived(self, data):
                self.transport.write(data.upper())

        class User(avatar.ConchUser):
            def __init__(self):
                super().__init__()
                self.channelLookup[b"session"] = session.SSHSession

        @implementer(portal.IRealm)
        class Realm:
            def requestAvatar(self, name, mind, *interfaces):
                return interfaces[0], User(), lambda: None

        class Session:
            def __init__(self, user):
                pass

            def execCommand(self, process, command):
                echo = Echo()
                echo.makeConnection(process)
                process.makeConnection(session.wrapProtocol(echo))
                process.write(b"ran " + command + b", ")

            def eofReceived(self):
                pass

            def closed(self):
                pass

        components.registerAdapter(Session, User, session.ISession)
        key = keys.Key(rsa.generate_private_key(65537, 2048))
        server = factory.SSHFactory()
        server.publicKeys, server.privateKeys = {b"ssh-rsa": key.public()}, {b"ssh-rsa": key}
        server.getPrimes = lambda: None
        known = checkers.InMemoryUsernamePasswordDatabaseDontUse()
        known.addUser(b"user", b"word")
        server.portal = portal.Portal(Realm(), [known])

        class Client(transport.SSHClientTransport):
            def verifyHostKey(self, key, fingerprint):
                return defer.succeed(1)

            def connectionSecure(self):
                self.requestService(Login(b"user", Connection()))

        class Login(userauth.SSHUserAuthClient):
            def getPassword(self, prompt=None):
                return defer.succeed(b"word")

            def getPublicKey(self):
                return None

        class Connection(connection.SSHConnection):
            def serviceStarted(self):
                self.openChannel(Channel(conn=self))

        class Channel(channel.SSHChannel):
            name, got = b"session", b""

            def channelOpen(self, data):
                asked = self.conn.sendRequest(self, "exec", common.NS(b"it"), wantReply=1)
                asked.addCallback(lambda _: self.write(b"hello"))

            def dataReceived(self, data):
                self.got += data
                if self.got.endswith(b"HELLO"):
                    print(self.got)
                    reactor.stop()

        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        client = protocol.ClientCreator(reactor, Client)
        client.connectTCP("127.0.0.1", port.getHost().port)
        reactor.run()
        """),
    "hypercorn on trio": (("hypercorn", "trio_websocket", "httpx"), """
        import functools

        import httpx, hypercorn.config, hypercorn.trio, trio, trio_websocket

        async def app(scope, receive, send):
            if scope["type"] == "lifespan":
                while (await send({"type": (await receive())["type"] + ".complete"})) is None:
                    pass
            elif scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.accept"})
                text = (await receive())["text"]
                await send({"type": "websocket.send", "text": text * 2})
                await send({"type": "websocket.close", "code": 1000})
            else:
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"trio " * 50_000})

        async def main():
            config = hypercorn.config.Config()
            config.bind, config.accesslog, config.errorlog = ["127.0.0.1:8000"], None, None
            over = trio.Event()
            async with trio.open_nursery() as nursery:
                await nursery.start(
                    functools.partial(hypercorn.trio.serve, app, config, shutdown_trigger=over.wait)
                )
                async with httpx.AsyncClient(trust_env=False) as client:
                    answer = await client.get("http://127.0.0.1:8000/", timeout=30)
                    print(answer.status_code, len(answer.content))
                async with trio_websocket.open_websocket_url("ws://127.0.0.1:8000/") as ws:
                    await ws.send_message("ab")
                    print(await ws.get_message())
                over.set()

        trio.run(main)
        """),
    "websockets in threads": (("websockets", "websocket"), """
        import threading

        import websocket
        from websockets.sync.client import connect
        from websockets.sync.server import serve

        def twice(ws):
            for message in ws:
                ws.send(message * 2)

        with serve(twice, "127.0.0.1", 0) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            url = "ws://127.0.0.1:%d" % server.socket.getsockname()[1]
            with connect(url) as ws:
                ws.send("ab")
                print(ws.recv())
                ws.send(b"x" * 300_000)
                print(len(ws.recv()))
            old = websocket.create_connection(url, timeout=30)
            old.send("cd")
            print(old.recv())
            old.close()
            heard = []
            app = websocket.WebSocketApp(
                url, on_open=lambda ws: ws.send("app"),
                on_message=lambda ws, text: (heard.append(text), ws.close()),
            )
            app.run_forever()
            print(heard)
            server.shutdown()
            thread.join()
        """),
    "proxies": (("urllib3", "requests", "trustme"), """
        import http.server, select, socket, ssl, tempfile, threading

        import requests, trustme, urllib3

        class Quiet(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def answer(self, body):
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        class Proxy(Quiet):
            def do_GET(self):
                self.answer(b"by the proxy: " + self.path.encode())

            def do_CONNECT(self):
                there = socket.create_connection(("127.0.0.1", int(self.path.split(":")[1])))
                self.send_response(200)
                self.end_headers()
                other = {there: self.connection, self.connection: there}
                while True:
                    for one in select.select(list(other), [], [])[0]:
                        data = one.recv(65536)
                        if not data:
                            there.close()
                            return
                        other[one].sendall(data)

        class Web(Quiet):
            def do_GET(self):
                self.answer(b"in TLS")

        ca = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("h.test").configure_cert(context)
        servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), one) for one in (Proxy, Web)]
        servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
        for one in servers:
            one.daemon_threads = True
            threading.Thread(target=one.serve_forever, daemon=True).start()
        proxy = "http://127.0.0.1:%d" % servers[0].server_port
        secure = "https://h.test:%d/" % servers[1].server_port
        with tempfile.NamedTemporaryFile() as file:
            ca.cert_pem.write_to_path(file.name)
            with urllib3.ProxyManager(proxy, ca_certs=file.name) as pool:
                print(pool.request("GET", "http://any.test/a").data)
                print(pool.request("GET", secure).data)
            with requests.Session() as session:
                session.trust_env, session.verify = False, file.name
                session.proxies = {"http": proxy, "https": proxy}
                print(session.get("http://any.test/b").text, session.get(secure).text)
        for server in servers:
            server.shutdown()
            server.server_close()
        """),
    "tornado's streams": (("tornado",), """
        import asyncio

        from tornado import httpclient, iostream, netutil, tcpclient, tcpserver

        class Echo(tcpserver.TCPServer):
            async def handle_stream(self, stream, address):
                try:
                    while True:
                        await stream.write(await stream.read_until(b"\\n"))
                except iostream.StreamClosedError:
                    pass

        async def main():
            (bound,) = netutil.bind_sockets(0, "127.0.0.1")
            server = Echo()
            server.add_socket(bound)
            stream = await tcpclient.TCPClient().connect(*bound.getsockname())
            for line in (b"short\\n", b"x" * 200_000 + b"\\n"):
                await stream.write(line)
                print(len(await stream.read_until(b"\\n")))
            stream.close()
            server.stop()
            print(await netutil.Resolver().resolve("127.0.0.1", 80))
            try:
                await httpclient.AsyncHTTPClient().fetch("http://127.0.0.1:1/")
            except OSError as error:
                print(type(error).__name__, error.errno)

        asyncio.run(main())
        """),
    "logging": ((), """
        import logging, logging.handlers, pickle, queue, socketserver, struct, threading

        heard = queue.Queue()

        class Records(socketserver.StreamRequestHandler):
            def handle(self):
                while size := self.rfile.read(4):
                    record = pickle.loads(self.rfile.read(struct.unpack(">L", size)[0]))
                    heard.put(record["msg"])

        class Lines(socketserver.BaseRequestHandler):
            def handle(self):
                heard.put(self.request[0])

        log = logging.getLogger("program")
        for kind, handler, sender in (
            (socketserver.ThreadingTCPServer, Records, logging.handlers.SocketHandler),
            (socketserver.UDPServer, Lines, logging.handlers.DatagramHandler),
            (socketserver.UDPServer, Lines, lambda *to: logging.handlers.SysLogHandler(to)),
        ):
            with kind(("127.0.0.1", 0), handler) as server:
                thread = threading.Thread(target=server.serve_forever, args=(0.02,))
                thread.start()
                log.addHandler(sender(*server.server_address))
                log.error("told")
                print(len(heard.get(timeout=30)) > 3)
                log.handlers[0].close()
                log.handlers.clear()
                server.shutdown()
                thread.join()
        """),
    "rpyc": (("rpyc",), """
        import threading

        import rpyc
        from rpyc.utils.server import ThreadedServer, ThreadPoolServer

        class Service(rpyc.Service):
            def exposed_twice(self, value):
                return value * 2

            def exposed_back(self, function):
                return function(5)

        for kind in (ThreadedServer, ThreadPoolServer):
            server = kind(Service, hostname="127.0.0.1", port=0)
            server._listen()
            threading.Thread(target=server.start, daemon=True).start()
            connection = rpyc.connect("127.0.0.1", server.port)
            print(connection.root.twice(21), connection.root.back(lambda value: value + 1))
            connection.close()
            server.close()
        """),
    "Pyro5": (("Pyro5",), """
        import threading

        import Pyro5.api

        @Pyro5.api.expose
        class Counter:
            def thrice(self, value):
                return value * 3

            def count(self):
                yield from range(3)

        for kind in ("thread", "multiplex"):
            Pyro5.api.config.SERVERTYPE = kind
            daemon = Pyro5.api.Daemon(host="127.0.0.1")
            uri = daemon.register(Counter)
            thread = threading.Thread(target=daemon.requestLoop)
            thread.start()
            with Pyro5.api.Proxy(uri) as proxy:
                print(kind, proxy.thrice(7), list(proxy.count()))
            daemon.shutdown()
            thread.join()
        """),
    "waitress and cheroot": (("waitress", "cheroot"), """
        import http.client, threading

        import cheroot.wsgi, waitress

        def app(environ, start_response):
            start_response("200 OK", [("Content-Length", "100000")])
            return [environ["REMOTE_ADDR"].encode().ljust(100_000)]

        def fetch(host, port):
            connection = http.client.HTTPConnection(host, port)
            for _ in range(3):
                connection.request("GET", "/")
                print(connection.getresponse().read().strip())
            connection.close()

        server = waitress.create_server(app, host="127.0.0.1", port=0)
        threading.Thread(target=server.run, daemon=True).start()
        fetch("127.0.0.1", server.effective_port)
        server = cheroot.wsgi.Server(("127.0.0.1", 0), app)
        server.prepare()
        thread = threading.Thread(target=server.serve)
        thread.start()
        fetch(*server.bind_addr)
        server.stop()
        thread.join()
        """),
    "zeroconf": (("zeroconf",), """
        import socket

        import zeroconf

        kind = "_t._tcp.local."
        told = zeroconf.ServiceInfo(
            kind, f"n.{kind}", addresses=[socket.inet_aton("127.0.0.1")], port=80, server="n.local."
        )
        with zeroconf.Zeroconf(["127.0.0.1"]) as one, zeroconf.Zeroconf(["127.0.0.1"]) as other:
            one.register_service(told)
            found = other.get_service_info(kind, f"n.{kind}", 30_000)
            print(found.port, found.parsed_addresses())
        """),
    "socketio": (("socketio", "uvicorn", "aiohttp"), """
        import asyncio

        import socketio, uvicorn

        server = socketio.AsyncServer(async_mode="asgi")

        @server.event
        async def add(caller, one, other):
            return one + other

        async def main():
            config = uvicorn.Config(socketio.ASGIApp(server), port=8001, log_level="critical")
            serving = uvicorn.Server(config)
            task = asyncio.create_task(serving.serve())
            while not serving.started:
                await asyncio.sleep(0.02)
            client = socketio.AsyncClient()
            await client.connect("http://127.0.0.1:8001")
            print(await client.call("add", (1, 2)), client.transport())
            await client.disconnect()
            serving.should_exit = True
            await task

        asyncio.run(main())
        """),
}  # fmt: skip


@pytest.fixture
def quiet() -> Iterator[Namespace]:
    """A namespace where not even the loopback is up."""
    with namespace() as made:
        made.run("ip", "link", "set", "lo", "down")
        yield made


@pytest.fixture
def kernel() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


def printed(place: Namespace, *words: str) -> str:
    process = place.start(
        sys.executable, *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
    )
    out, complaint = process.communicate(timeout=120)
    assert process.returncode == 0, complaint
    return str(out)


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_prints_what_it_prints_on_the_kernel(
    name: str, kernel: Namespace, quiet: Namespace, tmp_path: Path
) -> None:
    needed, text = PROGRAMS[name]
    for one in needed:
        if importlib.util.find_spec(one.partition(".")[0]) is None:
            pytest.skip(f"not installed: {one}")
    program, installed = tmp_path / "program.py", tmp_path / "installed.py"
    program.write_text(textwrap.dedent(text))
    installed.write_text(INSTALLED)
    expected = printed(kernel, str(program))
    assert expected
    assert printed(quiet, str(installed), str(program)) == expected
