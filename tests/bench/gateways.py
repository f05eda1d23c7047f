"""`pystack gateway` beside slirp4netns and passt: iperf3 from a namespace to the machine.

    python tests/bench/gateways.py [SECONDS] [ROUNDS]

Each round runs all, one after the other, both ways; what is printed are medians and ratios. As an
ordinary user, in namespaces made here. Needs root to make them, iperf3, slirp4netns and passt.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from gateway_place import as_nobody, inside, inside_words, private
from namespace import Namespace, namespace

SERVER = "203.0.113.1"
PATIENCE_S = 20.0
GATEWAYS = {
    "pystack": ("-m", "pystack", "gateway", "--configure", "--netns", "{pid}"),
    "slirp4netns": ("slirp4netns", "--configure", "--mtu=65520", "{pid}", "tap0"),
    "slirp4netns, MTU 1500": ("slirp4netns", "--configure", "{pid}", "tap0"),
    "passt (pasta)": (
        "pasta", "--config-net", "-f", "-q", "--mtu", "65520",
        *("-t", "none", "-u", "none", "-T", "none", "-U", "none"), "{pid}",
    ),
}  # fmt: skip


@contextmanager
def running(place: Namespace, folder: Path, name: str) -> Iterator[tuple[int, int]]:
    """The process behind a gateway of that kind, whose way out works, and the gateway's own."""
    with private(place, folder) as guest:
        words = [one.format(pid=guest) for one in GATEWAYS[name]]
        words = [sys.executable, *words] if name == "pystack" else words
        process = as_nobody(
            place, folder, *words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
        try:
            deadline = time.monotonic() + PATIENCE_S
            while "default" not in inside(guest, "ip", "route"):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield guest, process.pid
        finally:
            process.terminate()
            process.communicate()


def processor_s(process: int) -> float:
    """The processor time that it has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(guest: int, name: str, seconds: float, *words: str) -> float:
    """Mbit/s, as the receiver has it; a run that iperf3 gives up is told of and done again."""
    for _ in range(3):
        words_inside = ("iperf3", "-c", SERVER, "-t", str(seconds), "-J", *words)
        done = subprocess.run(
            inside_words(guest, *words_inside), stdout=subprocess.PIPE, check=False, timeout=60
        )
        said = json.loads(done.stdout)
        if "sum_received" in said["end"]:
            return float(said["end"]["sum_received"]["bits_per_second"]) / 1e6
        print(f"{name}: {said.get('error')}", file=sys.stderr)
    raise SystemExit(f"{name}: iperf3 has given up three times")


def prepare(place: Namespace) -> None:
    """Gives the machine an address to serve at, and a default route."""
    for words in (
        "address add 203.0.113.1/32 dev lo", "link add out type veth peer name far",
        "link set far up", "link set out up", "address add 198.51.100.2/24 dev out",
        "route add default via 198.51.100.1",
    ):  # fmt: skip
        place.run("ip", *words.split())


def main(seconds: float = 2, rounds: int = 3) -> None:
    """Measures, and prints."""
    found: dict[str, dict[str, list[float]]] = {
        name: {"to the machine": [], "from it": []} for name in GATEWAYS
    }
    with namespace() as place, tempfile.TemporaryDirectory() as folder:
        prepare(place)
        server: Any = place.start("iperf3", "-s", stdout=subprocess.DEVNULL)
        try:
            for _ in range(rounds):
                for name, ways in found.items():
                    with running(place, Path(folder), name) as (guest, _):
                        time.sleep(0.5)
                        ways["to the machine"].append(rate(guest, name, seconds))
                        ways["from it"].append(rate(guest, name, seconds, "-R"))
        finally:
            server.terminate()
            server.wait()
    ours = {way: statistics.median(rates) for way, rates in found["pystack"].items()}
    for name, ways in found.items():
        for way, rates in ways.items():
            middle = statistics.median(rates)
            ratio = ours[way] / middle
            print(f"{name:24} {way:14} {middle:7.0f} Mbit/s   pystack is {ratio:.2f} of it")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
