"""A report in a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pystack.lab.case import Case
from pystack.lab.expected import Expectation, declared
from pystack.lab.report import Report
from pystack.lab.run import Result
from pystack.lab.verdict import Level, Verdict

__all__ = ["case_table", "markdown", "matrix", "summary_lines"]

STYLE = {
    Verdict.PASS: "green",
    Verdict.FAIL: "red",
    Verdict.CRASH: "bold red",
    Verdict.NOT_APPLICABLE: "dim",
    Verdict.INCONCLUSIVE: "yellow",
}

_FAILURES = (Verdict.FAIL, Verdict.CRASH)


def _cell(counts: Counter[str]) -> Text:
    """Passed of those that could be tried, and what else there was."""
    tried = counts["pass"] + counts["fail"] + counts["crash"]
    text = Text()
    if tried:
        good = counts["pass"] == tried
        text.append(f"{counts['pass']}/{tried}", "green" if good else "red")
    else:
        text.append("-", "dim")
    if counts["crash"]:
        text.append(f" {counts['crash']} crash", "bold red")
    if counts["inconclusive"]:
        text.append(f" {counts['inconclusive']}?", "yellow")
    return text


def rows(report: Report, shown: list[str]) -> Iterator[tuple[str, int, list[Text]]]:
    """Areas, then levels, then all: a name, how many cases, and for each Host how many passed."""
    for area in report.areas:
        cases = sum(one.area == area for one in report.cases)
        yield area, cases, [_cell(report.count(name, area)) for name in shown]
    for level in Level:
        cases = sum(one.level is level for one in report.cases)
        cells = [_cell(report.count(name, level=level)) for name in shown]
        yield f"all {level.value}", cases, cells
    yield "all", len(report.cases), [_cell(report.count(name)) for name in shown]


def matrix(report: Report) -> RenderableType:
    """Areas by Hosts: how many cases passed of those that could be tried, MUSTs on their own."""
    table = Table(title="passed / tried", title_justify="left", pad_edge=False)
    table.add_column("area")
    table.add_column("cases", justify="right")
    shown = [name for name in report.hosts if name not in report.absent]
    for name in shown:
        table.add_column(name, justify="right")
    for number, (label, cases, cells) in enumerate(rows(report, shown)):
        if number == len(report.areas):
            table.add_section()
        table.add_row(label, str(cases), *cells)
    absent = [Text(f"{name}: not here: {why}", "dim") for name, why in report.absent.items()]
    return Group(table, *absent)


def markdown(report: Report) -> str:
    """The same as a table in Markdown, with each Host's release under its name."""
    shown = [name for name in report.hosts if name not in report.absent]
    releases = {one.host: one.release for one in report.results if one.release}
    lines = [
        ("", "cases", *shown),
        ("---", *("---:" for _ in range(len(shown) + 1))),
        ("release", "", *(releases.get(name, "") for name in shown)),
        *(
            (label, str(cases), *(cell.plain for cell in cells))
            for label, cases, cells in rows(report, shown)
        ),
    ]
    note = f"{report.partial_note}\n\n" if report.partial else ""
    return note + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def case_table(report: Report, cases: list[Case], reasons: bool = True) -> RenderableType:
    """Cases by Hosts, with why each failed."""
    table = Table(pad_edge=False)
    shown = [name for name in report.hosts if name not in report.absent]
    for column in ("case", "level", "requirement", *shown):
        table.add_column(column, overflow="fold")
    for one in cases:
        cells = [_verdict(report.result(one.id, name), reasons) for name in shown]
        table.add_row(one.id, one.level.value, one.title, *cells)
    return table


def _verdict(result: Result | None, reasons: bool) -> Text:
    if result is None:
        return Text("-", "dim")
    text = Text(result.verdict.value, STYLE[result.verdict])
    if reasons and result.reason:
        text.append(f"\n{result.reason}", "dim")
    return text


def summary_lines(report: Report, known: list[Expectation]) -> list[str]:
    """One line for each Host, which says how many of its failures are expected (`known`)."""
    lines = []
    for name in report.hosts:
        if name in report.absent:
            continue
        counts = report.count(name)
        took = sum(one.seconds for one in report.results if one.host == name)
        expected = Counter(
            one.verdict
            for one in report.results
            if one.host == name and one.verdict in _FAILURES and declared(one, known)
        )
        parts = []
        for one in Verdict:
            if counts[one.value]:
                note = f" ({expected[one]} expected)" if one in _FAILURES else ""
                parts.append(f"{counts[one.value]} {one.value}{note}")
        lines.append(f"{name}: {', '.join(parts)} ({took:.1f} s of work)")
    return lines
