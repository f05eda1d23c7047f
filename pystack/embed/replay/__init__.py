"""One side of a captured flow, replayed against a live server.

`read` finds the flows of a capture. `packets` sends the client's packets again as they were, with
the live connection's numbers in them; `stream` sends what they carried, through a Stack's TCP or
UDP. Both say what was answered, and where that first differs from the capture.

Needs scapy, which reads captures: ``pip install 'pystack-lwip[scapy]'``.
"""

from __future__ import annotations

from pystack.embed.replay.flow import CapturedFlow, Segment
from pystack.embed.replay.packets import packets
from pystack.embed.replay.reading import CaptureError, read
from pystack.embed.replay.result import Ending, Exchange, Pace, Result
from pystack.embed.replay.stream import stream

__all__ = [
    "CaptureError",
    "CapturedFlow",
    "Ending",
    "Exchange",
    "Pace",
    "Result",
    "Segment",
    "packets",
    "read",
    "stream",
]
