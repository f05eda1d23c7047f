"""`nic.Vxlan` beside the kernel's, and what carries it, in namespaces."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from namespace import Namespace, namespace, needs_namespace

import pystack
from pystack.nic import Vxlan
from pystack.nic.datagrams import KernelUdp
from pystack.nic.tunnels import TunnelDrops

pytestmark = needs_namespace


SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17


def checksums(device: str) -> None:
    """Has the kernel finish checksums itself: a veth carries them unfinished, a cable doesn't."""
    command = array.array("I", [ETHTOOL_STXCSUM, 0])
    request = struct.pack("16sP", device.encode(), command.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


@contextmanager
def beside_the_kernel(*, learns: bool) -> Iterator[tuple[Namespace, pystack.Stack, Vxlan]]:
    """The kernel's vxlan on 192.0.2.1, ours in another namespace on 192.0.2.2."""
    with namespace() as place, namespace() as ours:
        ours.run("ip", "link", "add", "vxv1", "type", "veth", "peer", "vxv0", "netns", place.path)
        place.device("vxv0", "192.0.2.1/24")
        ours.device("vxv1", "192.0.2.2/24")
        try:
            place.run(
                "ip", "link", "add", "vx0", "type", "vxlan", "id", "42", "dstport", "4789",
                "remote", "192.0.2.2", "dev", "vxv0",
            )  # fmt: skip
        except subprocess.CalledProcessError as error:
            pytest.skip(f"the kernel has no vxlan: {error.stderr}")
        peers = None if learns else ["192.0.2.1"]
        nic = ours.call(lambda: Vxlan(42, peers))
        place.device("vx0", "10.9.0.1/24", "fd00:9::1/64")
        place.call(checksums, "vx0")
        with pystack.Stack() as net, nic:
            net.attach(nic, "10.9.0.2/24", "fd00:9::2/64")
            yield place, net, nic


@pytest.mark.parametrize("learns", [False, True])
def test_beside_the_kernel(learns: bool) -> None:
    with beside_the_kernel(learns=learns) as (place, net, nic):
        for address in ("10.9.0.2", "fd00:9::2"):
            assert place.ping(address, 2, "-i", "0.2") == [1, 2]
        data = bytes(range(256)) * 8192
        listener = place.call(lambda: socket.create_server(("10.9.0.1", 80)))

        def echo() -> None:
            with listener, listener.accept()[0] as near:
                while part := near.recv(1 << 16):
                    near.sendall(part)

        thread = threading.Thread(target=echo)
        thread.start()
        with net.sockets.create_connection(("10.9.0.1", 80), 20) as far:
            sender = threading.Thread(
                target=lambda: (far.sendall(data), far.shutdown(socket.SHUT_WR))
            )
            sender.start()
            got = b"".join(iter(lambda: far.recv(1 << 16), b""))
            sender.join()
        thread.join()
        assert got == data
        assert list(nic.learned().values()) == [("192.0.2.1", 4789)]
        # Until the kernel sent something, there was nobody to send to.
        assert replace(nic.drops(), no_peer=0) == TunnelDrops()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_run_of_datagrams_longer_than_the_paths_mtu_goes_in_fragments(host: str) -> None:
    with namespace() as place:
        place.run("ip", "link", "set", "lo", "mtu", "1400")
        near, far = (place.call(KernelUdp, host) for _each in range(2))
        try:
            datagrams = [bytes([number]) * 1500 for number in range(4)]
            assert near.send(datagrams, far.local) == len(datagrams)
            come: list[bytes] = []
            while (found := far.receive()) is not None:
                come += map(bytes, found[0])
            assert come == datagrams
        finally:
            near.close()
            far.close()
