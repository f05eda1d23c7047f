"""How clients of the SOCKS server share lookups: those are few, and may take long."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from pystack.embed.socks.turns import Places, Turns, household

PLACES = 32


class Clients:
    """What clients have of some `Turns`, and whose turns are there to come."""

    def __init__(self) -> None:
        self.turns, self.held = Turns(PLACES), Counter[str]()
        self.order: list[str] = []
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    async def _ask(self, client: str) -> None:
        await self.turns.enter(client)
        self.held[client] += 1
        self.order.append(client)

    async def ask(self, client: str, count: int) -> None:
        """Asks for so many, and lets it have what it may."""
        asked = [asyncio.ensure_future(self._ask(client)) for _ in range(count)]
        self._tasks.setdefault(client, []).extend(asked)
        await settled()

    async def give_up(self, client: str) -> None:
        for task in self._tasks.pop(client):
            task.cancel()
        await settled()

    async def leave(self, client: str) -> None:
        self.held[client] -= 1
        self.turns.leave(client)
        await settled()


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_each_leaves_some_for_who_comes_next() -> None:
    async def main() -> None:
        clients = Clients()
        for number, share in enumerate((16, 8, 4, 2, 1)):
            await clients.ask(f"hostile{number}", 100)
            assert clients.held[f"hostile{number}"] == share
        await clients.ask("good", 1)
        assert clients.held["good"] == 1
        for number in range(5):
            await clients.give_up(f"hostile{number}")
            for _ in range(clients.held[f"hostile{number}"]):
                await clients.leave(f"hostile{number}")
        await clients.leave("good")
        assert clients.turns.idle

    asyncio.run(main())


def test_who_has_none_comes_before_who_has_some() -> None:
    async def main() -> None:
        clients = Clients()
        for number in range(PLACES + 8):  # more than there are places
            await clients.ask(f"hostile{number}", 100)
        await clients.ask("good", 2)
        assert sum(clients.held.values()) == PLACES
        for _ in range(PLACES - 6):  # the first six have them all, and end up with one each
            clients.order.clear()
            await clients.leave(max(clients.held, key=clients.held.__getitem__))
            (served,) = clients.order
            assert clients.held[served] == 1, "it had none"
        ends = 0
        while not clients.held["good"]:
            ends += 1
            await clients.leave(max(clients.held, key=clients.held.__getitem__))
        assert ends <= PLACES + 8, "no more than others waited when it came"
        assert sum(clients.held.values()) == PLACES

    asyncio.run(main())


def test_a_turn_that_comes_with_the_cancellation_goes_on() -> None:
    async def main() -> None:
        turns = Turns(2)
        await turns.enter("one")
        second = asyncio.ensure_future(turns.enter("one"))
        other = asyncio.ensure_future(turns.enter("one"))
        await settled()
        assert not second.done()
        turns.leave("one")  # the second's turn, which it does not live to see
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.wait_for(other, 10)
        turns.leave("one")
        assert turns.idle

    asyncio.run(main())


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_who_is_one_client(one: str, other: str, is_same: bool) -> None:
    assert (household(one) == household(other)) is is_same


def test_those_that_wait_are_told_of_the_end() -> None:
    async def main() -> None:
        turns, told = Turns(1), list[str]()
        await turns.enter("first")

        async def ask(client: str) -> None:
            try:
                await turns.enter(client)
            except ConnectionAbortedError as error:
                told.append(f"{client}: {error}")

        asked = [asyncio.ensure_future(ask(name)) for name in ("second", "third")]
        await settled()
        turns.close(lambda: ConnectionAbortedError("over"))
        await asyncio.gather(*asked)
        assert told == ["second: over", "third: over"]
        turns.leave("first")
        assert turns.idle
        await turns.enter("fourth")

    asyncio.run(main())


def test_places_are_left_for_who_comes_next() -> None:
    places = Places(PLACES)
    for number, share in enumerate((16, 8, 4, 2, 1)):
        address = f"2001:db8::{number}:1" if number == 1 else f"10.0.0.{number}"
        assert [places.enter(address) for _ in range(100)].count(True) == share
    assert places.enter("10.1.0.1")
    assert not places.enter("10.1.0.2")
    places.leave("10.1.0.1")
    assert places.enter("10.1.0.2")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_have_all_places(address: str) -> None:
    places = Places(PLACES)
    assert [places.enter(address) for _ in range(100)].count(True) == PLACES


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "fe80::1%eth0"])
def test_a_number_of_places_holds_for_all(address: str) -> None:
    places = Places(PLACES, 3)
    assert [places.enter(address) for _ in range(100)].count(True) == 3
    assert places.enter("10.0.0.99")
