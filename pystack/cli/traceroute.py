"""``pystack traceroute``."""

from __future__ import annotations

import dataclasses
import json
import sys

import click

from pystack.cli.options import StackOptions, answer_timeout, stack_options
from pystack.probe import reaches, trace


@click.command()
@stack_options
@click.argument("destination")
@click.option(
    "--hops",
    "-m",
    type=click.IntRange(1, 255),
    default=30,
    show_default=True,
    help="Maximum number of routers on the path.",
)
@click.option(
    "--probes",
    "-q",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Requests sent for each router.",
)
@answer_timeout("-w")
@click.option("--json", "as_json", is_flag=True, help="Print each router as one line of JSON.")
def traceroute(
    destination: str,
    hops: int,
    probes: int,
    timeout: float,
    as_json: bool,
    options: StackOptions,
) -> None:
    """Finds the routers on the path to DESTINATION, from a stack of its own.

    Sends echo requests with increasing TTL. Ends with status 1 if DESTINATION isn't reached.
    """
    reached = False
    with options.stack() as (net, interface):
        options.advise(interface)
        address, coming = trace(
            net.sockets, destination, hops=hops, probes=probes, timeout=timeout
        )  # fmt: skip
        if not as_json:
            click.echo(f"to {destination} ({address}), at most {hops} hops")
        for hop in coming:
            reached = reaches(hop)
            click.echo(json.dumps(dataclasses.asdict(hop)) if as_json else str(hop))
            sys.stdout.flush()
    sys.exit(0 if reached else 1)
