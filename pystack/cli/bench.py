"""``pystack bench``: a Stack's sockets beside the kernel's, on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pystack.cli.options import OUTPUT
from pystack.cli.values import Number

SCALE, QUEUES, WORLDS, FLOODS, HTTP = "scale", "queues", "worlds", "floods", "http"


def _names() -> list[str]:
    from pystack.bench import WORKLOADS  # noqa: PLC0415 - only this command needs it

    return [*WORKLOADS, SCALE, QUEUES, WORLDS, FLOODS, HTTP]


def _check(congestion: str) -> None:
    try:
        with socket.socket() as kernel:
            name = congestion.encode()
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
    except (AttributeError, OSError) as error:
        raise click.UsageError(
            f"the kernel refuses {congestion!r}: {error} (sysctl "
            "net.ipv4.tcp_allowed_congestion_control lists what users may choose)"
        ) from error


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--rounds",
    type=click.IntRange(1, 100),
    default=5,
    show_default=True,
    help="Number of measurements of each workload.",
)
@click.option(
    "--seconds",
    type=Number(0.05, 60),
    default=0.5,
    show_default=True,
    help="Duration of each workload, in each round and on each way, seconds.",
)
@click.option(
    "--way",
    "wanted",
    multiple=True,
    metavar="TEXT",
    help="Only ways with this in their name. May be repeated.",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="NAME",
    help="Also the ways of Stacks with this engine, beside those with lwip. May be repeated.",
)
@click.option(
    "--connections",
    type=click.IntRange(100, 224_000),
    default=50_000,
    show_default=True,
    help="Number of connections that `scale` opens.",
)
@click.option(
    "--congestion",
    metavar="NAME",
    help="Congestion control of the kernel's sockets, such as reno; default: the system's.",
)
@click.option("--json", "json_file", type=OUTPUT, help="Write the results as JSON.")
@click.option("--plot", "plot_file", type=OUTPUT, help="Write a plot as PNG, SVG or PDF.")
def bench(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    wanted: tuple[str, ...],
    engines: tuple[str, ...],
    connections: int,
    congestion: str | None,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measures a Stack beside the kernel, interleaved in one run.

    NAME is one of bulk, latency, idle, connections, messages, udp, scale, queues, worlds,
    floods and http. Default: all except floods, which take eight times as long and run once in
    five rounds, and http, which needs wrk, and aiohttp or uvicorn to serve it. Workloads that need
    TAP or network namespaces run in their own; where this machine allows none, they are listed as
    left out.
    """
    from pystack.bench import WAYS, WORKLOADS, measure, of_engine  # noqa: PLC0415
    from pystack.bench.floods import floods  # noqa: PLC0415
    from pystack.bench.http import http  # noqa: PLC0415
    from pystack.bench.queues import queues  # noqa: PLC0415
    from pystack.bench.report import figure_table, flood_table, plot, table  # noqa: PLC0415
    from pystack.bench.scale import scale  # noqa: PLC0415
    from pystack.bench.worker import WorkerError  # noqa: PLC0415
    from pystack.bench.worlds import worlds  # noqa: PLC0415

    for name in names:
        if name not in _names():
            raise click.UsageError(f"no workload {name!r}; there are {', '.join(_names())}")
    chosen = [one for name, one in WORKLOADS.items() if not names or name in names]
    known = [*WAYS, *(way for engine in engines for way in of_engine(engine))]
    picked = {
        one.name
        for one in known
        if not wanted or any(text.lower() in one.name.lower() for text in wanted)
    }
    picked |= {one.base for one in known if one.name in picked}
    ways = [one for one in known if one.name in picked]
    if not ways:
        there = "".join(f"\n  {one.name}" for one in known)
        raise click.UsageError(f"no way has {' or '.join(wanted)!r} in its name; there are{there}")
    if wanted and not chosen:
        raise click.UsageError(
            f"--way is for {', '.join(WORKLOADS)}: {', '.join(names)} has its own ways"
        )
    if congestion is not None:
        _check(congestion)
    if plot_file is not None:
        try:
            import matplotlib as mpl  # noqa: F401, PLC0415 - is it there?
        except ImportError as error:
            raise click.ClickException(
                "a plot needs matplotlib: pip install '.[bench]' in a clone of pystack"
            ) from error
    console = Console()
    figures, shared, virtual, missing, flooded, web = [], [], [], [], [], []
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("starting", total=rounds * len(chosen) * len(ways))

        def progress(text: str) -> None:
            bar.update(task, description=text, advance=1)

        result = (
            measure(ways, chosen, rounds, seconds, progress, congestion=congestion)
            if chosen
            else None
        )
        if not names or SCALE in names:
            try:
                figures = scale(connections, lambda text: bar.update(task, description=text))
            except WorkerError as error:
                raise click.ClickException(f"scale: {error}") from error
        if not names or QUEUES in names:
            try:
                shared = queues(
                    rounds, 2 * seconds, lambda text: bar.update(task, description=text)
                )
            except WorkerError as error:
                missing.append(f"{QUEUES}: {error}")
        if not names or WORLDS in names:
            try:
                virtual = worlds(10 * seconds, lambda text: bar.update(task, description=text))
            except WorkerError as error:
                missing.append(f"{WORLDS}: {error}")
        if FLOODS in names:
            flooded = floods(
                max(1, rounds // 5),
                8 * seconds,
                lambda text: bar.update(task, description=text),
            )
        if HTTP in names:
            try:
                web = http(rounds, 4 * seconds, lambda text: bar.update(task, description=text))
            except WorkerError as error:
                missing.append(f"{HTTP}: {error}")
    if result is not None:
        console.print(result.machine)
        console.print(table(result, console.width))
    if figures:
        console.print(figure_table(SCALE, figures))
    if shared:
        console.print(figure_table("two processes that share a TAP by its queues", shared))
    if virtual:
        console.print(figure_table("Worlds, in real time", virtual))
    if flooded:
        console.print(flood_table(flooded))
    if web:
        console.print(figure_table("web servers that wrk asks", web))
    for text in missing:
        console.print(f"not measured: {text}")
    if json_file is not None:
        found = result.as_json() if result is not None else {}
        found[SCALE] = {one.name: one.value for one in figures}
        found[QUEUES] = {one.name: one.value for one in shared}
        found[WORLDS] = {one.name: one.value for one in virtual}
        found[HTTP] = {one.name: one.value for one in web}
        found[FLOODS] = [one.as_json() for one in flooded]
        json_file.write_text(json.dumps(found, indent=1))
    if plot_file is not None and result is not None:
        plot(result, plot_file)
    if result is not None and result.failures:
        raise click.ClickException("some workloads failed")
