"""What was measured, as a table and as a plot."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pystack.bench.floods import Outcome
    from pystack.bench.run import Result
    from pystack.bench.scale import Figure
    from pystack.bench.ways import Way
    from pystack.bench.workloads import Metric

__all__ = ["figure_table", "flood_table", "plot", "table"]


def _cell(result: Result, way: Way, metric: Metric) -> Text:
    value, ratio = result.median(way.name, metric.name), result.ratio(way, metric.name)
    if value is None:
        return Text("-", "dim")
    text = Text(f"{value:,.{metric.digits}f}")
    if ratio is not None and way.name != way.base:
        better = ratio >= 1 if metric.more else ratio <= 1
        text.append(f" ({ratio:.2f})", "green" if better else "yellow")
    return text


def table(result: Result, width: int) -> RenderableType:
    """Ways by metrics: medians, and in brackets the ratio to the way's base.

    Where that is too wide, a table for each metric, which shows the spread of the rounds as well.

    Args:
        result: What was measured.
        width: How many columns there are.
    """
    rounds = f"medians of {result.rounds} rounds of {result.seconds:g} s"
    wide = _wide_table(result, f"{rounds}; in brackets the ratio to the kernel's row above")
    console = Console(width=10_000)
    shown: list[RenderableType] = [wide]
    if console.measure(wide).maximum > width:
        shown = [f"{rounds}; the ratio is to the kernel's row above"]
        shown += [_metric_table(result, metric) for metric in result.metrics]
    notes = [Text(f"few samples: {text}", "yellow") for text in result.doubts]
    notes += [Text(f"not measured: {name}: {why}") for name, why in result.absent.items()]
    notes += [
        Text(f"failed: {way}, {workload}: {why}", "red") for way, workload, why in result.failures
    ]
    return Group(*shown, *notes)


def _wide_table(result: Result, title: str) -> Table:
    shown = Table(title=title, title_justify="left", pad_edge=False)
    shown.add_column("from, to")
    for metric in result.metrics:
        shown.add_column(metric.title, justify="right")
    for way in result.ways:
        if way.base == way.name:
            shown.add_section()
        if way.network not in result.absent:
            shown.add_row(way.name, *(_cell(result, way, one) for one in result.metrics))
    return shown


def _metric_table(result: Result, metric: Metric) -> Table:
    """One metric: the median, the least and most of the rounds, and the ratio."""
    better = "more" if metric.more else "less"
    shown = Table(
        title=f"{metric.title} ({better} is better)", title_justify="left", pad_edge=False
    )
    shown.add_column("from, to")
    for title in ("median", "least", "most", "ratio"):
        shown.add_column(title, justify="right")
    for way in result.ways:
        values = result.values.get(way.name, {}).get(metric.name)
        if way.base == way.name:
            shown.add_section()
        if not values:
            continue
        figures = [f"{one:,.{metric.digits}f}" for one in (min(values), max(values))]
        median, *ratio = _cell(result, way, metric).split(" ")
        shown.add_row(way.name, median, *figures, *ratio)
    return shown


def figure_table(title: str, figures: list[Figure]) -> RenderableType:
    """Figures that are not of a way, a line each."""
    shown = Table(title=title, title_justify="left", pad_edge=False, show_header=False)
    shown.add_column("what")
    shown.add_column("value", justify="right")
    for one in figures:
        shown.add_row(one.title, f"{one.value:,.{one.digits}f} {one.unit}")
    return shown


def _flood_row(one: Outcome, ordinary_us: float) -> list[str]:
    if not one.kept:
        return ["-"] * 5
    cost = statistics.median(one.cost_us)
    memory = max(one.memory_bytes)
    return [
        f"{statistics.median(one.kept):.0%}",
        f"{one.succeeded} of {one.tried}",
        f"{statistics.median(one.frames_per_s):,.0f}",
        f"{cost:.2f} ({cost / ordinary_us:.2f})" if ordinary_us > 0 else f"{cost:.2f}",
        f"{memory / 1e6:.1f}" if memory else "-",
    ]


def flood_table(outcomes: list[Outcome]) -> RenderableType:
    """Floods by hosts: what was kept, and what it cost."""
    if not any(one.kept for one in outcomes):
        reasons = sorted({why for one in outcomes for why in one.failures})
        return Text(f"not measured: floods: {'; '.join(reasons)}")
    shown = Table(
        title="under a flood; in brackets what a frame costs as a multiple of an ordinary one",
        title_justify="left",
        pad_edge=False,
    )
    shown.add_column("flood")
    shown.add_column("host")
    titles = ("flow kept", "connected", "frames/s", "µs a frame", "most memory, MB")
    for title in titles:
        shown.add_column(title, justify="right")
    ordinary = {
        one.host: statistics.median(one.cost_us)
        for one in reversed(outcomes)
        if one.cost_us and one.flood == outcomes[0].flood
    }
    for one in outcomes:
        if one.host == outcomes[0].host:
            shown.add_section()
        shown.add_row(one.flood, one.host, *_flood_row(one, ordinary.get(one.host, 0.0)))
    failed = [(one.flood, one.host, why) for one in outcomes for why in one.failures]
    notes = [Text(f"failed: {flood}, {host}: {why}", "red") for flood, host, why in failed]
    return Group(shown, *notes)


def plot(result: Result, path: Path) -> None:
    """Draws the ratios of every way to its base, a panel for each metric, on a logarithmic axis.

    Half as much and twice as much are equally far from 1. A bar is the median of the rounds, a line
    on it reaches from the least to the most.

    Args:
        result: What was measured.
        path: Where to; its suffix is the format, as matplotlib knows them.

    Raises:
        ImportError: There is no matplotlib.
    """
    import matplotlib as mpl  # noqa: PLC0415 - an optional extra

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    ways = [one for one in result.ways if one.name != one.base and one.name in result.values]
    metrics = result.metrics
    columns = min(4, len(metrics)) or 1
    rows = -(-len(metrics) // columns) or 1
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(4 + 2.4 * columns, 1.2 + rows * (0.9 + 0.32 * len(ways))),
        sharey=True, squeeze=False,
    )  # fmt: skip
    for number, panel in enumerate(panels.flat):
        if number >= len(metrics):
            panel.axis("off")
            continue
        _panel(panel, result, ways, metrics[number])
    spread = "the line is their spread" if result.rounds > 1 else "no spread"
    figure.suptitle(
        f"ratio to the kernel's sockets, medians of {result.rounds} rounds ({spread}); "
        f"{result.machine}",
        fontsize=9,
    )
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def _panel(panel: Any, result: Result, ways: list[Way], metric: Metric) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415

    found = [result.ratios(way, metric.name) for way in ways]
    panel.set_xscale("log")
    # At least a factor of two to either side, so that a few percent do not look like much.
    ends = [one for ratios in found for one in ratios if one > 0]
    least, most = min([0.5, *ends]), max([2.0, *ends])
    room = (most / least) ** 0.25  # for the figures behind the bars
    panel.set_xlim(least / room**0.4, most * room)
    for place, ratios in enumerate(found):
        if not ratios or min(ratios) <= 0:
            panel.text(1, place, " not tried", va="center", fontsize=7)
            continue
        middle = statistics.median(ratios)
        good = (middle >= 1) == metric.more
        panel.barh(place, middle - 1, left=1, color="#2c7a4b" if good else "#b9770e", height=0.7)
        if len(ratios) > 1:
            panel.plot(
                [min(ratios), max(ratios)], [place, place],
                color="black", linewidth=1, marker="|", markersize=5,
            )  # fmt: skip
        panel.text(max(1, *ratios, middle), place, f" {middle:.2f}", va="center", fontsize=7)
    panel.axvline(1, color="black", linewidth=0.8)
    panel.set_title(f"{metric.title} ({'more' if metric.more else 'less'} is better)", fontsize=8)
    panel.set_yticks(range(len(ways)), [way.name for way in ways])
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _place: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    if most / least < 20:
        panel.set_xticks([one for one in (0.25, 0.5, 1, 2, 4) if least <= one <= most])
    panel.tick_params(labelsize=7)
    panel.set_ylim(max(len(ways), 1) - 0.5, -0.5)  # the first on top
    panel.spines[["top", "right"]].set_visible(False)
