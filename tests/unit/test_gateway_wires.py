"""The wires that guests come by, and the command, without a namespace."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import pystack
from pystack.embed.gateway import Gateway, WireListener, wire_from_descriptor
from pystack.nic import Descriptor, Framing

PATIENCE_S = 20.0


def has_lease(wire: pystack.nic.Nic) -> None:
    with pystack.Stack() as guest:
        interface = guest.attach(wire)
        assert str(interface.dhcp(timeout=PATIENCE_S).address) == "10.0.2.100/24"
        assert guest.ping("10.0.2.2", timeout=30).received == 1


def connected(path: Path, kind: int) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, kind)
    one.connect(str(path))
    return one


@pytest.mark.parametrize(
    ("kind", "number", "framing"),
    [
        ("stream", socket.SOCK_STREAM, Framing.LENGTH32),
        ("seqpacket", socket.SOCK_SEQPACKET, Framing.DATAGRAM),
    ],
)
def test_a_guest_comes_over_a_unix_socket(
    kind: str, number: int, framing: Framing, tmp_path: Path
) -> None:
    with WireListener(tmp_path / "wire", kind=kind) as listener:
        guest = Descriptor(connected(listener.path, number), framing=framing)
        with Gateway(listener.accept(PATIENCE_S)):
            has_lease(guest)
    assert not listener.path.exists()
    with pytest.raises(OSError, match="is closed"):
        listener.accept(0)


def test_a_guest_whose_datagrams_come_first(tmp_path: Path) -> None:
    with WireListener(tmp_path / "wire", kind="dgram") as listener:
        guest = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        guest.bind(str(tmp_path / "guest"))
        guest.connect(str(listener.path))
        guest.send(bytes(60))  # no frame that says anything: it isn't lost, nor does it matter
        with Gateway(listener.accept(PATIENCE_S)):
            has_lease(Descriptor(guest))
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            fresh = WireListener(tmp_path / "other", kind="dgram")
            with fresh:
                nameless.sendto(bytes(60), str(fresh.path))
                with pytest.raises(OSError, match=r"give QEMU local\.path"):
                    fresh.accept(PATIENCE_S)


def test_a_path_that_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "wire"
    with WireListener(path):
        with pytest.raises(OSError, match="another process listens there"):
            WireListener(path)
        assert path.exists()
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()  # as of a process that was killed
    WireListener(path).close()
    path.write_text("a file")
    with pytest.raises(FileExistsError, match="no socket"):
        WireListener(path)
    assert path.read_text() == "a file"
    with pytest.raises(ValueError, match="a wire is one of stream, dgram, seqpacket"):
        WireListener(tmp_path / "other", kind="vhost-user")
    with pytest.raises(TimeoutError), WireListener(tmp_path / "other") as idle:
        idle.accept(0.01)


def test_an_inherited_descriptor_is_framed_by_its_kind() -> None:
    for number, framing in (
        (socket.SOCK_STREAM, Framing.LENGTH32),
        (socket.SOCK_DGRAM, Framing.DATAGRAM),
    ):
        ours, theirs = socket.socketpair(socket.AF_UNIX, number)
        with Gateway(wire_from_descriptor(ours.detach())):
            has_lease(Descriptor(theirs, framing=framing))
    with pytest.raises(OSError, match="Bad file"):
        wire_from_descriptor(9999)


# --- the command ---------------------------------------------------------------------------------


@contextmanager
def command(*words: str, fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[Any]]:
    """The command, once it is ready."""
    ready, theirs = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "pystack", "gateway", *words, "--ready-fd", str(theirs)],
        pass_fds=[theirs, *fds], stderr=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    os.close(theirs)
    try:
        with os.fdopen(ready, "rb") as stream:
            assert stream.read() == b"1", process.stderr.read()
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, said) == (0, b"")


def test_guests_come_one_after_another(tmp_path: Path) -> None:
    path, number, frames = tmp_path / "wire", tmp_path / "pid", tmp_path / "frames.pcap"
    words = ("--socket", str(path), "--pid-file", str(number), "--capture", str(frames))
    with command(*words) as process:
        assert int(number.read_text()) == process.pid
        for _ in range(2):
            has_lease(Descriptor(connected(path, socket.SOCK_STREAM), framing=Framing.LENGTH32))
    assert not path.exists()
    assert not number.exists()
    for each in (frames, tmp_path / "frames-2.pcap"):  # the first guest's is not lost
        assert b"\0\x44\0\x43" in each.read_bytes()  # from DHCP's client port to the server's


def test_it_ends_with_its_wire(tmp_path: Path) -> None:
    path = tmp_path / "wire"
    with command("--socket", str(path), "--one-off") as process:
        has_lease(Descriptor(connected(path, socket.SOCK_STREAM), framing=Framing.LENGTH32))
        assert process.wait(PATIENCE_S) == 0
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, command("--fd", str(ours.fileno()), fds=(ours.fileno(),)) as process:
        ours.close()
        has_lease(Descriptor(theirs, framing=Framing.LENGTH32))
        assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        ((), 2, "name one wire: --netns, --socket, --fd or --nic"),
        (("--fd", "7", "--netns", "1"), 2, "name one wire"),
        (("--fd", "7", "--configure"), 2, "--configure is for a namespace"),
        (("--fd", "7", "-p", "eighty"), 2, "'eighty' is no forward"),
        (("--fd", "7", "--offer", "80:90:100"), 2, "'80:90:100' is no offer"),
        (("--fd", "7", "--subnet", "10.0.2.1/24"), 2, "is no IPv4 network"),
        (("--fd", "777"), 1, "--fd 777: Bad file descriptor"),
        (("--fd", "7", "--host-loopback", "10.0.2.2"), 2, "take an address outside"),
        (("--netns", "0"), 1, "--netns 0: there is no such process"),
    ],
)
def test_what_is_refused(words: tuple[str, ...], status: int, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pystack", "gateway", *words],
        capture_output=True, text=True, check=False, cwd="/", timeout=PATIENCE_S * 3,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
