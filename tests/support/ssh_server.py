"""Debian's openssh-server in a network namespace, for one user and with tunnels."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from namespace import Namespace, namespace, needs_namespace

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/bin")
needs_sshd = [
    needs_namespace,
    pytest.mark.skipif(
        SSHD is None or shutil.which("ssh-keygen") is None,
        reason="no sshd, or no ssh-keygen (Debian's openssh-server)",
    ),
]
PORT = 2222

CONFIG = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
PermitTunnel yes
PermitRootLogin yes
StrictModes no
UsePAM no
LogLevel INFO
"""


@dataclass
class SshServer:
    """The server's namespace and the user's key."""

    place: Namespace
    folder: Path

    @property
    def key(self) -> str:
        return str(self.folder / "user")

    def connected_socket(self) -> socket.socket:
        """A socket of the kernel's, connected to it."""
        made: socket.socket = self.place.call(socket.create_connection, ("127.0.0.1", PORT), 10)
        return made

    def options(self) -> dict[str, Any]:
        """asyncssh.connect's."""
        return {"known_hosts": None, "client_keys": [self.key], "username": "root", "config": None}


def wait_for(place: Namespace, process: subprocess.Popen[bytes]) -> None:
    """Until it says on its standard error that it listens."""
    assert process.stderr is not None
    for line in process.stderr:
        if b"Server listening" in line:
            return
    raise AssertionError("sshd has ended")


@contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """The server, for the block; it has to be there when the block begins."""
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    (folder / "config").write_text(CONFIG.format(port=PORT, folder=folder))
    Path("/run/sshd").mkdir(exist_ok=True)
    with namespace() as place:
        process = place.start(
            str(SSHD), "-D", "-e", "-f", str(folder / "config"), stderr=subprocess.PIPE
        )
        try:
            wait_for(place, process)
            yield SshServer(place, folder)
        finally:
            process.terminate()
            process.communicate(timeout=10)
            for pid in place.processes():  # a session outlives its server
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
