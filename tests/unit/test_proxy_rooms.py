"""How UDP flows share the bytes that may wait at them."""

from __future__ import annotations

import random

import pytest

from pystack.embed.proxy.rooms import LEAST, MOST, Rooms


class Flow:
    def __init__(self) -> None:
        self.room, self.told = 0, 0

    def set_room(self, size: int) -> None:
        self.room = size
        self.told += 1


@pytest.mark.parametrize("total", [1, LEAST, 3_000_000, MOST, 64 << 20])
def test_all_have_the_same_and_no_more_than_there_is(total: int) -> None:
    chance, rooms = random.Random(total), Rooms(total)
    flows: list[Flow] = []
    for step in range(6000):
        if chance.random() < (0.8 if step < 3000 else 0.2) or not flows:
            flows.append(Flow())
            rooms.enter(flows[-1])
        else:
            rooms.leave(flows.pop(chance.randrange(len(flows))))
        assert {flow.room for flow in flows} <= {rooms.each}
        assert LEAST <= rooms.each <= MOST
        assert rooms.each == LEAST or len(flows) * rooms.each <= total
        assert rooms.each == MOST or max(len(flows), 1) * rooms.each * 4 > total


def test_one_that_comes_and_goes_changes_nobody_elses() -> None:
    rooms, flows = Rooms(64 << 20), [Flow() for _ in range(32)]
    for flow in flows:
        rooms.enter(flow)
    assert {flow.room for flow in flows} == {MOST}
    for _ in range(100):
        guest = Flow()
        rooms.enter(guest)
        rooms.leave(guest)
    assert {flow.room for flow in flows} == {MOST // 2}
    assert sum(flow.told for flow in flows) == 2 * len(flows)


def test_one_that_left_is_told_nothing() -> None:
    rooms, gone = Rooms(MOST), Flow()
    rooms.enter(gone)
    rooms.leave(gone)
    rooms.leave(gone)
    for _ in range(10):
        rooms.enter(Flow())
    assert (gone.told, gone.room) == (1, MOST)
