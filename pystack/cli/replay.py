"""``pystack replay``: one side of a capture against a live server."""

from __future__ import annotations

import ipaddress
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pystack.cli.options import OUTPUT, StackOptions, stack_options
from pystack.cli.values import Number

if TYPE_CHECKING:
    from pystack.embed.replay import CapturedFlow, Result


def _end(text: str, port: int | None) -> tuple[str, int | None]:
    """A host and a port, as "10.0.0.1", "10.0.0.1:80", "server:80", "[fd00::1]:80", "fd00::1"."""
    host, colon, digits = text.rpartition(":")
    if not colon or (":" in host and not host.endswith("]")):
        return text.strip("[]"), port
    if not digits.isdecimal() or not 0 < int(digits) < 65536:
        raise click.UsageError(f"{text!r}: {digits!r} is no port (1 to 65535)")
    return host.strip("[]"), int(digits)


def _matching(flows: list[CapturedFlow], client: str | None) -> list[tuple[int, CapturedFlow]]:
    numbered = list(enumerate(flows, 1))
    if client is None:
        return numbered
    host, port = _end(client, None)
    try:
        address = str(ipaddress.ip_address(host))
    except ValueError:
        raise click.UsageError(f"--client {client!r} is no address") from None
    return [
        (number, one)
        for number, one in numbered
        if one.client.address == address and port in (None, one.client.port)
    ]


def _shown(flows: list[tuple[int, CapturedFlow]]) -> str:
    return "\n".join(f"{number}  {one}" for number, one in flows)


def _chosen(path: Path, client: str | None, number: int | None, listing: bool) -> CapturedFlow:
    from pystack.embed.replay import read  # noqa: PLC0415 - scapy takes a second to import

    flows = _matching(read(path), client)
    if listing:
        click.echo(_shown(flows))
        sys.exit(0)
    if number is not None:
        flows = [one for one in flows if one[0] == number]
    if len(flows) == 1:
        return flows[0][1]
    if not flows:
        raise click.UsageError(f"{path} has no such flow of TCP or UDP; --list shows what it has")
    raise click.UsageError(f"choose one of these by --flow N:\n{_shown(flows)}")


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "server": list(result.server),
        "ending": result.ending.value,
        "answered": result.answered,
        "difference": result.difference,
        "notes": list(result.notes),
        "exchanges": [
            {
                "sent": len(one.sent),
                "expected": len(one.expected),
                "received": len(one.received),
                "difference": one.difference,
                "captured_delay": one.captured_delay,
                "delay": one.delay,
            }
            for one in result.exchanges
        ],
    }


@click.command()
@stack_options
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--client", help="Replay a flow of this client: A.B.C.D or A.B.C.D:PORT.")
@click.option("--flow", "number", type=click.IntRange(1), help="Replay the flow of this number.")
@click.option("--list", "listing", is_flag=True, help="List the capture's flows, and end.")
@click.option("--to", help="HOST, HOST:PORT or [HOST]:PORT; default: the capture's server.")
@click.option(
    "--level",
    type=click.Choice(["packets", "stream"]),
    default="packets",
    show_default=True,
    help="Send the packets as captured, or what they carried by the stack's own TCP.",
)
@click.option(
    "--pace",
    type=click.Choice(["answers", "capture"]),
    default="answers",
    show_default=True,
    help="Go on as soon as answers come, or with the client's pauses too.",
)
@click.option(
    "--timeout",
    type=Number(0.001, 1e9),
    default=10.0,
    show_default=True,
    help="Time to wait for an answer, seconds.",
)
@click.option(
    "--quiet",
    type=Number(0.001, 1e9),
    default=1.0,
    show_default=True,
    help="Time without a byte after which a shorter answer is over, seconds.",
)
@click.option("--output", "-o", type=OUTPUT, help="File to write what was answered to.")
@click.option("--same", is_flag=True, help="Fail, too, where an answer is not the capture's.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def replay(
    file: Path,
    client: str | None,
    number: int | None,
    listing: bool,
    to: str | None,
    level: str,
    pace: str,
    timeout: float,
    quiet: float,
    output: Path | None,
    same: bool,
    as_json: bool,
    options: StackOptions,
) -> None:
    """Sends what a client sent in the capture FILE (pcap or pcapng) to a live server.

    Ends with status 1 unless the server answered wherever it did in the capture. Needs scapy.
    """
    try:
        from pystack.embed import replay as library  # noqa: PLC0415
        from pystack.scapy import share  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "scapy":
            raise
        raise click.ClickException("this needs scapy: pip install 'pystack-lwip[scapy]'") from None

    flow = _chosen(file, client, number, listing)
    host, port = _end(to, flow.server.port) if to is not None else flow.server
    server = host, port or flow.server.port
    if not options.nic:
        raise click.UsageError("say by which wire, with --nic")
    with options.stack(around=share) as (net, interface):
        options.advise(interface)
        way = library.packets if level == "packets" else library.stream
        result = way(
            net, flow, server, pace=library.Pace(pace), timeout=timeout, quiet=quiet
        )  # fmt: skip
    if output is not None:
        output.write_bytes(result.received)
    click.echo(json.dumps(_as_json(result)) if as_json else str(result))
    sys.exit(0 if result.answered and not (same and result.difference is not None) else 1)


for _option in replay.params:
    if _option.name == "nic":
        _option.required = False  # to list flows takes no wire
