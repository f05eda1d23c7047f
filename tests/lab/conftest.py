"""The lab needs scapy, which speaks up about things that are none of a test's."""

from __future__ import annotations

import pytest

pytest.importorskip("scapy")
