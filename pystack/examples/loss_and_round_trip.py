"""A World: what loss and round trip leave of 100 Mbit/s, beside the bound of Mathis and others.

The bound is that of a loss at random and of halving windows ("The macroscopic behavior of the TCP
congestion avoidance algorithm", 1997): CUBIC goes beyond it. A FILE.svg is drawn by matplotlib.
"""

import math
import socket
import sys

from pystack.world import Conditions, World

LOSSES, ROUND_TRIPS_S = (0.001, 0.01, 0.03), (0.01, 0.05, 0.2)
RATE, PAYLOAD, FRAME = 100e6, 1448, 1514  # bit/s; bytes of a full segment's data, and its frame's


def bound(loss: float, round_trip: float) -> float:
    """In bit/s; at most what the link carries."""
    return min(PAYLOAD * 8 / round_trip * math.sqrt(1.5 / loss), RATE * PAYLOAD / FRAME)


def goodput(loss: float, round_trip: float, seconds: float = 60) -> float:
    """Bit/s that arrive, after as many seconds to settle in; acknowledgements aren't lost."""
    arrived: list[int] = []

    def take() -> None:
        with socket.create_server(("", 80)) as listener, listener.accept()[0] as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 << 16)
            while data := connection.recv(1 << 20):
                arrived.append(len(data))

    def give() -> None:
        with socket.create_connection(("taker", 80)) as sock:
            while True:
                sock.sendall(bytes(1 << 18))

    with World(seed=1) as world:
        giver, taker = (world.host(name) for name in ("giver", "taker"))
        back = Conditions(delay=round_trip / 2, rate=RATE, queue=1000)
        world.link(giver, taker, delay=round_trip / 2, rate=RATE, queue=1000, loss=loss, back=back)
        taker.thread(take)
        giver.thread(give)
        world.sleep(seconds)
        arrived.clear()
        world.sleep(seconds)
        return sum(arrived) * 8 / seconds


if __name__ == "__main__":
    for trip in ROUND_TRIPS_S:
        rates, bounds = [], [bound(loss, trip) / 1e6 for loss in LOSSES]
        for loss, most in zip(LOSSES, bounds, strict=True):
            rates.append(rate := goodput(loss, trip) / 1e6)
            print(f"{trip * 1000:3g} ms, loss {loss:5.1%}: {rate:5.2f} Mbit/s, {rate / most:.2f}")
        if len(sys.argv) > 1:
            from matplotlib import pyplot

            pyplot.loglog(LOSSES, rates, "o-", LOSSES, bounds, "--", label=f"{trip * 1000:g} ms")
            pyplot.savefig(sys.argv[1])
