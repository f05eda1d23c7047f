"""Clients of a broker, a database and a directory on a Stack; the real servers on the kernel."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from both_ends import SERVER, behind_tap, run, serving, written
from installed import needs_programs
from namespace import Namespace, needs_namespace

pytestmark = needs_namespace


@pytest.fixture
def place() -> Iterator[Namespace]:
    with behind_tap() as made:
        yield made


@needs_programs("mosquitto")
def test_mqtt(place: Namespace, tmp_path: Path) -> None:
    settings = written(
        tmp_path, "mosquitto.conf", f"listener 1883 {SERVER}\nallow_anonymous true\nuser root\n"
    )
    with serving(place, 1883, "mosquitto", "-c", settings):
        printed = run(
            place,
            tmp_path,
            """
            import queue, sys
            import paho.mqtt.client as mqtt
            got = queue.Queue()
            client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
            ready = queue.Queue()
            client.on_message = lambda _c, _u, message: got.put((message.topic, message.payload))
            client.on_subscribe = lambda *_: ready.put(1)
            client.connect(sys.argv[1])
            client.loop_start()
            client.subscribe("a/#", 2)
            ready.get(timeout=20)
            large = bytes(range(256)) * 4000
            for qos in 0, 1, 2:
                client.publish(f"a/{qos}", large, qos).wait_for_publish(20)
            client.publish("kept", b"later", 1, retain=True).wait_for_publish(20)
            found = dict(got.get(timeout=20) for _ in range(3))
            print(sorted(found), all(one == large for one in found.values()))
            client.subscribe("kept")
            print(got.get(timeout=20))
            client.disconnect()
            client.loop_stop()
            """,
        )
    assert printed == "['a/0', 'a/1', 'a/2'] True\n('kept', b'later')\n"


@needs_programs("mariadbd", "mariadb-install-db", "my_print_defaults")
@pytest.mark.skipif(os.geteuid() != 0, reason="the server is started for another user")
def test_mariadb(place: Namespace, tmp_path: Path) -> None:
    user = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, user.pw_uid, user.pw_gid)
        data, start = Path(folder) / "data", Path(folder) / "start.sql"
        subprocess.run(
            ["mariadb-install-db", "--user=nobody", f"--datadir={data}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            check=True, capture_output=True, cwd="/",
        )  # fmt: skip
        start.write_text(
            "CREATE USER 'one'@'10.3.0.2' IDENTIFIED BY 'secret';\n"
            "CREATE DATABASE d;\nGRANT ALL ON d.* TO 'one'@'10.3.0.2';\n"
        )
        start.chmod(0o644)
        words = ("mariadbd", "--no-defaults", "--user=nobody", f"--datadir={data}",
                 f"--bind-address={SERVER}", "--port=3306", f"--socket={folder}/socket",
                 f"--init-file={start}", "--max-allowed-packet=64M")  # fmt: skip
        with serving(place, 3306, *words):
            printed = run(
                place,
                tmp_path,
                """
                import sys, pymysql
                with pymysql.connect(host=sys.argv[1], user="one", password="secret",
                                     database="d", max_allowed_packet=1 << 26) as db:
                    with db.cursor() as cursor:
                        cursor.execute("CREATE TABLE t (n INT, s LONGTEXT)")
                        cursor.executemany(
                            "INSERT INTO t VALUES (%s, %s)", [(n, "x" * n) for n in range(500)]
                        )
                        db.commit()
                        cursor.execute("SELECT COUNT(*), SUM(n), SUM(LENGTH(s)) FROM t")
                        print(*map(int, cursor.fetchone()))
                        cursor.execute("SELECT REPEAT('y', 3000000), USER()")
                        text, user = cursor.fetchone()
                        print(len(text), user)
                        try:
                            cursor.execute("SELECT nothing")
                        except pymysql.err.OperationalError as error:
                            print(error.args[0])
                """,
            )
    assert printed == "500 124750 124750\n3000000 one@10.3.0.2\n1054\n"


@needs_programs("slapd")
def test_ldap(place: Namespace, tmp_path: Path) -> None:
    schema = "/etc/ldap/schema"
    (tmp_path / "data").mkdir()
    settings = written(
        tmp_path,
        "slapd.conf",
        f"""
        include {schema}/core.schema
        include {schema}/cosine.schema
        include {schema}/inetorgperson.schema
        modulepath /usr/lib/ldap
        moduleload back_mdb
        pidfile {tmp_path}/pid
        database mdb
        suffix "dc=lab,dc=test"
        rootdn "cn=admin,dc=lab,dc=test"
        rootpw secret
        directory {tmp_path}/data
        """,
    )
    words = ("slapd", "-d", "0", "-h", f"ldap://{SERVER}:389/", "-f", settings)
    with serving(place, 389, *words):
        printed = run(
            place,
            tmp_path,
            """
            import sys, ldap3
            server = ldap3.Server(sys.argv[1])
            base = "dc=lab,dc=test"
            with ldap3.Connection(server, "cn=admin," + base, "secret", auto_bind=True) as c:
                print(c.add(base, ["dcObject", "organization"], {"o": "lab"}))
                for number in range(200):
                    assert c.add(f"uid=u{number},{base}", "inetOrgPerson",
                                 {"cn": "U", "sn": "x" * 500, "mail": f"{number}@lab.test"})
                c.search(base, "(uid=u1*)", attributes=["mail"])
                print(len(c.entries), c.entries[0].mail)
                change = {"mail": [(ldap3.MODIFY_REPLACE, ["new@lab.test"])]}
                print(c.modify(f"uid=u7,{base}", change))
                print(c.delete(f"uid=u8,{base}"), c.delete(f"uid=u8,{base}"), c.result["result"])
            print(ldap3.Connection(server, "cn=admin," + base, "wrong").bind())
            """,
        )
    assert printed == "True\n111 1@lab.test\nTrue\nTrue False 32\nFalse\n"
