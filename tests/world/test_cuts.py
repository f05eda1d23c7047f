"""Cuts of one link that overlap: partitions, faults and `down`."""

from __future__ import annotations

from pystack.world import Fault, Faults, Link, World


def is_up(link: Link) -> list[bool]:
    return [not link.conditions(one).down for one in link.ends]


def test_a_link_comes_up_when_its_last_cut_ends() -> None:
    plan = [
        Fault("cut", "a-b", at="1s", lasts="4s"),
        Fault("partition", "a|b", at="2s", lasts=1),
        Fault("mute", "a>b", at=3, lasts="1min"),
    ]
    with World(faults=plan) as world:
        one, other = world.host("a"), world.host("b")
        link = world.link(one, other)
        seen = []
        for _each in range(7):
            world.sleep(0.5)
            seen.append(is_up(link))
            world.sleep(0.5)
        assert seen == [[True, True], *4 * [[False, False]], *2 * [[False, True]]]
        world.heal()
        assert is_up(link) == [False, True]  # the fault goes on
        world.sleep(60)
        assert is_up(link) == [True, True]


def test_each_kind_of_cut_is_ended_by_its_own() -> None:
    with World() as world:
        one, other = world.host("a"), world.host("b")
        link = world.link(one, other)
        world.partition([one], [other])
        world.partition([one], [other])
        link.down()
        link.down(one)
        link.up()
        assert is_up(link) == [False, False]
        world.heal()
        assert is_up(link) == [True, True]
        link.down(one)
        assert is_up(link) == [False, True]
        link.down()
        link.up(one)
        assert is_up(link) == [True, False]
        world.partition([one], [other])
        link.change(down=False)
        assert is_up(link) == [True, True]
        world.heal()
        assert is_up(link) == [True, True]
        link.change(one, down=True)  # nobody's: `change` or `heal` ends it
        world.heal()
        assert is_up(link) == [True, True]


def test_times_of_faults_are_written_as_those_of_links() -> None:
    assert Fault("cut", "a-b", "1500ms", "2min") == Fault("cut", "a-b", 1.5, 120)
    assert str(Fault("cut", "a-b", "1500ms", "2min")) == "cut:a-b@1.5+120"
    assert Faults(cut=["a-b"], within="1min", lasts=("100ms", "2s")) == Faults(
        cut=["a-b"], within=60.0, lasts=(0.1, 2.0)
    )
