"""``pystack lab``: the catalogue of cases against every stack that can be had."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from pystack.lab.case import Case
    from pystack.lab.report import Report
    from pystack.lab.run import Result

# Hosts with a real clock wait most of the time; more of them at once only wait better.
WORKERS = max(4, 2 * (os.cpu_count() or 1))


@click.group()
def lab() -> None:
    """Tries requirements of the RFCs on lwIP, Linux and other stacks, side by side."""
    try:
        import scapy.config  # noqa: F401, PLC0415 - is it there?
    except ImportError as error:
        raise click.ClickException(
            "the lab needs scapy: pip install 'pystack-lwip[lab]'"
        ) from error


def _load(files: Sequence[Path]) -> None:
    from pystack.lab.case import load_file  # noqa: PLC0415

    for path in files:
        load_file(path)


def _select(areas: Sequence[str], ids: Sequence[str]) -> list[Case]:
    """The cases that were asked for; all, if none were.

    Raises:
        click.UsageError: There are none such.
    """
    from pystack.lab.case import catalogue  # noqa: PLC0415

    cases = catalogue()
    known_areas = {one.area for one in cases}
    for area in areas:
        if area.upper() not in known_areas:
            raise click.UsageError(f"no area {area!r}; there are {', '.join(sorted(known_areas))}")
    names = {name.lower() for one in cases for name in (one.id, *one.aliases)}
    for name in ids:
        if name.lower() not in names:
            raise click.UsageError(f"no case {name!r}; see `pystack lab list`")
    if not areas and not ids:
        return cases
    wanted_areas = {area.upper() for area in areas}
    wanted = {name.lower() for name in ids}
    return [
        one
        for one in cases
        if one.area in wanted_areas
        or one.id.lower() in wanted
        or any(alias.lower() in wanted for alias in one.aliases)
    ]


_files = click.option(
    "--load",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A Python file of your own with cases or Hosts; may be given again.",
)
_areas = click.option("--area", "areas", multiple=True, help="An area, as ARP; may be given again.")
_ids = click.option("--case", "ids", multiple=True, help="A case's id or alias.")


def _external(wires: Sequence[str], agent: str | None) -> None:
    """Leaves word of the user's own Host where the processes that run the cases look for it."""
    from pystack.lab.hosts import external  # noqa: PLC0415

    if wires:
        os.environ[external.WIRES] = "\n".join(wires)
    if agent is not None:
        os.environ[external.AGENT] = agent


def _external_options(function: Any) -> Any:
    function = click.option(
        "--external-agent",
        metavar="WHERE",
        expose_value=False,
        callback=lambda _context, _option, value: _external((), value),
        help="The agent of the Host external: unix:PATH or HOST:PORT.",
    )(function)
    return click.option(
        "--external-wire",
        metavar="WIRE",
        multiple=True,
        expose_value=False,
        callback=lambda _context, _option, value: _external(value, None),
        help="Its wire: tap:NAME, interface:NAME, unix:PATH, stream:PATH or fd:N; again for a "
        "second one.",
    )(function)


def _run_options(function: Any) -> Any:
    function = _external_options(function)
    for option in (
        _files,
        _ids,
        _areas,
        click.option("--jobs", type=click.IntRange(1), default=WORKERS, help="Cases at once."),
        click.option(
            "--patience",
            type=click.FloatRange(0),
            default=20.0,
            show_default=True,
            help="Seconds that a case may last on a Host with a real clock.",
        ),
    ):
        function = option(function)
    return function


def _conduct(
    console: Console,
    names: Sequence[str],
    cases: list[Case],
    *,
    files: Sequence[Path],
    jobs: int,
    patience: float,
    ladders: bool = False,
    mutants: bool = False,
) -> Report:
    """Runs cases on the Hosts that can be had, with progress while it does.

    Raises:
        click.UsageError: No such Host.
    """
    from pystack.lab.confirm import confirm, doubtful  # noqa: PLC0415
    from pystack.lab.expected import expectations  # noqa: PLC0415
    from pystack.lab.hosts import hosts  # noqa: PLC0415
    from pystack.lab.report import Report  # noqa: PLC0415
    from pystack.lab.run import jobs_for, run_jobs  # noqa: PLC0415

    kinds = hosts()
    for name in names:
        if name not in kinds:
            raise click.UsageError(f"no Host {name!r}; there are {', '.join(kinds)}")
    chosen = list(dict.fromkeys(names)) or list(kinds)
    absent = {name: why for name in chosen if (why := kinds[name].missing()) is not None}
    present = [name for name in chosen if name not in absent]
    options: dict[str, Any] = {
        "files": tuple(files), "patience_s": patience, "ladders": ladders, "mutants": mutants,
    }  # fmt: skip
    phases = jobs_for([name for name in present if not kinds[name].alone], cases, **options)
    one_by_one = jobs_for([name for name in present if kinds[name].alone], cases, **options)
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress,
        # Spawned: a Stack, and a thread of the progress bar's, do not survive a fork.
        ProcessPoolExecutor(jobs, get_context("spawn")) as executor,
        ThreadPoolExecutor(1) as queue,  # here, where descriptors that were inherited are
    ):
        bars = {name: progress.add_task(name, total=len(cases)) for name in present}

        def advance(one: Result) -> None:
            progress.advance(bars[one.host])

        results = run_jobs(phases, executor, advance) + run_jobs(one_by_one, queue, advance)
        doubts = [] if mutants else doubtful(results, expectations())
        if doubts:
            again = progress.add_task("again, alone", total=len(doubts))
            results = confirm(
                results, doubts, executor, lambda _: progress.advance(again), **options
            )
    titles = {name: kinds[name].title for name in chosen}
    return Report(cases, chosen, results, absent, titles)


@lab.command()
@click.option("--host", "names", multiple=True, help="A Host; may be given again. Default: all.")
@click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--junit", "junit_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--html", "html_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--markdown", "markdown_path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--failures/--no-failures", default=True, help="List what failed, and why.")
@_run_options
def run(
    names: tuple[str, ...],
    json_path: Path | None,
    junit_path: Path | None,
    html_path: Path | None,
    markdown_path: Path | None,
    failures: bool,
    areas: tuple[str, ...],
    ids: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: int,
    patience: float,
) -> None:
    """Runs the catalogue, or a part of it, and prints which Host meets which requirement.

    Ends with status 1 if a result is a surprise: a failure that is not declared, or a declared
    one that passes.
    """
    from pystack.lab.expected import expectations, surprise  # noqa: PLC0415
    from pystack.lab.report import to_json  # noqa: PLC0415
    from pystack.lab.report.html import html  # noqa: PLC0415
    from pystack.lab.report.junit import junit  # noqa: PLC0415
    from pystack.lab.report.table import (  # noqa: PLC0415
        case_table,
        markdown,
        matrix,
        summary_lines,
    )

    console = Console(highlight=False)
    _load(files)
    cases = _select(areas, ids)
    report = _conduct(
        console, names, cases, files=files, jobs=jobs, patience=patience,
        ladders=json_path is not None or html_path is not None,
    )  # fmt: skip
    known = expectations()
    if failures:
        bad = [
            one
            for one in cases
            if any(
                (found := report.result(one.id, name)) is not None
                and found.verdict.value in ("fail", "crash", "inconclusive")
                for name in report.hosts
            )
        ]
        if bad:
            console.print(case_table(report, bad))
    console.print(matrix(report))
    for line in summary_lines(report):
        console.print(line)
    if json_path is not None:
        json_path.write_text(json.dumps(to_json(report)), "utf-8")
    if junit_path is not None:
        junit_path.write_bytes(junit(report, known))
    if html_path is not None:
        html_path.write_text(html(report), "utf-8")
    if markdown_path is not None:
        markdown_path.write_text(markdown(report), "utf-8")
    odd = [(one, text) for one in report.results if (text := surprise(one, known)) is not None]
    for result, text in odd:
        console.print(f"[red]unexpected[/] {result.host} {result.case}: ", end="")
        console.print(text, markup=False)
    sys.exit(1 if odd else 0)


@lab.command()
@click.argument("left")
@click.argument("right")
@_run_options
def diff(
    left: str,
    right: str,
    areas: tuple[str, ...],
    ids: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: int,
    patience: float,
) -> None:
    """Runs two Hosts and prints only the cases that end differently on them."""
    from pystack.lab.report.table import case_table  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    cases = _select(areas, ids)
    report = _conduct(
        console, (left, right), cases, files=files, jobs=jobs, patience=patience
    )  # fmt: skip
    for name, why in report.absent.items():
        raise click.ClickException(f"{name} is not here: {why}")
    different = report.differing(left, right)
    if different:
        console.print(case_table(report, different))
    console.print(f"{len(different)} of {len(cases)} cases differ")


@lab.command()
@click.option("--host", "name", default="lwip", show_default=True)
@_run_options
def mutants(
    name: str,
    areas: tuple[str, ...],
    ids: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: int,
    patience: float,
) -> None:
    """Runs each case on a Host that does just this wrong, and lists the cases that don't notice.

    Ends with status 1 if there are any.
    """
    from pystack.lab.verdict import Verdict  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    cases = _select(areas, ids)
    report = _conduct(
        console, (name,), cases, files=files, jobs=jobs, patience=patience, mutants=True
    )
    blind = 0
    for one in cases:
        result = report.result(one.id, name)
        if result is None or result.verdict is not Verdict.FAIL:
            blind += 1
            why = "no mutant" if result is None else f"{result.verdict.value} {result.reason}"
            console.print(f"{one.id}: {why}", markup=False)
    console.print(f"{len(cases) - blind} of {len(cases)} cases fail on their mutant")
    sys.exit(1 if blind else 0)


@lab.command("list")
@_files
@_ids
@_areas
def list_cases(areas: tuple[str, ...], ids: tuple[str, ...], files: tuple[Path, ...]) -> None:
    """Lists the cases."""
    console = Console(highlight=False)
    _load(files)
    for one in _select(areas, ids):
        line = f"{one.id:<12} {one.level.value:<6} {one.rfc:<9} {one.title}"
        console.print(line, markup=False, soft_wrap=True)


@lab.command()
@_files
@click.option("--missing", is_flag=True, help="Only those that no case is about.")
def index(missing: bool, files: tuple[Path, ...]) -> None:
    """Lists the requirements of RFC 9293's appendix B: which cases cover each, or why none does."""
    from pystack.lab.case import catalogue  # noqa: PLC0415
    from pystack.lab.requirements import covering, requirements  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    found = covering(catalogue())
    rows, group = requirements(), ""
    for one in rows:
        cases = found.get(one.id, [])
        if missing and cases:
            continue
        if one.group != group:
            group = one.group
            console.print(f"\n{group}", style="bold", markup=False)
        words = ", ".join(cases) if cases else f"no case: {one.unseen}"
        console.print(f"  {one.id:<8} {one.about}: {words}", markup=False, soft_wrap=True)
    covered = sum(one.id in found for one in rows)
    console.print(f"\n{covered} of {len(rows)} ids are covered by cases")


@lab.command()
@click.argument("name")
@_files
def show(name: str, files: tuple[Path, ...]) -> None:
    """Prints a case as a page: what it asks for, by which reference, and how it is tried."""
    console = Console(highlight=False)
    _load(files)
    for one in _select((), (name,)):
        console.print(one.page(), markup=False, soft_wrap=True)


@lab.command()
@click.argument("name")
@click.option("--host", default="lwip", show_default=True)
@click.option("--pcap", "pcap_path", type=click.Path(dir_okay=False, path_type=Path))
@_external_options
@_files
def trace(name: str, host: str, pcap_path: Path | None, files: tuple[Path, ...]) -> None:
    """Runs one case on one Host and prints every frame of it."""
    from pystack.lab.hosts import hosts  # noqa: PLC0415
    from pystack.lab.ladder import pcap  # noqa: PLC0415
    from pystack.lab.run import run_case  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    kinds = hosts()
    if host not in kinds:
        raise click.UsageError(f"no Host {host!r}; there are {', '.join(kinds)}")
    why = kinds[host].missing()
    if why is not None:
        raise click.ClickException(f"{host} is not here: {why}")
    for one in _select((), (name,)):
        made = kinds[host].make()
        try:
            result = run_case(made, one, patience_s=float("inf"))
        finally:
            made.stop()
        for event in result.ladder:
            arrow = {"send": "-->", "receive": "<--", "call": " @ ", "note": " # "}[event.kind]
            line = f"{event.time_s:9.3f}  {arrow} {event.summary()}"
            console.print(line, markup=False, soft_wrap=True)
        console.print(f"{one.id} on {host} {result.release}: {result.verdict.value}", end=" ")
        console.print(result.reason, markup=False, soft_wrap=True)
        if pcap_path is not None:
            pcap_path.write_bytes(pcap(list(result.ladder)))


@lab.command("hosts")
@_files
def list_hosts(files: tuple[Path, ...]) -> None:
    """Lists the Hosts, and what would provide those that this machine has not."""
    from pystack.lab.hosts import hosts  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    for kind in hosts().values():
        why = kind.missing()
        state = "ready" if why is None else f"not here: {why}"
        console.print(f"{kind.name:<12} {kind.title}; {state}", markup=False, soft_wrap=True)


@lab.command()
@click.argument("names", nargs=-1)
def setup(names: tuple[str, ...]) -> None:
    """Brings what Hosts need to this machine: below a cache folder, without root.

    NAMES are Hosts; without any, all that something can be brought for.
    """
    from pystack.lab.hosts import hosts  # noqa: PLC0415
    from pystack.lab.provision import ProvisionError  # noqa: PLC0415

    console = Console(highlight=False)
    kinds = hosts()
    for name in names:
        if name not in kinds:
            raise click.UsageError(f"no Host {name!r}; there are {', '.join(kinds)}")
    failed = False
    for name in names or list(kinds):
        bring = kinds[name].setup
        if bring is None:
            if names:
                why = kinds[name].missing()
                text = "there is nothing to bring" + (f"; it is not here: {why}" if why else "")
                console.print(f"{name}: {text}", markup=False, soft_wrap=True)
            continue
        try:
            bring(lambda text: console.print(text, markup=False, soft_wrap=True))
        except ProvisionError as error:
            failed = True
            console.print(f"{name}: {error}", style="red", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)
