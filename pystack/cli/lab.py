"""``pystack lab``: the catalogue of cases against every stack available."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)

from pystack.cli.options import OUTPUT
from pystack.cli.steps import steps
from pystack.cli.values import Number

if TYPE_CHECKING:
    from pystack.lab.case import Case
    from pystack.lab.report import Report
    from pystack.lab.run import Result

# Hosts with a real clock wait most of the time; more of them at once only wait better.
WORKERS = max(4, 2 * (os.cpu_count() or 1))


@click.group()
def lab() -> None:
    """Tests lwIP, Linux and other stacks against the RFCs."""
    try:
        import scapy.config  # noqa: F401, PLC0415 - is it there?
    except ImportError as error:
        raise click.ClickException(
            "the lab needs scapy: pip install '.[lab]' in a clone of pystack"
        ) from error


class _Unloadable(click.ClickException):
    exit_code = 2  # as of an option's value that can't be understood


def _load(files: Sequence[Path]) -> None:
    from pystack.lab.case import LoadError, load_file  # noqa: PLC0415

    for path in files:
        try:
            load_file(path)
        except LoadError as error:
            raise _Unloadable(str(error)) from error


def _select(areas: Sequence[str], ids: Sequence[str]) -> list[Case]:
    """The cases selected; all by default.

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
    help="Your Python file with cases or Hosts. May be repeated.",
)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
_areas = click.option("--area", "areas", multiple=True, help="An area, as ARP. May be repeated.")
_ids = click.option("--case", "ids", multiple=True, help="A case's id or alias.")


def _external(wires: Sequence[str], agent: str | None) -> None:
    """Passes the user's own Host on to the processes that run the cases."""
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
        help="The wire of the Host external: tap:NAME, interface:NAME, unix:PATH, stream:PATH or "
        "fd:N; again for a second one.",
    )(function)


def _run_options(function: Any) -> Any:
    function = _external_options(function)
    for option in (
        _files,
        _ids,
        _areas,
        click.option(
            "--jobs",
            type=click.IntRange(1),
            default=WORKERS,
            show_default=True,
            help="Cases at once.",
        ),
        click.option(
            "--patience",
            type=Number(0),
            default=20.0,
            show_default=True,
            help="Longest case on a Host with a real clock, in seconds.",
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
) -> tuple[Report, int]:
    """Runs cases on the Hosts available, and shows progress.

    Returns:
        What was found; what was found until then, if a signal came, and its number; 0: none.

    Raises:
        click.UsageError: No such Host.
        click.ClickException: One of those named is not here.
    """
    from pystack.lab import interrupt  # noqa: PLC0415
    from pystack.lab.confirm import confirm, doubtful  # noqa: PLC0415
    from pystack.lab.expected import expectations  # noqa: PLC0415
    from pystack.lab.hosts import hosts  # noqa: PLC0415
    from pystack.lab.report import Made, Report  # noqa: PLC0415
    from pystack.lab.run import jobs_for, run_jobs  # noqa: PLC0415

    made = Made.here()
    kinds = hosts()
    for name in names:
        if name not in kinds:
            raise click.UsageError(f"no Host {name!r}; there are {', '.join(kinds)}")
    chosen = list(dict.fromkeys(names)) or list(kinds)
    absent = {name: why for name in chosen if (why := kinds[name].missing()) is not None}
    for name in names:
        if name in absent:
            raise click.ClickException(f"{name} is not here: {absent[name]}")
    present = [name for name in chosen if name not in absent]
    options: dict[str, Any] = {
        "files": tuple(files), "patience_s": patience, "ladders": ladders, "mutants": mutants,
    }  # fmt: skip
    phases = jobs_for([name for name in present if not kinds[name].alone], cases, **options)
    one_by_one = jobs_for([name for name in present if kinds[name].alone], cases, **options)
    with (
        interrupt.once(),
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        ) as progress,
        # Spawned: a Stack, and a thread of the progress bar's, do not survive a fork.
        ProcessPoolExecutor(jobs, get_context("spawn"), interrupt.begin_worker) as executor,
        ThreadPoolExecutor(1) as queue,  # here, where descriptors that were inherited are
    ):
        bars = {name: progress.add_task(name, total=len(cases)) for name in present}

        found: dict[tuple[str, str], Result] = {}
        ended_by = 0

        def advance(one: Result) -> None:
            if found.setdefault((one.host, one.case), one) is one:
                progress.advance(bars[one.host])

        try:
            run_jobs(phases, executor, advance)
            run_jobs(one_by_one, queue, advance)
            doubts = [] if mutants else doubtful(found.values(), expectations())
            if doubts:
                again = progress.add_task("again, alone", total=len(doubts))
                for one in confirm(
                    list(found.values()), doubts, executor, lambda _: progress.advance(again),
                    **options,
                ):  # fmt: skip
                    found[one.host, one.case] = one
        except interrupt.Interrupted as interrupted:
            ended_by = interrupted.number
    titles = {name: kinds[name].title for name in chosen}
    partial = ended_by != 0
    return Report(cases, chosen, list(found.values()), absent, titles, made, partial), ended_by


def _end(report: Report, status: int, ended_by: int) -> NoReturn:
    """Ends the command, with the status that a shell has for the signal that ended the run."""
    if report.partial:
        click.echo(report.partial_note, err=True)
        status = 128 + ended_by
    sys.exit(status)


@lab.command()
@click.option("--host", "names", multiple=True, help="A Host. May be repeated. Default: all.")
@click.option("--json", "json_path", type=OUTPUT, help="Write the results as JSON.")
@click.option("--junit", "junit_path", type=OUTPUT, help="Write them as JUnit's XML.")
@click.option("--html", "html_path", type=OUTPUT, help="Write them as one page of HTML.")
@click.option("--markdown", "markdown_path", type=OUTPUT, help="Write them as a Markdown table.")
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
    one that passes. Ctrl-C ends it with status 130, SIGTERM with 143; the reports then have what
    was found until then, and say so.
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
    report, ended_by = _conduct(
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
    for line in summary_lines(report, known):
        console.print(line)
    if json_path is not None:
        json_path.write_text(json.dumps(to_json(report, known)), "utf-8")
    if junit_path is not None:
        junit_path.write_bytes(junit(report, known))
    if html_path is not None:
        html_path.write_text(html(report, known), "utf-8")
    if markdown_path is not None:
        markdown_path.write_text(markdown(report), "utf-8")
    odd = [(one, text) for one in report.results if (text := surprise(one, known)) is not None]
    for result, text in odd:
        console.print(f"[red]unexpected[/] {result.host} {result.case}: ", end="")
        console.print(text, markup=False)
    _end(report, 1 if odd else 0, ended_by)


@lab.command()
@click.argument("left")
@click.argument("right")
@click.option(
    "--not-applicable",
    is_flag=True,
    help="Also list cases that apply to only one Host.",
)
@_json
@_run_options
def diff(
    left: str,
    right: str,
    not_applicable: bool,
    as_json: bool,
    areas: tuple[str, ...],
    ids: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: int,
    patience: float,
) -> None:
    """Runs two Hosts and prints only the cases that end differently on them."""
    from pystack.lab.report.table import case_table  # noqa: PLC0415

    console = Console(highlight=False, stderr=as_json)
    _load(files)
    cases = _select(areas, ids)
    report, ended_by = _conduct(
        console, (left, right), cases, files=files, jobs=jobs, patience=patience
    )  # fmt: skip
    if report.partial:
        _end(report, 0, ended_by)
    different = report.differing(left, right, not_applicable=not_applicable)
    if as_json:
        _print_json([_difference(report, one, (left, right)) for one in different])
        return
    if different:
        console.print(case_table(report, different))
    console.print(f"{len(different)} of {len(cases)} cases differ")
    left_out = len(report.differing(left, right, not_applicable=True)) - len(different)
    if left_out:
        console.print(f"{left_out} can be tried on one of them only (--not-applicable lists them)")


def _print_json(what: Any) -> None:
    click.echo(json.dumps(what, indent=1))


def _difference(report: Report, case: Case, names: Sequence[str]) -> dict[str, Any]:
    found = {name: report.result(case.id, name) for name in names}
    return {
        "id": case.id,
        "title": case.title,
        "hosts": {
            name: None if one is None else {"verdict": one.verdict.value, "reason": one.reason}
            for name, one in found.items()
        },
    }


@lab.command()
@click.option("--host", "name", default="lwip", show_default=True, help="The Host.")
@_run_options
def mutants(
    name: str,
    areas: tuple[str, ...],
    ids: tuple[str, ...],
    files: tuple[Path, ...],
    jobs: int,
    patience: float,
) -> None:
    """Runs each case against a deliberately broken Host, and lists cases that don't notice.

    Ends with status 1 if there are any.
    """
    from pystack.lab.verdict import Verdict  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    cases = _select(areas, ids)
    report, ended_by = _conduct(
        console, (name,), cases, files=files, jobs=jobs, patience=patience, mutants=True
    )
    if report.partial:
        _end(report, 0, ended_by)
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
@_json
def list_cases(
    areas: tuple[str, ...], ids: tuple[str, ...], files: tuple[Path, ...], as_json: bool
) -> None:
    """Lists the cases."""
    console = Console(highlight=False)
    _load(files)
    if as_json:
        _print_json(
            [
                {"id": one.id, "aliases": list(one.aliases), "area": one.area,
                 "level": one.level.value, "rfc": one.rfc, "title": one.title}
                for one in _select(areas, ids)
            ]
        )  # fmt: skip
        return
    for one in _select(areas, ids):
        line = f"{one.id:<12} {one.level.value:<6} {one.rfc:<9} {one.title}"
        console.print(line, markup=False, soft_wrap=True)


@lab.command()
@_files
@click.option("--missing", is_flag=True, help="Only requirements without a case.")
@_json
def index(missing: bool, files: tuple[Path, ...], as_json: bool) -> None:
    """Lists the requirements in RFC 9293's appendix B: the cases for each, or why there is none."""
    from pystack.lab.case import catalogue  # noqa: PLC0415
    from pystack.lab.requirements import covering, requirements  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    found = covering(catalogue())
    rows, group = requirements(), ""
    if as_json:
        _print_json(
            [
                {"id": one.id, "group": one.group, "about": one.about,
                 "cases": list(found.get(one.id, [])), "unseen": one.unseen}
                for one in rows
                if not (missing and found.get(one.id))
            ]
        )  # fmt: skip
        return
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
    """Prints a case as a page: requirement, reference, method."""
    console = Console(highlight=False)
    _load(files)
    for one in _select((), (name,)):
        console.print(one.page(), markup=False, soft_wrap=True)


@lab.command()
@click.argument("name")
@click.option("--host", default="lwip", show_default=True, help="The Host.")
@click.option("--pcap", "pcap_path", type=OUTPUT, help="Write the frames as a capture.")
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
@_json
def list_hosts(files: tuple[Path, ...], as_json: bool) -> None:
    """Lists the Hosts, and what the missing ones need."""
    from pystack.lab.hosts import hosts  # noqa: PLC0415

    console = Console(highlight=False)
    _load(files)
    if as_json:
        _print_json(
            [
                {"name": kind.name, "title": kind.title, "missing": kind.missing()}
                for kind in hosts().values()
            ]
        )
        return
    for kind in hosts().values():
        why = kind.missing()
        state = "ready" if why is None else f"not here: {why}"
        console.print(f"{kind.name:<12} {kind.title}; {state}", markup=False, soft_wrap=True)


@lab.command()
@click.argument("names", nargs=-1)
def setup(names: tuple[str, ...]) -> None:
    """Fetches and builds what Hosts need, below a cache folder, without root.

    NAMES are Hosts; default: every Host that something can be fetched for.
    """
    from pystack.lab.hosts import hosts  # noqa: PLC0415
    from pystack.lab.provision import ProvisionError  # noqa: PLC0415

    console = Console(highlight=False)
    kinds = hosts()
    for name in names:
        if name not in kinds:
            raise click.UsageError(f"no Host {name!r}; there are {', '.join(kinds)}")
    for name in names:
        if kinds[name].setup is None:
            why = kinds[name].missing()
            text = "there is nothing to bring" + (f"; it is not here: {why}" if why else "")
            console.print(f"{name}: {text}", markup=False, soft_wrap=True)
    wanted = [(name, bring) for name in names or kinds if (bring := kinds[name].setup) is not None]
    failed = False
    for number, (name, bring) in enumerate(wanted, 1):
        place = f"[{number}/{len(wanted)}] {name}: "
        with steps(console, place) as report:
            try:
                bring(report)
            except ProvisionError as error:
                failed = True
                console.print(f"{place}{error}", style="red", markup=False, soft_wrap=True)
    sys.exit(1 if failed else 0)
