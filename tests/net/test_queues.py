"""Several Stacks on one device with several queues: one address, each connection with one."""

from __future__ import annotations

import errno
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from installed import needs_programs
from namespace import Namespace, namespace, needs_namespace

import pystack
from pystack.nic import Tap, Tun, capture

pytestmark = needs_namespace

ADDRESSES = ("10.0.0.2/24", "fd00::2/64")
KERNEL = {4: "10.0.0.1", 6: "fd00::1"}
STACK = {4: "10.0.0.2", 6: "fd00::2"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
FLOW_FORGOTTEN_S = 4.0  # the kernel forgets a flow's queue after three

# A process that serves: each connection is told whose it is, and gets its bytes back.
SERVER = """
import socketserver, sys
import pystack

class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(sys.argv[1].encode())
        while data := self.request.recv(65536):
            self.request.sendall(data)

with pystack.nic.Tap("dev0", queues=2) as nic, pystack.Stack() as net:
    net.attach(nic, "10.0.0.2/24", "fd00::2/64")
    with net.installed():
        with socketserver.ThreadingTCPServer(("10.0.0.2", 80), Echo) as server:
            server.request_queue_size = 100
            print("ready", flush=True)
            server.serve_forever()
"""


@contextmanager
def stacks(
    kind: Any = Tap, count: int = 2, queues: int = 2, **options: Any
) -> Iterator[tuple[Namespace, list[pystack.Stack]]]:
    """That many on one device, in this process."""
    with ExitStack() as cleanup:
        place = cleanup.enter_context(namespace())
        nets = []
        for number in range(count):
            nic = cleanup.enter_context(place.call(lambda: kind("dev0", queues=queues, **options)))
            assert nic.queue == (number, queues)
            if number == 0:
                place.device("dev0", "10.0.0.1/24", "fd00::1/64")
            net = cleanup.enter_context(pystack.Stack())
            net.attach(nic, *ADDRESSES)
            nets.append(net)
        yield place, nets


def receive(sock: Any, size: int) -> bytes:
    got = b""
    while len(got) < size:
        data = sock.recv(size - len(got))
        assert data, "the stream has ended"
        got += data
    return got


def exchange(one: Any, two: Any, mark: bytes) -> None:
    """A few hundred kilobytes each way, all of them compared."""
    block = mark * (200_000 // len(mark))
    for sender, receiver in ((one, two), (two, one)):
        sender.settimeout(20)
        receiver.settimeout(20)
        sent = 0
        while sent < len(block):
            part = block[sent : sent + 50_000]
            sender.sendall(part)
            assert receive(receiver, len(part)) == part
            sent += len(part)


@pytest.mark.parametrize("kind", [Tap, Tun])
@pytest.mark.parametrize("offload", [True, False])
def test_connections_both_ways(kind: Any, offload: bool) -> None:
    with stacks(kind, offload=offload) as (place, nets), ExitStack() as cleanup:
        for version in (4, 6):
            listeners = []
            for net in nets:
                listener = net.sockets.create_server((STACK[version], 80), family=FAMILY[version])
                listeners.append(cleanup.enter_context(listener))
            served = [0, 0]
            for number in range(40):
                client = place.call(socket.create_connection, (STACK[version], 80), 10)
                with client:
                    # The kernel's connect returns before a Stack's thread has the last ACK.
                    ready, _, _ = select.select(listeners, [], [], 30)
                    assert len(ready) == 1, "one of them, and only one, has the connection"
                    accepted, peer = ready[0].accept()
                    served[listeners.index(ready[0])] += 1
                    with accepted:
                        assert peer[:2] == client.getsockname()[:2]
                        if number < 6:
                            exchange(client, accepted, b"in%d," % number)
            assert min(served) > 0, f"one of them has all: {served}"
            with place.call(
                lambda v=version: socket.create_server((KERNEL[v], 0), family=FAMILY[v])
            ) as far:
                pairs = []
                for number in range(20):
                    near = cleanup.enter_context(
                        nets[number % 2].sockets.create_connection(far.getsockname()[:2], 30)
                    )
                    pairs.append((near, cleanup.enter_context(far.accept()[0])))
                for number, (near, accepted) in enumerate(pairs):
                    exchange(near, accepted, b"out%d," % number)


@pytest.mark.slow
def test_a_connection_survives_a_pause_after_which_the_kernel_has_forgotten_it() -> None:
    """What comes first afterwards comes to whom the hash chooses, and is passed on."""
    with stacks(count=3, queues=4) as (place, nets), ExitStack() as cleanup:
        far = cleanup.enter_context(place.call(socket.create_server, (KERNEL[4], 0)))
        pairs = []
        for number in range(24):
            near = cleanup.enter_context(
                nets[number % 3].sockets.create_connection(far.getsockname(), 30)
            )
            pairs.append((near, cleanup.enter_context(far.accept()[0])))
        ports = [near.getsockname()[1] for near, _accepted in pairs]
        assert len(set(ports)) == len(ports)
        time.sleep(FLOW_FORGOTTEN_S)
        for number, (near, accepted) in enumerate(pairs):
            exchange(accepted, near, b"pause%d," % number)
        # And with one of the three gone, whose queue another one gets.
        nets[0].close(abrupt=True)
        time.sleep(FLOW_FORGOTTEN_S)
        for number, (near, accepted) in enumerate(pairs):
            if number % 3:
                exchange(accepted, near, b"gone%d," % number)


@needs_programs("ping")
def test_questions_are_answered_once() -> None:
    with stacks(count=3, queues=3) as (place, nets):
        # The one who answers need not be the one that the neighbour has been asked by before.
        for version in (4, 6):
            for size in ("56", "4000"):
                options = (f"-{version}", "-i", "0.02", "-s", size)
                assert place.ping(STACK[version], 20, *options) == list(range(1, 21))
            place.run("ip", "neigh", "flush", "all")
        for net in nets:
            for version in (4, 6):
                result = net.ping(KERNEL[version], count=5, interval=0.02, timeout=30, size=2000)
                assert result.received == 5
            assert KERNEL[4] in {str(one.address) for one in net.neighbours.list()}


def test_nobody_there_is_said_once(tmp_path: Path) -> None:
    with namespace() as place, ExitStack() as cleanup:
        paths = []
        for number in range(2):
            nic = cleanup.enter_context(place.call(lambda: Tap("dev0", queues=2)))
            paths.append(tmp_path / f"{number}.pcap")
            seen = capture(nic, paths[-1])
            cleanup.callback(seen.flush)  # when its Stack is closed, and all is written
            assert seen.queue == (number, 2)
            net = cleanup.enter_context(pystack.Stack())
            if number == 0:
                place.device("dev0", "10.0.0.1/24")
            net.attach(seen, "10.0.0.2/24")
        for port in range(2000, 2020):
            with pytest.raises(ConnectionRefusedError):
                place.call(socket.create_connection, (STACK[4], port), 10)
        with place.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(30)
            sock.connect((STACK[4], 3000))
            for _ in range(5):
                sock.send(b"anybody?")
                with pytest.raises(ConnectionRefusedError):
                    sock.recv(100)
        # Resets, and port unreachables, of the two together.
        cleanup.close()
        from scapy.all import ICMP, TCP, rdpcap

        frames = [frame for path in paths for frame in rdpcap(str(path))]
        resets = [one for one in frames if TCP in one and one[TCP].flags.R]
        assert len(resets) == 20
        assert len([one for one in frames if ICMP in one and one[ICMP].type == 3]) == 5


def test_datagrams_find_their_socket() -> None:
    with stacks(count=2) as (place, nets), ExitStack() as cleanup:
        for version in (4, 6):
            far = cleanup.enter_context(
                place.call(socket.socket, FAMILY[version], socket.SOCK_DGRAM)
            )
            far.bind((KERNEL[version], 0))
            far.settimeout(30)
            near = []
            for net in nets:
                sock = cleanup.enter_context(net.sockets.socket(FAMILY[version], 2))
                sock.bind((STACK[version], 0))
                sock.settimeout(30)
                near.append(sock)
            assert near[0].getsockname()[1] != near[1].getsockname()[1]
            for size in (10, 1400, 8000):  # the last in fragments, which have no ports
                for number, sock in enumerate(near * 5):
                    data = bytes([number]) * size
                    sock.sendto(data, far.getsockname()[:2])
                    got, source = far.recvfrom(10_000)
                    assert got == data
                    far.sendto(got[::-1], source[:2])
                    assert sock.recv(10_000) == data
            # Unasked, to a socket that has sent nothing lately.
            time.sleep(FLOW_FORGOTTEN_S)
            for sock in near:
                for size in (1, 3000):
                    far.sendto(b"!" * size, sock.getsockname()[:2])
                    assert sock.recv(10_000) == b"!" * size


def test_a_group_is_heard_by_all() -> None:
    group = "239.1.2.3"
    with stacks(count=2) as (place, nets), ExitStack() as cleanup:
        members = []
        for net in nets:
            sock = cleanup.enter_context(net.sockets.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("", 5000))
            sock.settimeout(30)
            membership = socket.inet_aton(group) + socket.inet_aton(STACK[4])
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            members.append(sock)
        with place.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as far:
            far.bind((KERNEL[4], 0))
            far.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(KERNEL[4]))
            for number in range(10):
                far.sendto(b"%d" % number, (group, 5000))
                for sock in members:
                    assert sock.recv(100) == b"%d" % number


def test_who_may_join() -> None:
    with namespace() as place, ExitStack() as cleanup:
        first = cleanup.enter_context(place.call(lambda: Tap("dev0", queues=2)))
        second = place.call(lambda: Tap("dev0", queues=2))
        assert first.mac == second.mac is not None
        with pytest.raises(OSError, match="dev0: all 2 `queues` of it are taken") as caught:
            place.call(lambda: Tap("dev0", queues=2))
        assert caught.value.errno == errno.EUSERS
        for other in (1, 3):
            with pytest.raises(OSError, match="queues") as caught:
                place.call(lambda n=other: Tap("dev0", queues=n))
            assert caught.value.errno == errno.EINVAL
        second.close()
        with place.call(lambda: Tap("dev0", queues=2)) as again:
            assert again.queue == (1, 2)
        single = cleanup.enter_context(place.call(Tap, "dev1"))
        assert single.queue == (0, 1)
        with pytest.raises(OSError, match=r"dev1: .*(queue|another program)"):
            place.call(lambda: Tap("dev1", queues=2))
        for wrong in (0, 65, -1):
            with pytest.raises(ValueError, match="queues"):
                Tap("dev2", queues=wrong)


def test_devices_of_two_namespaces_are_two() -> None:
    """Names and indices are the same, and so is the namespace that Stacks are attached in."""
    with stacks(count=2) as (one, ones), stacks(count=2) as (two, twos):
        index = one.call(socket.if_nametoindex, "dev0")
        assert two.call(socket.if_nametoindex, "dev0") == index
        for net in (*ones, *twos):
            assert net.ping(KERNEL[4], timeout=30).received == 1


def test_a_persistent_device() -> None:
    with namespace() as place:
        place.run("ip", "tuntap", "add", "dev0", "mode", "tap", "multi_queue")
        place.device("dev0", "10.0.0.1/24")
        for _ in range(2):
            with place.call(lambda: Tap("dev0", queues=2)) as nic, pystack.Stack() as net:
                net.attach(nic, "10.0.0.2/24")
                assert net.ping(KERNEL[4], timeout=30).received == 1


def curl(place: Namespace, mark: bytes) -> str:
    """Whose the connection is, with all bytes compared."""
    with place.call(socket.create_connection, (STACK[4], 80), 10) as client:
        client.settimeout(20)
        name = receive(client, 1).decode()
        for part in range(4):
            block = mark * 5000 + b"%d" % part
            client.sendall(block)
            assert receive(client, len(block)) == block
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    return name


@needs_programs("ping")
def test_two_processes() -> None:
    with namespace() as place, ExitStack() as cleanup:
        place.run("ip", "tuntap", "add", "dev0", "mode", "tap", "multi_queue")
        place.device("dev0", "10.0.0.1/24")
        servers: list[subprocess.Popen[str]] = []
        for name in "ab":
            server = place.start(
                sys.executable, "-c", SERVER, name, stdout=subprocess.PIPE, text=True,
                cwd=tempfile.gettempdir(),  # not in the source tree, which is not built
            )  # fmt: skip
            cleanup.enter_context(server)
            cleanup.callback(server.kill)
            servers.append(server)
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
        served = [curl(place, b"#%d" % number) for number in range(40)]
        assert {"a", "b"} == set(served)
        # One dies without a word; from then on all is the other's.
        kept = [place.call(socket.create_connection, (STACK[4], 80), 10) for _ in range(12)]
        owners = [receive(one, 1) for one in kept]
        servers[0].send_signal(signal.SIGKILL)
        servers[0].wait(20)
        time.sleep(FLOW_FORGOTTEN_S)
        assert {curl(place, b"!%d" % number) for number in range(20)} == {"b"}
        for one, owner in zip(kept, owners, strict=True):
            with one:
                one.settimeout(30)
                one.sendall(b"still there?")
                if owner == b"b":
                    assert receive(one, 12) == b"still there?"
                else:
                    with pytest.raises(ConnectionResetError):
                        one.recv(12)
        assert place.ping(STACK[4], 10, "-i", "0.02") == list(range(1, 11))


@pytest.mark.sanitize
def test_frames_of_any_kind() -> None:
    """What decides where a frame goes reads headers of a stranger's."""
    chance = random.Random(5)
    with stacks(count=2) as (place, nets):
        with place.call(socket.socket, socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind(("dev0", 0))
            for _ in range(4000):
                kind = chance.choice([b"\x08\x00", b"\x08\x06", b"\x86\xdd", chance.randbytes(2)])
                begin = chance.choice([b"\x45", b"\x4f", b"\x60\0\0\0\0\0", b"\x60", b""])
                # Protocols that are looked into stand at 9 (IPv4) and 6 (IPv6).
                protocol = bytes([chance.choice([0, 1, 2, 6, 17, 43, 44, 58, 60, 136, 255])])
                filler = chance.randbytes(chance.randrange(80))
                at = 9 if begin[:1] == b"\x45" else 6
                packet = (begin + filler)[:at].ljust(at, b"\0") + protocol + filler
                target = chance.choice([bytes.fromhex("ffffffffffff"), chance.randbytes(6)])
                frame = target + chance.randbytes(6) + kind + packet
                raw.send(frame[: chance.randrange(14, len(frame) + 1)].ljust(14, b"\0"))
        for net in nets:
            assert net.ping(KERNEL[4], timeout=30).received == 1
