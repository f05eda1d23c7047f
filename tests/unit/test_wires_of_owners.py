"""The NICs of a Stack are its own process's: no other keeps a wire or a device open."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from children import MARKS

import pystack

pytestmark = MARKS


@pytest.mark.parametrize("fork", ["os.fork", "ctypes.PyDLL(None).fork"])
@pytest.mark.parametrize("around", ["{}", "nic.impair({})", "nic.capture({}, '{}')"])
def test_the_owners_wire_ends_with_it(fork: str, around: str, tmp_path: Path) -> None:
    """A device would be busy for the next Stack as long as a child has it."""
    program = f"""
    import ctypes, os, signal, sys, pystack
    from pystack import nic
    net = pystack.Stack()
    wire = nic.Descriptor(int(sys.argv[1]), framing=nic.Framing.LENGTH32)
    net.attach({around.format("wire", tmp_path / "x.pcap")}, "10.0.0.1/24")
    listener = net.sockets.create_server(("127.0.0.1", 0))
    if {fork}():
        os.kill(os.getpid(), signal.SIGKILL)
    print("forked", flush=True)
    signal.pause()
    """
    ours, its = socket.socketpair()
    with ours, its, subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(its.fileno())],
        pass_fds=[its.fileno()], stdout=subprocess.PIPE, text=True, cwd="/", start_new_session=True,
    ) as owner:  # fmt: skip
        try:
            its.close()
            assert owner.wait() == -signal.SIGKILL
            assert owner.stdout is not None
            assert owner.stdout.readline() == "forked\n"
            ours.settimeout(30)
            while ours.recv(65536):
                pass
        finally:
            os.killpg(owner.pid, signal.SIGKILL)


def test_a_started_program_has_not_the_wire() -> None:
    ours, its = socket.socketpair()
    its.set_inheritable(True)
    with ours, pystack.Stack() as net:
        number = its.detach()
        net.attach(pystack.nic.Descriptor(number, framing=pystack.nic.Framing.LENGTH32))
        done = subprocess.run(
            [sys.executable, "-c", f"import os; os.fstat({number})"],
            close_fds=False, stderr=subprocess.PIPE, text=True, timeout=300, check=False,
        )  # fmt: skip
    assert "Bad file descriptor" in done.stderr
