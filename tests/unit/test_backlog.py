"""Listen backlogs: more connections than 8 bits can count wait for accept()."""

from __future__ import annotations

import errno

import pytest
from lockstep import PORT, Lockstep, lockstep

from pystack.tables import TcpState

WAITING = 1500


def waiting(it: Lockstep) -> int:
    """How many connections wait at the server's listener."""
    return next(
        one.receive_queue for one in it.server.connections() if one.state is TcpState.LISTEN
    )


def test_a_thousand_connections_wait_and_all_are_accepted() -> None:
    with lockstep() as it, it.server.socket() as listener:
        listener.setblocking(False)
        listener.bind(("10.0.0.2", PORT))
        listener.listen(WAITING)
        clients = []
        for number in range(WAITING):
            client = it.client.socket()
            client.setblocking(False)
            assert client.connect_ex(("10.0.0.2", PORT)) == errno.EINPROGRESS
            clients.append(client)
            if number % 100 == 99:
                it.run(lambda: False, seconds=0.02)
        assert it.run(lambda: waiting(it) == WAITING)
        servers = [listener.accept()[0] for _ in range(WAITING)]
        assert {one.getsockname() for one in clients} == {one.getpeername() for one in servers}
        for one in clients + servers:
            one.close()


def test_one_more_than_the_backlog_waits_and_no_more() -> None:
    with lockstep() as it, it.server.socket() as listener:
        listener.setblocking(False)
        listener.bind(("10.0.0.2", PORT))
        listener.listen(300)
        clients = [it.client.socket() for _ in range(320)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex(("10.0.0.2", PORT))
            it.run(lambda: False, seconds=0.02)
        servers = []
        while True:
            try:
                servers.append(listener.accept()[0])
            except BlockingIOError:
                break
        assert len(servers) == 301  # as Linux has it
        for one in clients + servers:
            one.close()


def test_the_sysctl_bounds_a_backlog() -> None:
    with lockstep() as it, it.server.socket() as listener:
        assert it.server.sysctl["net.core.somaxconn"] == 4096
        listener.bind(("10.0.0.2", PORT))
        for asked, found in ((100_000, 4096), (4096, 4096), (1000, 1000), (0, 0)):
            listener.listen(asked)
            assert [one.send_queue for one in it.server.connections()] == [found]
        it.server.sysctl["net.core.somaxconn"] = 65535
        listener.listen(100_000)
        assert [one.send_queue for one in it.server.connections()] == [65535]


@pytest.mark.sanitize
@pytest.mark.parametrize("abrupt", [False, True])
def test_a_stack_is_closed_while_connections_wait(abrupt: bool) -> None:
    """Theirs are handles that were used before, and come before their listener's."""
    with lockstep() as it:
        earlier = [it.server.socket() for _ in range(3)]
        with it.server.socket() as listener:
            listener.setblocking(False)
            listener.bind(("10.0.0.2", PORT))
            listener.listen(5)
            for one in earlier:
                one.close()
            clients = [it.client.socket() for _ in range(4)]
            for client in clients:
                client.setblocking(False)
                client.connect_ex(("10.0.0.2", PORT))
            assert it.run(lambda: waiting(it) == 4)
            it.server.close(abrupt=abrupt)
            assert it.server.arena.live_blocks == 0
        for client in clients:
            client.close()
