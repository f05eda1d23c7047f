"""What `pystack gateway` loses of UDP, beside slirp4netns and passt: iperf3 -u, both ways.

    python tests/bench/datagrams.py [MBIT_A_SECOND] [ROUNDS] [SECONDS]

Each round runs all, one after the other; what is printed are medians: of what was lost, in percent,
of what was sent, since a busy machine sends less than it was asked to, and of the gateway's
processor time for a datagram. iperf3's sockets have room: what is lost is lost on the way.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from gateway_place import inside_words
from gateways import SERVER, prepare, processor_s, running
from namespace import namespace

NAMES = ("pystack", "slirp4netns", "passt (pasta)")
WAYS = {"to the machine": (), "from it": ("-R",)}
DATAGRAM = 1400


def lost(
    guest: int, gateway: int, rate: int, seconds: int, *words: str
) -> tuple[float, float, float]:
    """The share that is lost, Mbit/s sent, and seconds of the gateway's for each that was sent."""
    asked = ("-u", "-w", "4M", "-b", f"{rate}M", "-l", str(DATAGRAM), "-t", str(seconds), "-J")
    for _ in range(3):
        used = processor_s(gateway)
        done = subprocess.run(
            inside_words(guest, "iperf3", "-c", SERVER, *asked, *words),
            stdout=subprocess.PIPE, check=False, timeout=60,
        )  # fmt: skip
        said: Any = json.loads(done.stdout)
        if "sum" in said["end"]:
            # What the receiver counts leaves out the last ones, which nothing came after.
            one = said["end"]["sum"]
            sent = said["end"]["sum_sent"]["packets"]
            got = one["packets"] - one["lost_packets"]
            each = (processor_s(gateway) - used) / max(sent, 1)
            return 1 - got / max(sent, 1), sent * DATAGRAM * 8 / seconds / 1e6, each
        print(said.get("error"), file=sys.stderr)
    raise SystemExit("iperf3 has given up three times")


def main(rate: int = 200, rounds: int = 3, seconds: int = 2) -> None:
    """Measures, and prints."""
    found: dict[tuple[str, str], list[tuple[float, float, float]]] = {
        (name, way): [] for name in NAMES for way in WAYS
    }
    with namespace() as place, tempfile.TemporaryDirectory() as folder:
        prepare(place)
        server: Any = place.start(
            "iperf3", "-s", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            for _ in range(rounds):
                for name in NAMES:
                    with running(place, Path(folder), name) as (guest, gateway):
                        time.sleep(0.5)
                        for way, words in WAYS.items():
                            found[name, way].append(lost(guest, gateway, rate, seconds, *words))
        finally:
            server.terminate()
            server.wait()
    for (name, way), each in found.items():
        share, sent, used = (statistics.median(column) for column in zip(*each, strict=True))
        print(
            f"{name:16} {way:14} {100 * share:5.1f} % lost of {sent:5.0f} Mbit/s,"
            f" {1e6 * used:5.1f} us each"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
