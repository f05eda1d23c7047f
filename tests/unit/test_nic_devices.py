"""TAP, TUN and packet sockets, against the kernel in a namespace of the test's own."""

from __future__ import annotations

import ast
import errno
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import needs_programs
from namespace import namespace, needs_namespace

import pystack
from pystack.nic import Layer, Packet, Tap, Tun, device

pytestmark = needs_namespace


@pytest.mark.parametrize(("kind", "layer"), [(Tap, Layer.ETHERNET), (Tun, Layer.IP)])
def test_a_stack_on_a_device(kind: type[Tap] | type[Tun], layer: Layer) -> None:
    with namespace() as place:
        with place.call(kind, "dev0") as wire, pystack.Stack() as net:
            assert (wire.name, wire.layer, wire.mtu) == ("dev0", layer, 1500)
            place.device("dev0", "10.0.0.1/24", "fd00::1/64")
            net.attach(wire, "10.0.0.2/24", "fd00::2/64")
            for host in ("10.0.0.1", "fd00::1"):
                assert net.ping(host, timeout=30, size=4000).received == 1
            assert "dev0" in repr(wire)
        with pytest.raises(subprocess.CalledProcessError):
            place.run("ip", "link", "show", "dev0")  # it went with the NIC


def test_the_kernel_finds_a_name_and_the_mtu_is_set() -> None:
    with namespace() as place, place.call(Tap, "", 9000) as wire:
        assert wire.name.startswith("tap")
        assert wire.mtu == 9000
        assert "mtu 9000" in place.run("ip", "link", "show", wire.name).stdout


def test_a_device_that_is_in_use_or_of_the_other_kind() -> None:
    with namespace() as place, place.call(Tap, "tap0"):
        with pytest.raises(OSError, match="tap0: another program") as caught:
            place.call(Tap, "tap0")
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(OSError, match=r"tap0: it (is a TAP|can't be opened as a TUN)"):
            place.call(Tun, "tap0")
        with pytest.raises(OSError, match="lo: it can't be opened as a TAP"):
            place.call(Tap, "lo")
        with pytest.raises(ValueError, match="15 bytes"):
            Tap("a-name-that-is-too-long")
        with pytest.raises(ValueError, match="MTU"):
            Tap("tap1", 10)


def advised(call: Callable[[], object]) -> list[list[str]]:
    """The commands in what an error says, as words."""
    with pytest.raises(OSError, match="ip tuntap") as caught:
        call()
    return [
        line.split() for line in re.findall(r"ip tuntap (?:add|delete)[^;]*", str(caught.value))
    ]


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (("tun",), lambda: Tap("dev0")),
        (("tap",), lambda: Tun("dev0")),
        (("tap", "multi_queue"), lambda: Tap("dev0")),
        (("tap",), lambda: Tap("dev0", queues=2)),
    ],
)
def test_a_device_that_does_not_match_is_made_anew_as_told(
    monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], wanted: Callable[[], Tap | Tun]
) -> None:
    with namespace() as place:
        place.run("ip", "tuntap", "add", "dev", "dev0", "mode", *there)
        flags = 0x2 if there[0] == "tap" else 0x1
        flags |= 0x100 if "multi_queue" in there else 0
        # This process's /sys shows another namespace.
        monkeypatch.setattr(device, "_flags_of", lambda name: {"dev0": flags}[name])
        commands = place.call(advised, wanted)
        assert len(commands) == 2
        for command in commands:
            place.run(*command)
        place.call(wanted).close()


def test_a_device_s_flags_are_read_where_sys_shows_them() -> None:
    program = (
        "from pystack.nic import Tap, Tun, device\n"
        "wires = Tap('a'), Tun('b', queues=2)\n"
        "print([device._flags_of(name) for name in ('a', 'b', 'lo', 'none0')])"
    )
    words = ["unshare", "--net", "--mount", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"']
    done = subprocess.run(
        [*words, "sh", sys.executable, "-c", program],
        capture_output=True, text=True, check=False, cwd=tempfile.gettempdir(),
    )  # fmt: skip
    if "mount:" in done.stderr:
        pytest.skip(done.stderr)
    first, second, *others = ast.literal_eval(done.stdout)
    assert (first & 0x103, second & 0x103, others) == (0x2, 0x101, [None, None])


@needs_programs("ping")
def test_a_stack_on_a_packet_socket() -> None:
    with namespace() as place:
        place.run("ip", "link", "add", "v0", "type", "veth", "peer", "name", "v1")
        place.device("v0", "10.0.0.1/24")
        place.run("ip", "link", "set", "v1", "up")
        place.call(Path("/proc/sys/net/ipv6/conf/v1/disable_ipv6").write_text, "1")
        with place.call(lambda: Packet("v1", promiscuous=True)) as wire, pystack.Stack() as net:
            assert (wire.name, wire.mtu, wire.layer) == ("v1", 1500, Layer.ETHERNET)
            net.attach(wire, "10.0.0.2/24", mac="02:00:00:00:00:77")
            assert net.ping("10.0.0.1", timeout=30).received == 1
            assert place.ping("10.0.0.2", 2, "-i", "0.2") == [1, 2]
            # The kernel leaves the checksums of what stays on the machine to the NIC.
            listener = place.call(socket.create_server, ("10.0.0.1", 0))
            with listener, net.sockets.create_connection(listener.getsockname(), 30) as client:
                accepted, _peer = listener.accept()
                with accepted:
                    accepted.sendall(b"from the kernel")
                    assert client.recv(100) == b"from the kernel"
        with pytest.raises(OSError, match="'none0': no such device"):
            place.call(Packet, "none0")


@needs_programs("setpriv")
def test_without_permission_the_message_helps() -> None:
    program = """
import sys
sys.path[:0] = {path!r}
from pystack import nic
for make in (lambda: nic.Tap("tap7"), lambda: nic.Packet("lo")):
    try:
        make()
    except PermissionError as error:
        print(error)
"""
    done = subprocess.run(
        ["unshare", "--net", "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
         "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c",
         program.format(path=[path for path in sys.path if path])],
        capture_output=True, text=True, check=False, cwd=tempfile.gettempdir(),
    )  # fmt: skip
    if "ModuleNotFoundError" in done.stderr or "Permission denied" in done.stderr:
        pytest.skip("nobody may not read this Python")
    tap, packet = done.stdout.splitlines()
    assert "ip tuntap add" in tap or "this user may not open" in tap
    assert "CAP_NET_RAW" in packet
