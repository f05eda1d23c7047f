"""A gateway under load: many flows at once, and a flood of new ones beside those at work."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from gateway_place import behind, inside, inside_words
from installed import needs_programs
from namespace import needs_namespace
from outside import SERVER, outside

pytestmark = [needs_namespace, needs_programs("setpriv"), pytest.mark.timeout(180)]

PORT = 5000
DESCRIPTORS = 1  # of a flow: the kernel's socket
ECHO = """
import resource, selectors, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=4096)
listener.setblocking(False)
waiting = selectors.DefaultSelector()
waiting.register(listener, selectors.EVENT_READ)
waiting.register(sys.stdin, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in waiting.select():
        if key.fileobj is sys.stdin:
            sys.exit()
        if key.fileobj is listener:
            one, _ = listener.accept()
            waiting.register(one, selectors.EVENT_READ)
            continue
        try:
            data = key.fileobj.recv(100)
            if data:
                key.fileobj.send(data)
                continue
        except OSError:
            pass
        waiting.unregister(key.fileobj)
        key.fileobj.close()
"""
CONNECT = """
import resource, selectors, socket, sys, time
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
where, count = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3])
ends = []
for number in range(count):  # some at a time, as a kernel's backlog has them
    one = socket.socket()
    one.setblocking(False)
    one.connect_ex(where)
    ends.append(one)
    if number >= 200:
        ends[number - 200].settimeout(60)
        ends[number - 200].sendall(b"%06d" % (number - 200))
for number, one in list(enumerate(ends))[-200:]:
    one.settimeout(60)
    one.sendall(b"%06d" % number)
right = sum(one.recv(6, socket.MSG_WAITALL) == b"%06d" % number for number, one in enumerate(ends))
for number, one in enumerate(ends):  # and all of them once more, now that all are there
    one.sendall(b"%06d" % -number)
right += sum(
    one.recv(6, socket.MSG_WAITALL) == b"%06d" % -number for number, one in enumerate(ends)
)
print(right)
"""


@pytest.mark.parametrize("count", [500, pytest.param(10_000, marks=pytest.mark.slow)])
def test_many_flows_at_once(count: int, tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY:
        count = min(count, (hard - 500) // DESCRIPTORS)  # where even root may have no more
    with outside() as place, behind(place, tmp_path) as (guest, _):
        server = place.start(
            sys.executable, "-c", ECHO, SERVER, str(PORT),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        try:
            assert server.stdout.readline() == b"ready\n"
            said = inside(guest, sys.executable, "-c", CONNECT, SERVER, str(PORT), str(count))
            assert int(said) == 2 * count
        finally:
            server.communicate(b"", timeout=30)


DOWNLOAD = """
import json, sys, time, urllib.request

page = urllib.request.urlopen(f"http://{sys.argv[1]}/100000", timeout=60)
for line in sys.stdin:
    seconds, most = map(float, line.split())
    total, began = 0, time.monotonic()
    while (now := time.monotonic()) < began + seconds:
        if total <= (now - began) * most:
            total += len(page.read(1 << 17))
        else:
            time.sleep(0.001)
    print(round(total / (time.monotonic() - began)), flush=True)
"""
# SYNs to where nobody answers, so many a second.
FLOOD = """
import random, socket, struct, sys, time

def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

source, rate, chance = socket.inet_aton("10.0.2.100"), int(sys.argv[1]), random.Random(sys.argv[2])
frames = []
for number in range(8192):
    target = bytes((198, 51, 100, chance.randrange(1, 255)))
    ports = chance.randrange(1024, 65536), chance.randrange(1, 65536)
    tcp = struct.pack("!HHIIBBHHH", *ports, number, 0, 0x50, 2, 65535, 0, 0)
    check = checksum(source + target + struct.pack("!HH", 6, 20) + tcp)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 40, number, 0, 64, 6, 0) + source + target
    frames.append((head + tcp[:16] + check.to_bytes(2, "big") + tcp[18:], socket.inet_ntoa(target)))
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
    raw.sendto(frames[0][0], (frames[0][1], 0))
    print("floods", flush=True)
    sent, began = 0, time.monotonic()
    while True:
        while sent < (time.monotonic() - began) * rate:
            frame, target = frames[sent % len(frames)]
            raw.sendto(frame, (target, 0))
            sent += 1
        time.sleep(0.005)
"""
FLOOD_RATE = 3000
SPELL_S = 1.0
KEPT = 0.9
RATE = 10e6  # bytes a second of the download: what a busy machine has left over, it must get


@pytest.mark.slow
def test_a_flood_of_connections_leaves_the_others_their_rate(tmp_path: Path) -> None:
    with outside() as place, behind(place, tmp_path) as (guest, _):
        for words in (
            "link add out type veth peer name far", "link set out up", "link set far up",
            "address add 192.0.2.1/24 dev out", "route add default via 192.0.2.2",
            "neighbour add 192.0.2.2 lladdr 02:00:00:00:00:99 dev out",
        ):  # fmt: skip
            place.run("ip", *words.split())
        download = subprocess.Popen(
            inside_words(guest, sys.executable, "-c", DOWNLOAD, SERVER),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

        def rate() -> int:
            print(SPELL_S, RATE, file=download.stdin, flush=True)
            return int(download.stdout.readline())

        def flooded(number: int) -> int:
            flood = subprocess.Popen(
                inside_words(guest, sys.executable, "-c", FLOOD, str(FLOOD_RATE), str(number)),
                stdout=subprocess.PIPE,
            )
            try:
                assert flood.stdout.readline() == b"floods\n"
                rate()  # the first thousand are taken at once
                return rate()
            finally:
                flood.kill()
                flood.communicate()

        try:
            rate()
            pairs = [(rate(), flooded(number)) for number in range(3)]
        finally:
            download.communicate()
        kept = statistics.median(during / alone for alone, during in pairs)
        print(f"{kept:.2f} of the rate is left: {pairs}")
        assert kept >= KEPT
