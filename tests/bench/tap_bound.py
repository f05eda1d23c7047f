"""How near to the kernel's own bulk over veth any stack behind a TAP can come on this machine.

``.venv/bin/python tests/bench/tap_bound.py [--rounds N] [--congestion reno]``, as root, with a C
compiler: by turns veth, what tap_bound.c does at the TAP's end with no copy of its own, with one
and two, and the engines. Beside the rate stands the processor time of each end's process, whose
core is its own: the larger is what limits.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import resource
import socket
import statistics
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pystack._native.engines import built_libraries
from pystack.bench import ways
from pystack.bench.ways import LEFT, RIGHT, Network
from pystack.bench.worker import Here, Worker

OURS = 5001
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000
TUNSETIFF, TUNSETOFFLOAD, SIOCGIFHWADDR = 0x400454CA, 0x400454D0, 0x8927
CHECKSUM_AND_TSO4 = 3
Row = dict[str, float]


def _compile(folder: Path) -> Path:
    library = folder / "tap_bound.so"
    source = Path(__file__).with_suffix(".c")
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(source), "-o", str(library)], check=True)
    return library


# --- what happens in a worker ----------------------------------------------------------------


def _bare_on_tap(here: Here, library: str) -> None:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    request = struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
    fcntl.ioctl(fd, TUNSETIFF, request)
    fcntl.ioctl(fd, TUNSETOFFLOAD, CHECKSUM_AND_TSO4)
    here.kept = (fd, library, 0)


def _bare(here: Here, port: int, copies: int, longest: bool, seconds: float) -> Row:
    fd, path, used = here.kept
    here.kept = (fd, path, used + 1)
    bound = ctypes.CDLL(path).tap_bound
    bound.restype = ctypes.c_longlong
    mac = fcntl.ioctl(fd, SIOCGIFHWADDR, struct.pack("16s24x", b"tap0"))[18:24]
    addresses = [ctypes.c_uint32.from_buffer_copy(socket.inet_aton(each)) for each in (RIGHT, LEFT)]
    own = OURS + (used if port else 0)
    moved = bound(fd, mac, *addresses, own, port, copies, longest, ctypes.c_double(seconds))
    if moved < 0:
        raise OSError(-moved, os.strerror(-moved))
    return {"bytes": moved}


def _spent(here: Here) -> float:
    del here
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


# --- ways ------------------------------------------------------------------------------------


@contextmanager
def _over_bare_tap(library: Path) -> Iterator[Network]:
    with ways._pair() as (kernel, bare):
        bare.call(ways._go_apart)
        bare.call(_bare_on_tap, str(library))
        kernel.call(ways._follow, bare.pid, ways.CLONE_NEWNET)
        kernel.call(ways._device_up, "tap0", LEFT)
        kernel.call(ways._kernel, LEFT)
        yield Network(kernel, bare)


def _sockets(one: Worker, two: Worker, seconds: float) -> float:
    """Gbit/s between two ends that have sockets."""
    address = two.call(Here.open, "bulk")
    two.tell(Here.serve, "bulk", seconds)
    one.call(Here.ask, "bulk", address, seconds)
    return float(two.answer()["bulk"])


def _to_bare(kernel: Worker, bare: Worker, copies: int, seconds: float) -> float:
    bare.tell(_bare, 0, copies, False, seconds)
    kernel.tell(Here.ask, "bulk", (RIGHT, OURS), seconds)
    moved = float(bare.answer()["bytes"])
    kernel.answer()
    return moved * 8 / seconds / 1e9


def _from_bare(bare: Worker, kernel: Worker, copies: int, longest: bool, seconds: float) -> float:
    address = kernel.call(Here.open, "bulk")
    kernel.tell(Here.serve, "bulk", seconds)
    bare.call(_bare, address[1], copies, longest, seconds)
    return float(kernel.answer()["bulk"])


def _measure(networks: dict[str, Network], way: str, seconds: float) -> Row:
    where, _, what = way.partition(", ")
    name, _, inward = where.partition(" ")
    network = networks[name]
    one, two = (network.two, network.one) if inward == "out" else (network.one, network.two)
    before = one.call(_spent), two.call(_spent)
    if name != "bare":
        rate = _sockets(one, two, seconds)
    elif inward == "out":
        rate = _from_bare(one, two, int(what[0]), what.endswith("longest"), seconds)
    else:
        rate = _to_bare(one, two, int(what[0]), seconds)
    spent = [
        (worker.call(_spent) - since) * 1e3
        for worker, since in zip((one, two), before, strict=True)
    ]
    gbit = rate * seconds
    return {"rate": rate, "sender": spent[0] / gbit, "receiver": spent[1] / gbit}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--congestion", help="of the kernel's sockets")
    arguments = parser.parse_args()
    engines = ["lwip", *(["linux"] if built_libraries("linux") else [])]
    tried = ["veth"]
    for direction in ("in", "out"):
        tried += [f"bare {direction}, {copies} copies" for copies in (0, 1, 2)]
        if direction == "out":
            tried += [f"bare out, {copies} copies, longest" for copies in (0, 1, 2)]
        tried += [f"{engine} {direction}" for engine in engines]
    found: dict[str, list[Row]] = {way: [] for way in tried}
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        networks = {
            "veth": cleanup.enter_context(ways._over_veth()),
            "bare": cleanup.enter_context(_over_bare_tap(_compile(folder))),
        }
        for engine in engines:
            networks[engine] = cleanup.enter_context(ways._over_tap(engine))
        if arguments.congestion:
            for network in networks.values():
                for worker in (network.one, network.two):
                    worker.call(Here.control, arguments.congestion)
        for _ in range(arguments.rounds):
            for way in tried:
                found[way].append(_measure(networks, way, arguments.seconds))
    table = Table("", "Gbit/s", "range", "of veth's", "sender, ms/Gbit", "receiver, ms/Gbit")
    for way, rows in found.items():
        rates = [row["rate"] for row in rows]
        ratios = [rate / base["rate"] for rate, base in zip(rates, found["veth"], strict=True)]
        spent = [statistics.median(row[end] for row in rows) for end in ("sender", "receiver")]
        table.add_row(
            way,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f}-{max(rates):.1f}",
            f"{statistics.median(ratios):.2f}",
            *(f"{each:.1f}" for each in spent),
        )
    Console().print(table)


if __name__ == "__main__":
    main()
