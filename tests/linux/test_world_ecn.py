"""Linux's TCP in a World, whose links mark congestion."""

from __future__ import annotations

import socket

from pystack.world import CoDel, Host, World


def test_tcp_slows_down_for_marks_and_loses_nothing(engine: str) -> None:
    with World(seed=1) as world:
        left, right = (world.host(name, engine=engine) for name in ("left", "right"))
        link = world.link(left, right, rate="10Mbit/s", delay="10ms", queue=CoDel(ecn=True))
        for host in (left, right):
            host.sysctl["net.ipv4.tcp_ecn"] = 1

        def take() -> None:
            with socket.create_server(("", 80)) as listener:
                connection, _peer = listener.accept()
                with connection:
                    while connection.recv(65536):
                        pass

        thread = right.thread(take)
        with left.sockets.create_connection(("10.0.0.2", 80)) as sock:
            sock.sendall(bytes(10_000_000))
            assert sock.tcp_info().total_retransmits == 0
        thread.join()
        counts = link.counts(left)
        assert counts.dropped == counts.overflowed == 0
        assert 5 < counts.marked < 100
        assert world.now < 10_000_000 * 8 / 10e6 * 1.1  # and the link is full


def test_linux_is_behind_a_nat_and_is_one(engine: str) -> None:
    with World() as world:
        inside, server = world.host("inside", engine=engine), world.host("server")
        nat = world.nat("nat", "symmetric", engine=engine)
        world.link(inside, nat.inside)
        world.link(nat.outside, server)
        inside.routes.add("0.0.0.0/0", gateway="10.0.0.2")
        assert inside.ping("10.0.1.2").received == 1
        hops = [str(hop.address) for hop in inside.traceroute("10.0.1.2").hops]
        assert hops == ["10.0.0.2", "10.0.1.2"]
        ports = {port_seen(inside, server, number) for number in (4000, 4001)}
        assert ports == {4000, 4001}
        assert len(nat.mappings()) == 4  # an echo, the traceroute, and two of UDP


def port_seen(inside: Host, server: Host, number: int) -> int:
    with (
        inside.socket(type=socket.SOCK_DGRAM) as sock,
        server.socket(type=socket.SOCK_DGRAM) as taker,
    ):
        taker.bind(("", 7))
        sock.bind(("", number))
        sock.sendto(b"hello", ("10.0.1.2", 7))
        address, port = taker.recvfrom(10)[1]
        assert address == "10.0.1.1"
        return int(port)
