"""wireguard-go on a device in a namespace, and keys: the far end of a `nic.WireGuard`."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from namespace import Namespace, available

needs_wireguard_go = pytest.mark.skipif(
    available() is not None or shutil.which("wireguard-go") is None or shutil.which("wg") is None,
    reason=str(available() or "needs wireguard-go and wireguard-tools"),
)


def pair() -> tuple[str, str]:
    """A private key and its public one, in base64."""
    key = X25519PrivateKey.generate()
    return (
        b64encode(key.private_bytes_raw()).decode(),
        b64encode(key.public_key().public_bytes_raw()).decode(),
    )


@contextmanager
def wireguard_go(place: Namespace, name: str, config: str, *addresses: str) -> Iterator[None]:
    """wireguard-go with a device of that name, as `wg setconf` takes the configuration."""
    environment = {**os.environ, "WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
    daemon = place.start(
        "wireguard-go", "-f", name, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        control = Path(f"/var/run/wireguard/{name}.sock")
        # It tells nobody when it is ready; `wg` is asked until it answers.
        for _each in range(500):
            if control.exists():
                with contextlib.suppress(subprocess.CalledProcessError):
                    place.run("wg", "show", name)
                    break
            assert daemon.poll() is None, "wireguard-go has ended"
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(0.02)
        place.run("wg", "setconf", name, "/dev/stdin", input=config)
        place.device(name, *addresses)
        yield
    finally:
        daemon.terminate()
        daemon.wait(30)


def latest_handshake(place: Namespace, name: str) -> int:
    """When, by `wg show`; 0: never."""
    return int(place.run("wg", "show", name, "latest-handshakes").stdout.split()[-1])
