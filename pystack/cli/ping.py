"""``pystack ping``."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from pystack.cli.options import StackOptions, answer_timeout, stack_options
from pystack.cli.values import NOT_NEGATIVE
from pystack.probe import PingReply, PingResult, pings


@click.command()
@stack_options
@click.argument("destination")
@click.option(
    "--count",
    "-c",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Number of requests to send.",
)
@click.option(
    "--size",
    "-s",
    type=click.IntRange(0, 65507),
    default=56,
    show_default=True,
    help="Data in each request, bytes.",
)
@click.option(
    "--interval",
    "-i",
    type=NOT_NEGATIVE,
    default=1.0,
    show_default=True,
    help="Time between requests, seconds.",
)
@answer_timeout("-W")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print each answer, and the statistics, as one line of JSON.",
)
def ping(
    destination: str,
    count: int,
    size: int,
    interval: float,
    timeout: float,
    as_json: bool,
    options: StackOptions,
) -> None:
    """Sends echo requests to DESTINATION from a stack of its own; Ctrl-C ends it early.

    Ends with status 1 if there was no answer.
    """
    replies: list[PingReply] = []
    with options.stack() as (net, interface):
        options.advise(interface)
        address, coming = pings(
            net.sockets, destination,
            count=count, size=size, interval=interval, timeout=timeout, ttl=None,
        )  # fmt: skip
        try:
            for reply in coming:
                replies.append(reply)
                click.echo(json.dumps(dataclasses.asdict(reply)) if as_json else str(reply))
                sys.stdout.flush()
        except KeyboardInterrupt:
            click.echo(err=True)  # after the terminal's ^C
        result = PingResult(address, tuple(replies))
        click.echo(json.dumps(_sum(result)) if as_json else str(result))
    sys.exit(0 if result.received else 1)


def _sum(result: PingResult) -> dict[str, object]:
    times = result.rtts_ms
    return {
        "destination": result.destination,
        "sent": result.sent,
        "received": result.received,
        "loss": result.loss,
        "rtt_ms": {"min": min(times), "mean": sum(times) / len(times), "max": max(times)}
        if times
        else None,
    }
