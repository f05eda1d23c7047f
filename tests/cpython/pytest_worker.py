"""Runs pytest with a Stack's sockets, or the kernel's, under the library's socket.py.

``pytest_worker.py KIND REPORT ARGUMENTS...``: KIND as for `worker.py`; REPORT is a JUnit file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from worker import stand_in

if __name__ == "__main__":
    if sys.argv[1] == "stack":
        stand_in()
    import pytest

    code = pytest.main(["-q", "-p", "no:cacheprovider", "--junitxml", *sys.argv[2:]])
    sys.stdout.flush()
    os._exit(int(code))
