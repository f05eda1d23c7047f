"""A World: what loss and round trip leave of 100 Mbit/s, beside the bound of Mathis and others.

`--engine linux` or `gvisor` shows another stack, `--plot FILE` draws it (with matplotlib). The
bound is that of a loss at random and of halving windows ("The macroscopic behavior of the TCP
congestion avoidance algorithm", 1997): CUBIC goes beyond it where round trips are long.
"""

from __future__ import annotations

import argparse
import math
import socket

from pystack.world import Conditions, World

LOSSES, ROUND_TRIPS_S = (0.001, 0.01, 0.03), (0.01, 0.05, 0.2)
RATE, PAYLOAD, FRAME = 100e6, 1448, 1514  # bit/s; bytes of data in a full segment, and its frame


def bound(loss: float, round_trip: float) -> float:
    """In bit/s; at most what the link carries."""
    return min(PAYLOAD * 8 / round_trip * math.sqrt(1.5 / loss), RATE * PAYLOAD / FRAME)


def goodput(engine: str, loss: float, round_trip: float, seconds: float = 60) -> float:
    """Bit/s that arrive, after as many seconds to settle in; acknowledgements aren't lost."""
    arrived = [0]

    def take() -> None:
        with socket.create_server(("", 80)) as listener:
            connection, _peer = listener.accept()
            with connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1 << 16)
                while data := connection.recv(1 << 20):
                    arrived[0] += len(data)

    def give() -> None:
        with socket.create_connection(("taker", 80)) as sock:
            while True:
                sock.sendall(bytes(1 << 18))

    with World(seed=1) as world:
        giver, taker = (world.host(name, engine=engine) for name in ("giver", "taker"))
        back = Conditions(delay=round_trip / 2, rate=RATE, queue=1000)
        world.link(giver, taker, delay=round_trip / 2, rate=RATE, queue=1000, loss=loss, back=back)
        taker.thread(take)
        giver.thread(give)
        world.sleep(seconds)
        before = arrived[0]
        world.sleep(seconds)
        return (arrived[0] - before) * 8 / seconds


def plot(file: str, engine: str, found: dict[tuple[float, float], float]) -> None:
    """Goodput over loss, a line a round trip, the bounds dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - for this alone

    axes = (figure := Figure()).subplots()
    for number, trip in enumerate(ROUND_TRIPS_S):
        line = [found[loss, trip] / 1e6 for loss in LOSSES]
        axes.loglog(LOSSES, line, f"C{number}o-", label=f"{engine}, {trip * 1000:g} ms")
        axes.loglog(LOSSES, [bound(loss, trip) / 1e6 for loss in LOSSES], f"C{number}--")
    axes.set(xlabel="loss", ylabel="goodput, Mbit/s (dashed: Mathis)")
    axes.legend()
    figure.savefig(file)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engine", default="lwip")
    parser.add_argument("--plot", metavar="FILE")
    words = parser.parse_args()
    found: dict[tuple[float, float], float] = {}
    for loss in LOSSES:
        for trip in ROUND_TRIPS_S:
            found[loss, trip] = it = goodput(words.engine, loss, trip)
            part = it / bound(loss, trip)
            print(f"loss {loss:6.1%}, {trip * 1000:3g} ms: {it / 1e6:6.2f} Mbit/s, {part:.2f}")
    if words.plot:
        plot(words.plot, words.engine, found)


if __name__ == "__main__":
    main()
