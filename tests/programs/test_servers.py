"""Real servers on the kernel, behind a TAP in a namespace; their clients run by `pystack run`."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from both_ends import SERVER, behind_tap, pystack_run, run, serving
from installed import needs_programs
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture
def place() -> Iterator[Namespace]:
    with behind_tap() as made:
        yield made


def test_a_module_with_options_of_its_own(place: Namespace, tmp_path: Path) -> None:
    (tmp_path / "there.py").write_text("import socket, sys\nprint(sys.argv[1:], socket.socket)\n")
    printed = pystack_run(place, "-m", "there", "--address", "-m", folder=str(tmp_path))
    assert printed == "['--address', '-m'] <class 'pystack.sockets.socket'>\n"


@needs_programs("redis-server")
def test_redis(place: Namespace, tmp_path: Path) -> None:
    words = ("redis-server", "--bind", SERVER, "--port", "6379", "--save", "", "--dir", "/tmp",
             "--protected-mode", "no")  # fmt: skip
    with serving(place, 6379, *words):
        printed = run(
            place,
            tmp_path,
            """
            import hashlib, sys, redis
            data = bytes(range(256)) * 20_000
            client = redis.Redis(sys.argv[1], socket_timeout=20)
            client.set("data", data)
            with client.pipeline() as pipe:
                for number in range(2000):
                    pipe.rpush("list", number)
                pipe.execute()
            print(client.get("data") == data, client.llen("list"), client.lindex("list", -1))
            info = client.client_list()[0]
            print(info["addr"].split(":")[0])
            """,
        )
    assert printed == "True 2000 b'1999'\n10.3.0.2\n"


@pytest.mark.skipif(not POSTGRES or os.geteuid() != 0, reason="no PostgreSQL, or not root")
def test_postgresql(place: Namespace, tmp_path: Path) -> None:
    binaries = POSTGRES[-1].parent
    user = pwd.getpwnam("postgres")
    as_postgres = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, user.pw_uid, user.pw_gid)
        data = Path(folder) / "data"
        subprocess.run(
            [*as_postgres, binaries / "initdb", "-D", data, "-A", "trust", "-E", "UTF8", "-N"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 10.3.0.0/24 trust\n")
        words = (*as_postgres, str(binaries / "postgres"), "-D", str(data), "-h", SERVER,
                 "-k", folder, "-F")  # fmt: skip
        with serving(place, 5432, *words):
            printed = run(
                place,
                tmp_path,
                """
                import sys, pg8000.native
                with pg8000.native.Connection("postgres", host=sys.argv[1], timeout=20) as db:
                    db.run("CREATE TABLE t (n int, s text)")
                    for n in range(500):
                        db.run("INSERT INTO t VALUES (:n, :s)", n=n, s="x" * n)
                    print(db.run("SELECT count(*), sum(n), sum(length(s)) FROM t"))
                    print(db.run("SELECT host(inet_client_addr())"))
                    print(len(db.run("SELECT repeat('y', 3000000)")[0][0]))
                """,
            )
    assert printed == "[[500, 124750, 124750]]\n[['10.3.0.2']]\n3000000\n"


@needs_programs("dnsmasq")
def test_dnspython(place: Namespace, tmp_path: Path) -> None:
    words = ("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root",
             "--conf-file=/dev/null", f"--listen-address={SERVER}", "--bind-interfaces",
             "--pid-file=", "--host-record=www.lab.test,10.3.0.80",
             *(f"--txt-record=txt.lab.test,{n:03}{'z' * 200}" for n in range(20)))  # fmt: skip
    with serving(place, 53, *words):
        printed = run(
            place,
            tmp_path,
            """
            import sys, dns.message, dns.query, dns.resolver
            resolver = dns.resolver.Resolver(configure=False)
            resolver.nameservers = [sys.argv[1]]
            print([str(one) for one in resolver.resolve("www.lab.test", "A")])
            question = dns.message.make_query("txt.lab.test", "TXT")
            answer, by_tcp = dns.query.udp_with_fallback(question, sys.argv[1], timeout=20)
            print(by_tcp, len(answer.answer[0]))
            """,
        )
    assert printed == "['10.3.0.80']\nTrue 20\n"
