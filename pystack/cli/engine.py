"""``pystack engine``: lists the protocol stacks that a Stack can run, and builds them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from pystack._native.engines import BUILT_HERE, ENGINES, SUFFIXES, built_libraries
from pystack.cli.steps import steps
from pystack.lab.provision import ProvisionError


@click.group()
def engine() -> None:
    """Lists and builds the protocol stacks that a Stack can run."""


def _release(library: Path) -> str:
    """The release, or the packages' versions, noted beside a library when it was built."""
    try:
        about = json.loads(library.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    return str(about.get("release") or about.get("golang-gvisor-gvisor-dev") or "")


def _rows() -> list[dict[str, object]]:
    """Every engine that is installed, or that can be built."""
    from pystack.lab.provision.linux.tree import SUITES  # noqa: PLC0415

    rows: list[dict[str, object]] = []

    def add(name: str, library: Path | None, release: str, build: str | None) -> None:
        size = None if library is None else library.stat().st_size
        path = None if library is None else str(library)
        rows.append({"name": name, "release": release, "bytes": size, "path": path, "build": build})

    shipped = [path for path in sorted(ENGINES.glob("*.*")) if path.suffix in SUFFIXES]
    for path in shipped:
        add(path.stem, path, "", None)
    for name, how in BUILT_HERE.items():
        built = built_libraries(name)
        for each, path in built.items():
            add(each, path, _release(path), how)
        kinds = [f"linux-{series}" for series in SUITES] if name == "linux" else [name]
        for each in kinds:
            if each not in built:
                series = each.removeprefix(f"{name}-")
                add(each, None, "", how if series == name else f"{how} --version {series}")
    return rows


@engine.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def list_engines(as_json: bool) -> None:
    """Lists the engines that are installed, and those that can be built here.

    The name `linux` stands for the newest release of Linux that has been built.
    """
    rows = _rows()
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        size = "" if row["bytes"] is None else f"{int(str(row['bytes'])) / 1e6:.1f} MB"
        where = str(row["path"] or f"not built: {row['build']}")
        click.echo(f"{row['name']:<12}{row['release']:<19}{size:>8}  {where}")


@engine.command()
@click.argument("name", type=click.Choice(list(BUILT_HERE)))
@click.option("--version", help="linux: 6.12 (the default) or 7.2; several can be built.")
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="linux: a kernel source tree, which is only read. Default: Debian's, by apt.",
)
@click.option(
    "--arch",
    type=click.Choice(["aarch64", "x86_64"]),
    help="linux: the machine it is for, if not this one; takes Debian's cross compiler for it.",
)
@click.option("--jobs", type=click.IntRange(1), help="Compilers at once. Default: one a processor.")
@click.option(
    "--again", is_flag=True, help="Build even if it is built already, as for a newer release."
)
def build(
    name: str,
    version: str | None,
    source: Path | None,
    arch: str | None,
    jobs: int | None,
    again: bool,
) -> None:
    """Builds an engine that isn't in the wheel, in the cache folder, without root.

    NAME is gvisor or linux. Sources and tools come from Debian, without touching apt's
    configuration; nothing is installed. Linux takes some minutes, and 1 GB of disk meanwhile.
    """
    from pystack.lab.provision import gvisor, linux  # noqa: PLC0415

    if name != "linux" and (version or source or arch or jobs):
        raise click.UsageError(
            f"--version, --source, --arch and --jobs are for linux, not for {name}"
        )
    console = Console(highlight=False)
    with steps(console) as report:
        try:
            if name == "gvisor":
                gvisor.build(report, again=again)
            else:
                linux.build(
                    report, version=version, source=source, machine=arch, jobs=jobs, again=again
                )
        except ProvisionError as error:
            console.print(str(error), style="red", markup=False, soft_wrap=True)
            sys.exit(1)
