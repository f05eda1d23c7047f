"""``pystack bench``: a Stack's sockets beside the kernel's, on this machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SCALE, QUEUES, FLOODS, HTTP = "scale", "queues", "floods", "http"


def _names() -> list[str]:
    from pystack.bench import WORKLOADS  # noqa: PLC0415 - only this command needs it

    return [*WORKLOADS, SCALE, QUEUES, FLOODS, HTTP]


def _check(congestion: str) -> None:
    try:
        with socket.socket() as kernel:
            name = congestion.encode()
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name)
    except (AttributeError, OSError) as error:
        raise click.UsageError(
            f"the kernel does not take {congestion!r}: {error} (sysctl "
            "net.ipv4.tcp_allowed_congestion_control has what anybody may choose)"
        ) from error


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(0.05, 60),
    default=0.5,
    show_default=True,
    help="How long each workload goes on on each way, in each round.",
)
@click.option("--way", "wanted", multiple=True, metavar="TEXT", help="Only ways whose name has it.")
@click.option(
    "--connections",
    type=click.IntRange(100, 224_000),
    default=50_000,
    show_default=True,
    help="How many `scale` opens.",
)
@click.option(
    "--congestion",
    metavar="NAME",
    help="The congestion control of the kernel's sockets, as reno; default: the machine's.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path), help="PNG, SVG or PDF."
)
def bench(
    names: tuple[str, ...],
    rounds: int,
    seconds: float,
    wanted: tuple[str, ...],
    connections: int,
    congestion: str | None,
    json_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measures a Stack's sockets beside the kernel's, interleaved in one run.

    NAME is one of bulk, latency, idle, connections, messages, udp, scale, queues, floods and http;
    default: all but floods, which last eight times as long and are done once in five rounds, and
    http, which needs wrk and has aiohttp and uvicorn serve it, as far as they are installed.
    What needs TAP or network namespaces is done inside namespaces of its own, and named when this
    machine doesn't allow them.
    """
    from pystack.bench import WAYS, WORKLOADS, measure  # noqa: PLC0415
    from pystack.bench.floods import floods  # noqa: PLC0415
    from pystack.bench.http import http  # noqa: PLC0415
    from pystack.bench.queues import queues  # noqa: PLC0415
    from pystack.bench.report import figure_table, flood_table, plot, table  # noqa: PLC0415
    from pystack.bench.scale import scale  # noqa: PLC0415
    from pystack.bench.worker import WorkerError  # noqa: PLC0415

    for name in names:
        if name not in _names():
            raise click.UsageError(f"nothing is called {name!r}; there are {', '.join(_names())}")
    chosen = [one for name, one in WORKLOADS.items() if not names or name in names]
    picked = {
        one.name
        for one in WAYS
        if not wanted or any(text.lower() in one.name.lower() for text in wanted)
    }
    picked |= {one.base for one in WAYS if one.name in picked}
    ways = [one for one in WAYS if one.name in picked]
    if not ways:
        raise click.UsageError(
            f"no way has that in its name; there are {', '.join(one.name for one in WAYS)}"
        )
    if congestion is not None:
        _check(congestion)
    if plot_file is not None:
        try:
            import matplotlib as mpl  # noqa: F401, PLC0415 - is it there?
        except ImportError as error:
            raise click.ClickException(
                "a plot needs matplotlib: pip install 'pystack-lwip[bench]'"
            ) from error
    console = Console()
    figures, shared, missing, flooded, web = [], [], [], [], []
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
        console.print(table(result))
    if figures:
        console.print(figure_table(SCALE, figures))
    if shared:
        console.print(figure_table("two processes that share a TAP by its queues", shared))
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
        found[HTTP] = {one.name: one.value for one in web}
        found[FLOODS] = [one.as_json() for one in flooded]
        json_file.write_text(json.dumps(found, indent=1))
    if plot_file is not None and result is not None:
        plot(result, plot_file)
    if result is not None and result.failures:
        raise click.ClickException("not every workload went through")
