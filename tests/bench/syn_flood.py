"""What a flood of SYNs leaves of a download through `pystack gateway`, at full rate.

    python tests/bench/syn_flood.py [SYNS_A_SECOND] [ROUNDS] [SECONDS]

A flooder costs a processor that the gateway, the guest and the server share. So each round has
three spells in turn: nobody floods; the same flooder at the same rate sends by a device that nobody
reads, where the gateway never sees it (the control); and it sends through the gateway, to where
nobody answers. What counts is the rate beside the control's, and the gateway's processor time for
each SYN beyond what the bytes cost. As an ordinary user, in namespaces made here; needs root to
make them.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from gateway_place import behind, inside, inside_words
from gateways import processor_s
from outside import SERVER, lead_to_nobody, outside

SPELLS = ("nobody", "elsewhere", "through")
TARGETS = {"elsewhere": "198.18.0", "through": "198.51.100"}
WARM_UP_S = 1.0  # the first thousand flows are taken at once
DOWNLOAD = """
import sys, time, urllib.request

page = urllib.request.urlopen(f"http://{sys.argv[1]}/10000000", timeout=60)
for line in sys.stdin:
    end, total = time.monotonic() + float(line), 0
    while time.monotonic() < end:
        total += len(page.read(1 << 18))
    print(total, flush=True)
"""
FLOOD = """
import random, select, socket, struct, sys, time

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

network, rate, chance = sys.argv[1], int(sys.argv[2]), random.Random(sys.argv[3])
source, frames = socket.inet_aton("10.0.2.100"), []
for number in range(65535):
    target = socket.inet_aton(f"{network}.{chance.randrange(1, 255)}")
    ports = chance.randrange(1024, 65536), chance.randrange(1, 65536)
    tcp = struct.pack("!HHIIBBHHH", *ports, number, 0, 0x50, 2, 65535, 0, 0)
    check = checksum(source + target + struct.pack("!HH", 6, 20) + tcp)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, number, 0, 64, 6, 0) + source + target
    frames.append((head + tcp[:16] + check.to_bytes(2, "big") + tcp[18:], socket.inet_ntoa(target)))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    print("floods", flush=True)
    sent, began = 0, time.monotonic()
    while True:
        while sent < (time.monotonic() - began) * rate:
            frame, target = frames[sent % len(frames)]
            raw.sendto(frame, (target, 0))
            sent += 1
        if select.select([sys.stdin], [], [], 0.005)[0]:
            if not sys.stdin.readline():
                break
            print(sent, flush=True)
"""


class Spell(NamedTuple):
    """What happened in one: bytes and SYNs a second, and the share of a processor."""

    rate: float
    syns: float
    processor: float


class Download:
    """One that goes on and on, in the guest; and the processor time of the gateway under it."""

    def __init__(self, guest: int, gateway: int) -> None:
        self._guest, self._gateway = guest, gateway
        self._process = self._start(DOWNLOAD, SERVER)

    def _start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            inside_words(self._guest, sys.executable, "-c", *words),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def spell(self, seconds: float, flood: subprocess.Popen[str] | None) -> Spell:
        """The next seconds of it."""
        began, used, sent = time.monotonic(), processor_s(self._gateway), asked(flood)
        got = int(said(self._process, seconds))
        took = time.monotonic() - began
        used = processor_s(self._gateway) - used
        return Spell(got / took, (asked(flood) - sent) / took, used / took)

    @contextmanager
    def flooded(self, network: str, rate: int, seed: int) -> Iterator[subprocess.Popen[str]]:
        """A flood for the block."""
        flood = self._start(FLOOD, network, str(rate), str(seed))
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "floods\n"
            self.spell(WARM_UP_S, flood)
            yield flood
        finally:
            flood.communicate()

    def close(self) -> None:
        """Ends it."""
        self._process.communicate()


def said(process: subprocess.Popen[str], what: object) -> str:
    """What it answers."""
    print(what, file=process.stdin, flush=True)
    assert process.stdout is not None
    return process.stdout.readline()


def asked(flood: subprocess.Popen[str] | None) -> int:
    """How many SYNs it has sent."""
    return 0 if flood is None else int(said(flood, "how many?"))


def prepare(place: Any, guest: int) -> None:
    """A way out to where nobody answers, and a device of the guest's that nobody reads."""
    lead_to_nobody(place)
    for words in (
        "link add sink type veth peer name end", "link set sink up", "link set end up",
        f"route add {TARGETS['elsewhere']}.0/24 via inet 192.0.2.2 dev sink onlink",
        "neighbour add 192.0.2.2 lladdr 02:00:00:00:00:99 dev sink",
    ):  # fmt: skip
        inside(guest, "ip", *words.split())


def measure(rate: int, rounds: int, seconds: float) -> dict[str, list[Spell]]:
    """Each kind's spells."""
    found: dict[str, list[Spell]] = {name: [] for name in SPELLS}
    with (
        tempfile.TemporaryDirectory() as folder,
        outside() as place,
        behind(place, Path(folder)) as (guest, gateway),
    ):
        prepare(place, guest)
        download = Download(guest, gateway.pid)
        try:
            download.spell(WARM_UP_S, None)
            for number in range(rounds):
                for name, spells in found.items():
                    if name == "nobody":
                        spells.append(download.spell(seconds, None))
                        continue
                    with download.flooded(TARGETS[name], rate, number) as flood:
                        spells.append(download.spell(seconds, flood))
        finally:
            download.close()
    return found


def main(rate: int = 3000, rounds: int = 5, seconds: int = 2) -> None:
    """Measures, and prints."""
    found = measure(rate, rounds, seconds)
    for name, spells in found.items():
        bytes_, syns, share = (statistics.median(column) for column in zip(*spells, strict=True))
        print(f"{name:10} {bytes_ / 1e6:7.1f} MB/s, {syns:6.0f} SYNs/s, processor {share:.2f}")
    pairs = list(zip(found["elsewhere"], found["through"], strict=True))
    kept = statistics.median(flooded.rate / control.rate for control, flooded in pairs)
    each = statistics.median(
        (flooded.processor - control.processor * flooded.rate / control.rate) / flooded.syns
        for control, flooded in pairs
    )
    print(f"beside the control {kept:.2f} of the rate is left; a SYN costs {each * 1e6:.1f} us")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
