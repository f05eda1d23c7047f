"""Every allocation failing in turn, through connect, transfer and close."""

from __future__ import annotations

from contextlib import ExitStack
from socket import AF_INET, SOCK_STREAM

import pytest
from lockstep import PORT, Lockstep, lockstep
from quick import slow

from pystack.sockets import Socket

pytestmark = pytest.mark.sanitize

REQUEST = bytes(range(256)) * 40
ANSWER = bytes(reversed(range(256))) * 300


def exchange(pair: Lockstep) -> bool:
    """One connection: a request one way, an answer back, orderly close.

    Returns:
        Whether all bytes arrived.

    Raises:
        OSError: What an application would have seen of the failure.
    """
    with ExitStack() as cleanup:
        listener = cleanup.enter_context(pair.listen())
        client = cleanup.enter_context(pair.client.socket(AF_INET, SOCK_STREAM))
        client.setblocking(False)
        code = client.connect_ex(("10.0.0.2", PORT))
        if code and code != 115:  # EINPROGRESS
            raise OSError(code, "connect")
        accepted, sent = [], 0

        def accept() -> bool:
            nonlocal sent
            if error := client.getsockopt(1, 4):  # SOL_SOCKET, SO_ERROR
                raise OSError(error, "connect")
            try:
                # The client speaks at once: a server that could neither keep the connection nor
                # say so is found out by this.
                sent = sent or client.send(REQUEST[:1])
            except BlockingIOError:
                pass  # not connected yet
            try:
                accepted.append(listener.accept()[0])
            except BlockingIOError:
                pass
            return bool(accepted) and sent == 1

        if not pair.run(accept):
            return False
        server = cleanup.enter_context(accepted[0])
        server.setblocking(False)
        return transfer(pair, client, server, REQUEST, 1) and transfer(pair, server, client, ANSWER)


def transfer(pair: Lockstep, sender: Socket, receiver: Socket, data: bytes, sent: int = 0) -> bool:
    """Sends ``data`` from position ``sent`` on, and receives all of it."""
    got = bytearray()

    def move() -> bool:
        nonlocal sent
        try:
            if sent < len(data):
                sent += sender.send(data[sent:])
        except BlockingIOError:
            pass
        try:
            while piece := receiver.recv(65536):
                got.extend(piece)
        except BlockingIOError:
            pass
        return len(got) >= len(data)

    arrived = pair.run(move)
    assert bytes(got) == data[: len(got)], "bytes were changed, lost or repeated"
    return arrived


def settle(pair: Lockstep) -> None:
    """Lets retransmissions, TIME-WAIT and reassembly run out."""
    pair.run(seconds=700, stride=0.5)


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("side", "in_a_row"), [("client", 1), slow("server", 1), slow("client", 3), slow("server", 3)]
)
def test_each_allocation_fails_in_turn(side: str, in_a_row: int) -> None:
    """No crash, no leak, and either all bytes or an error that the application sees."""
    with lockstep() as pair:
        victim = getattr(pair, side)
        victim.sysctl["net.ipv4.tcp_msl_ms"] = 1000
        other = pair.server if side == "client" else pair.client
        other.sysctl["net.ipv4.tcp_msl_ms"] = 1000
        assert exchange(pair)
        settle(pair)
        baseline = victim.arena.live_blocks
        outcomes = {"completed": 0, "refused": 0}
        for number in range(10_000):
            failures = victim.arena.failures
            victim.arena.fail_allocations(after=number, count=in_a_row)
            try:
                completed = exchange(pair)
            except OSError as error:
                assert error.errno is not None
                outcomes["refused"] += 1
            else:
                assert completed, f"allocation {number}: neither the bytes nor an error came"
                outcomes["completed"] += 1
            injected = victim.arena.failures > failures
            victim.arena.fail_allocations(after=0, count=0)
            settle(pair)
            assert victim.arena.live_blocks == baseline, f"allocation {number} left a leak"
            if not injected:
                break
        else:
            pytest.fail("the exchange never ran out of allocations")
        assert number > 20, "an exchange takes more allocations than that"
        assert outcomes["completed"] > 0
