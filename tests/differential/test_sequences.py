"""Sequences of calls that once differed (see tests/fuzz/calls.py), and some that chance makes."""

from __future__ import annotations

import pytest
from namespace import Namespace
from socket_calls import PORTS, Call, first_difference, sequence

import pystack

HERE, OTHER = "127.0.0.1", "127.0.0.2"
PORT, CLOSED = PORTS

CONNECTED: list[Call] = [
    ("open", ("tcp", 4)),
    ("open", ("tcp", 4)),
    ("bind", (0, HERE, PORT)),
    ("listen", (0, 5)),
    ("connect", (1, HERE, PORT)),
    ("accept", (0,)),
]
REFUSED: list[Call] = [("open", ("tcp", 4)), ("connect", (0, HERE, CLOSED))]

FOUND: dict[str, list[Call]] = {
    "no_second_connect_after_shutdown_of_a_refused_one": [
        *REFUSED,
        ("shutdown", (0, 2)),
        ("connect_ex", (0, HERE, CLOSED)),
    ],
    "a_refusal_comes_before_the_end_of_a_shut_stream": [
        ("open", ("tcp", 4)),
        ("shutdown", (0, 2)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("recv", (0, 5, "0")),
    ],
    "what_listens_is_connected_before_the_address_is_looked_at": [
        ("open", ("tcp", 6)),
        ("bind", (0, "::1", PORT)),
        ("listen", (0, 5)),
        ("connect", (0, "::ffff:127.0.0.1", PORT)),
    ],
    "a_datagram_socket_has_a_port_once_it_has_tried_to_send": [
        ("open", ("udp", 4)),
        ("send", (0, 100, "0")),
        ("getsockname", (0,)),
        ("bind", (0, HERE, PORT)),
    ],
    "a_mapped_port_of_0_is_sent_nothing": [
        ("open", ("udp", 6)),
        ("connect_ex", (0, "::ffff:127.0.0.1", 0)),
        ("send", (0, 1, "0")),
    ],
    "a_closed_port_of_another_address_refuses": [
        ("open", ("udp", 4)),
        ("connect", (0, OTHER, CLOSED)),
        ("send", (0, 100, "0")),
        ("recv", (0, 1, "0")),
    ],
    "a_port_is_named_when_its_connect_has_failed": [
        *REFUSED,
        ("connect", (0, HERE, CLOSED)),
        ("getsockname", (0,)),
    ],
    "a_bound_port_is_kept_when_its_connect_has_failed": [
        ("open", ("tcp", 4)),
        ("open", ("tcp", 4)),
        ("bind", (0, HERE, PORT)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("bind", (1, "0.0.0.0", PORT)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("bind", (1, "0.0.0.0", PORT)),
    ],
    "a_port_of_chance_is_not": [
        ("open", ("tcp", 4)),
        ("bind", (0, HERE, 0)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("bind", (0, HERE, PORT)),
        ("getsockname", (0,)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("connect_ex", (0, HERE, CLOSED)),
        ("listen", (0, 1)),
    ],
    "bind_leaves_the_end_of_a_failed_connect": [
        *REFUSED,
        ("bind", (0, HERE, 0)),
        ("recv", (0, 5, "0")),
        ("recv", (0, 5, "0")),
        ("poll", (0,)),
        ("listen", (0, 1)),
    ],
    "a_connection_that_is_over_can_be_bound": [
        *CONNECTED,
        ("end", (1,)),
        ("send", (2, 20_000, "0")),
        ("bind", (2, HERE, CLOSED)),
        ("getsockname", (2,)),
        ("connect", (2, HERE, PORT)),
        ("listen", (2, 1)),
    ],
    "a_socket_is_bound_once": [
        *REFUSED,
        ("bind", (0, HERE, 0)),
        ("bind", (0, HERE, PORT)),
    ],
    "what_more_is_to_come_for_is_held_until_an_acknowledgement": [
        *CONNECTED,
        ("send", (2, 1400, "MSG_MORE")),
        ("send", (1, 5, "0")),
        ("recv", (1, 20_000, "0")),
        ("recv", (2, 20_000, "0")),
    ],
    "an_urgent_byte_is_gone_after_a_reset": [
        *CONNECTED,
        ("send", (1, 100, "MSG_OOB")),
        ("send", (2, 100, "0")),
        ("end", (1,)),
        ("recv", (2, 20_000, "MSG_OOB")),
        ("recv", (2, 20_000, "0")),
    ],
    "what_failed_to_connect_may_be_of_both_versions": [
        ("open", ("tcp", 6)),
        ("connect", (0, "::1", CLOSED)),
        ("setsockopt", (0, "IPV6_V6ONLY", 1)),
    ],
    "no_byte_and_more_to_come_is_nothing": [
        ("open", ("udp", 4)),
        ("connect", (0, HERE, CLOSED)),
        ("send", (0, 0, "MSG_MORE")),
        ("connect", (0, OTHER, CLOSED)),
        ("sendmsg", (0, 100)),
        ("recv", (0, 1, "0")),
    ],
    "shutdown_tells_of_the_connect": [
        *CONNECTED,
        ("shutdown", (1, 0)),
        ("connect", (1, HERE, PORT)),
    ],
    "data_after_both_were_shut_is_reset": [
        *CONNECTED,
        ("shutdown", (1, 2)),
        ("send", (2, 5, "0")),
        ("shutdown", (1, 0)),
        ("send", (2, 5, "0")),
    ],
    "a_listener_that_was_shut_keeps_its_port": [
        *CONNECTED,
        ("shutdown", (0, 0)),
        ("listen", (0, 0)),
        ("end", (1,)),
        ("end", (2,)),
        ("bind", (0, HERE, PORT)),
        ("getsockname", (0,)),
    ],
}


@pytest.mark.parametrize("name", FOUND)
def test_as_the_kernel(kernel: Namespace, net: pystack.Stack, name: str) -> None:
    at = kernel.call(first_difference, net, FOUND[name])
    assert at is None, f"differs at {FOUND[name][at]}"


@pytest.mark.parametrize("seed", range(1, 31))
def test_by_chance(kernel: Namespace, net: pystack.Stack, seed: int) -> None:
    at = kernel.call(first_difference, net, sequence(seed))
    assert at is None, f"differs at call {at}: python tests/fuzz/calls.py --seed {seed}"
