"""Clients on a Stack by `pystack run`, of servers that run on the kernel at the TAP's other end."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from both_ends import SERVER, behind_tap, pystack_run, run, serving, written
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace


@pytest.fixture
def place() -> Iterator[Namespace]:
    with behind_tap() as made:
        yield made


def python_server(place: Namespace, folder: Path, port: int, program: str) -> object:
    """A server in Python, on the kernel; its first argument is the kernel's address."""
    return serving(place, port, sys.executable, written(folder, "server.py", program), SERVER)


LIBRARY_SERVERS = """
    import http.server, socketserver, sys, threading, xmlrpc.server
    from aiosmtpd.controller import Controller
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

    host = sys.argv[1]

    class Web(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = (self.client_address[0] + self.path).encode() * 1000
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    class Box:
        async def handle_DATA(self, server, session, envelope):
            letters.append(envelope.content)
            return "250 OK"

    class Pop(socketserver.StreamRequestHandler):
        "RFC 1939, with what has come by SMTP."
        def handle(self):
            say = lambda text: self.wfile.write(text.encode() + b"\\r\\n")
            say("+OK ready")
            for line in self.rfile:
                word, *rest = line.decode().split()
                if word == "STAT":
                    say(f"+OK {len(letters)} {sum(map(len, letters))}")
                elif word == "RETR":
                    say("+OK")
                    self.wfile.write(letters[int(rest[0]) - 1])
                    say(".")
                else:
                    say("+OK")
                if word == "QUIT":
                    break

    letters = []
    Controller(Box(), hostname=host, port=25).start()
    users = DummyAuthorizer()
    users.add_user("user", "secret", sys.argv[2], perm="elradfmw")
    FTPHandler.authorizer = users
    calls = xmlrpc.server.SimpleXMLRPCServer((host, 8001), logRequests=False)
    calls.register_function(pow)
    servers = [
        http.server.ThreadingHTTPServer((host, 8000), Web).serve_forever,
        calls.serve_forever,
        socketserver.ThreadingTCPServer((host, 110), Pop).serve_forever,
        FTPServer((host, 21), FTPHandler).serve_forever,
    ]
    for serve in servers[:-1]:
        threading.Thread(target=serve, daemon=True).start()
    servers[-1]()
"""


def test_the_library_s_clients_without_a_timeout(place: Namespace, tmp_path: Path) -> None:
    script = written(tmp_path, "server.py", LIBRARY_SERVERS)
    with tempfile.TemporaryDirectory() as folder:
        with serving(place, 21, sys.executable, script, SERVER, folder):
            printed = run(
                place,
                tmp_path,
                """
                import ftplib, http.client, io, poplib, smtplib, sys, urllib.request, xmlrpc.client
                host = sys.argv[1]
                print(urllib.request.urlopen(f"http://{host}:8000/a").read()[:10])
                web = http.client.HTTPConnection(host, 8000)
                for number in range(3):
                    web.request("GET", f"/{number}")
                    print(len(web.getresponse().read()))
                print(xmlrpc.client.ServerProxy(f"http://{host}:8001").pow(2, 30))
                letter = "Subject: hello\\r\\n\\r\\n" + "line\\r\\n" * 1000
                with smtplib.SMTP(host, 25, local_hostname="x") as mail:
                    mail.sendmail("a@lab.test", ["b@lab.test"], letter)
                box = poplib.POP3(host, 110)
                box.user("u"), box.pass_("p")
                print(box.stat()[0], len(box.retr(1)[1]))
                box.quit()
                data = bytes(range(256)) * 8000
                with ftplib.FTP() as files:
                    files.connect(host)
                    files.login("user", "secret")
                    files.storbinary("STOR file", io.BytesIO(data))
                    back = bytearray()
                    files.retrbinary("RETR file", back.extend)
                    print(bytes(back) == data, files.nlst())
                    files.set_pasv(False)
                    back.clear()
                    files.retrbinary("RETR file", back.extend)
                    print(bytes(back) == data)
                """,
            )
    assert printed == (
        "b'10.3.0.2/a'\n10000\n10000\n10000\n1073741824\n1 1002\nTrue ['file']\nTrue\n"
    )


def test_paramiko_with_asyncssh(place: Namespace, tmp_path: Path) -> None:
    server = """
        import asyncio, sys, asyncssh

        class Server(asyncssh.SSHServer):
            def password_auth_supported(self):
                return True
            def validate_password(self, username, password):
                return (username, password) == ("user", "secret")

        async def upper(process):
            process.stdout.write((await process.stdin.read()).upper())
            process.exit(3)

        async def main():
            await asyncssh.create_server(
                Server, sys.argv[1], 22, process_factory=upper, sftp_factory=True,
                server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            )
            await asyncio.Event().wait()

        asyncio.run(main())
        """
    with python_server(place, tmp_path, 22, server):
        printed = run(
            place,
            tmp_path,
            """
            import io, os, sys, paramiko
            with paramiko.SSHClient() as client:
                client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
                client.connect(sys.argv[1], username="user", password="secret",
                               look_for_keys=False, allow_agent=False)
                stdin, stdout, _ = client.exec_command("upper")
                stdin.write("shout " * 20_000)
                stdin.channel.shutdown_write()
                print(stdout.read() == b"SHOUT " * 20_000, stdout.channel.recv_exit_status())
                print(client.get_transport().sock.getsockname()[0])
                data, name = os.urandom(2_000_000), f"/tmp/pystack-{os.getpid()}"
                with client.open_sftp() as files:
                    files.putfo(io.BytesIO(data), name)
                    back = io.BytesIO()
                    files.getfo(name, back)
                    files.remove(name)
                print(back.getvalue() == data)
            """,
        )
    assert printed == "True 3\n10.3.0.2\nTrue\n"


def test_grpclib(place: Namespace, tmp_path: Path) -> None:
    common = """
        import asyncio, json, sys
        from grpclib.client import Channel, StreamStreamMethod, UnaryUnaryMethod
        from grpclib.const import Cardinality, Handler, Status
        from grpclib.encoding.base import CodecBase
        from grpclib.exceptions import GRPCError
        from grpclib.server import Server

        class Json(CodecBase):
            __content_subtype__ = "json"
            def encode(self, message, message_type):
                return json.dumps(message).encode()
            def decode(self, data, message_type):
                return json.loads(data)
        """
    server = """
        class Service:
            async def total(self, stream):
                numbers = await stream.recv_message()
                if not numbers:
                    raise GRPCError(Status.INVALID_ARGUMENT, "none")
                await stream.send_message(sum(numbers))
            async def echo(self, stream):
                async for message in stream:
                    await stream.send_message(message * 2)
            def __mapping__(self):
                return {
                    "/lab.Sums/Total": Handler(self.total, Cardinality.UNARY_UNARY, list, int),
                    "/lab.Sums/Echo": Handler(self.echo, Cardinality.STREAM_STREAM, str, str),
                }

        async def main():
            server = Server([Service()], codec=Json())
            await server.start(sys.argv[1], 50051)
            await server.wait_closed()

        asyncio.run(main())
        """
    client = """
        async def main():
            channel = Channel(sys.argv[1], 50051, codec=Json())
            total = UnaryUnaryMethod(channel, "/lab.Sums/Total", list, int)
            calls = await asyncio.gather(*(total(list(range(n))) for n in range(1, 101)))
            print(calls == [n * (n - 1) // 2 for n in range(1, 101)])
            try:
                await total([])
            except GRPCError as error:
                print(error.status.name, error.message)
            echo = StreamStreamMethod(channel, "/lab.Sums/Echo", str, str)
            async with echo.open() as stream:
                for size in 1, 1000, 300_000:
                    await stream.send_message("x" * size)
                    print(len(await stream.recv_message()))
                await stream.end()
            channel.close()

        asyncio.run(main())
        """
    with python_server(place, tmp_path, 50051, common + server):
        printed = run(place, tmp_path, common + client)
    assert printed == "True\nINVALID_ARGUMENT none\n2\n2000\n600000\n"


def test_modbus(place: Namespace, tmp_path: Path) -> None:
    server = """
        import sys
        from pymodbus.server import StartTcpServer
        from pymodbus.simulator import DataType, SimData, SimDevice

        data = SimData(0, count=1000, values=7, datatype=DataType.REGISTERS)
        StartTcpServer(context=SimDevice(id=1, simdata=[data]), address=(sys.argv[1], 502))
        """
    with python_server(place, tmp_path, 502, server):
        printed = run(
            place,
            tmp_path,
            """
            import asyncio, sys
            from pymodbus.client import AsyncModbusTcpClient, ModbusTcpClient
            with ModbusTcpClient(sys.argv[1]) as client:
                for start in range(0, 500, 100):
                    client.write_registers(start, list(range(start, start + 100)))
                found = [client.read_holding_registers(s, count=100).registers
                         for s in range(0, 600, 100)]
                print(sum(found, []) == [*range(500), *[7] * 100])
                print(client.read_holding_registers(5000, count=1).isError())
            async def main():
                client = AsyncModbusTcpClient(sys.argv[1])
                await client.connect()
                print((await client.read_holding_registers(3, count=2)).registers)
                client.close()
            asyncio.run(main())
            """,
        )
    assert printed == "True\nTrue\n[3, 4]\n"


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="no pip here")
def test_pip_download(place: Namespace, tmp_path: Path) -> None:
    wheel = tmp_path / "index" / "simple" / "labthing" / "labthing-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("labthing.py", "x = 1\n" * 200_000)
        archive.writestr(
            "labthing-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: labthing\nVersion: 1.0\n",
        )
        archive.writestr("labthing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("labthing-1.0.dist-info/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (wheel.parent / "index.html").write_text(
        f'<!DOCTYPE html><a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
    )
    words = (sys.executable, "-m", "http.server", "8000", "--bind", SERVER,
             "--directory", str(tmp_path / "index"))  # fmt: skip
    (tmp_path / "got").mkdir()
    with serving(place, 8000, *words):
        pystack_run(
            place, "-m", "pip", "--isolated", "--disable-pip-version-check", "--no-cache-dir",
            "download", "--no-deps", "--index-url", f"http://{SERVER}:8000/simple/",
            "--trusted-host", SERVER, "--dest", "got", "labthing", folder=str(tmp_path),
        )  # fmt: skip
    assert (tmp_path / "got" / wheel.name).read_bytes() == wheel.read_bytes()
