"""A World: bufferbloat, and what CoDel does about it.

An upload fills the buffer before a slow link, and all else that goes that way waits behind it; with
CoDel (RFC 8289) or FQ-CoDel (RFC 8290) it doesn't. A FILE.svg is drawn by matplotlib.
"""

import statistics
import sys

from pystack.world import CoDel, Fifo, FqCoDel, Queue, World

QUEUES: dict[str, Queue] = {"FIFO": Fifo(300), "CoDel": CoDel(), "FQ-CoDel": FqCoDel()}
SECONDS = 20


def measure(queue: Queue) -> tuple[dict[float, float], float]:
    """Round-trip times in ms, by the moment, during an upload; and its rate in Mbit/s."""
    with World(seed=1) as world:
        home, server = world.host("home"), world.host("server")
        world.link(home, server, rate="10Mbit/s", delay="10ms", queue=queue)

        def take() -> None:
            with listener, listener.accept()[0] as connection:
                while connection.recv(65536):
                    pass

        def upload() -> None:
            with home.sockets.create_connection(("10.0.0.2", 80)) as sock:
                while world.now < SECONDS:
                    sock.sendall(bytes(16384))

        listener = server.sockets.create_server(("", 80))
        taking, _sending = server.thread(take), home.thread(upload)
        times: dict[float, float] = {}
        while world.now < SECONDS:
            times[world.now] = home.ping("10.0.0.2", timeout=5).replies[0].rtt_ms or 5000.0
            world.sleep(0.1)
        rate = home.interfaces[-1].counters()["out_octets"] * 8 / world.now / 1e6
        taking.join()
        return times, rate


def main() -> None:
    """Measures, prints, and draws if it is asked to."""
    found = {name: measure(queue) for name, queue in QUEUES.items()}
    for name, (times, rate) in found.items():
        print(f"{name}: {statistics.median(times.values()):.0f} ms a ping, {rate:.1f} Mbit/s")
    if len(sys.argv) > 1:
        from matplotlib import pyplot  # noqa: PLC0415 - only a plot needs it

        for name, (times, _rate) in found.items():
            pyplot.plot(list(times), list(times.values()), label=name)
        pyplot.gca().set(xlabel="seconds", ylabel="round trip, ms", yscale="log")
        pyplot.legend()
        pyplot.savefig(sys.argv[1])


if __name__ == "__main__":
    main()
