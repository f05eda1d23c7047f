"""Runs pytest with a Stack's sockets, or the kernel's, under the library's socket.py.

``pytest_worker.py KIND REPORT ARGUMENTS...``: KIND as for `worker.py`; REPORT is a JUnit file.
The Stack gets the interfaces that the kernel has in this namespace, on wires of nobody's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from worker import stand_in


def same_interfaces(net: Any) -> None:
    """Names and addresses as the kernel's."""
    import pystack

    said = subprocess.run(["ip", "-json", "address"], capture_output=True, check=True).stdout
    for interface in json.loads(said):
        addresses = [f"{one['local']}/{one['prefixlen']}" for one in interface["addr_info"]]
        if "LOOPBACK" not in interface["flags"] and addresses:
            ours, _ = pystack.nic.wire()
            net.attach(ours, *addresses, name=interface["ifname"])


if __name__ == "__main__":
    if sys.argv[1] == "stack":
        same_interfaces(stand_in())
    import pytest

    code = pytest.main(["-q", "-p", "no:cacheprovider", "--junitxml", *sys.argv[2:]])
    sys.stdout.flush()
    os._exit(int(code))
