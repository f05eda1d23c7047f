"""``pystack manual``: the pages that ship with the package."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from importlib.resources import files

import click
from rich.console import Console
from rich.markdown import Markdown

# In the order a reader takes them; a page that isn't named here comes after these.
ORDER = (
    "tutorial", "commands", "nics", "wireguard", "packets", "sockets", "processes", "endings",
    "settings", "embedding", "intercept", "gateway", "hypercalls", "worlds", "testing", "engines",
    "lab",
)  # fmt: skip
WIDEST = 110  # columns: longer lines are hard to read


def pages() -> dict[str, str]:
    """The manual's pages, in order, as Markdown by name."""
    found = {
        one.name.removesuffix(".md"): one.read_text("utf-8")
        for one in files("pystack").joinpath("manual").iterdir()
        if one.name.endswith(".md")
    }
    rest = sorted(set(found) - set(ORDER))
    return {name: found[name] for name in (*ORDER, *rest) if name in found}


def title(text: str) -> str:
    """A page's first heading."""
    return text.partition("\n")[0].removeprefix("# ")


def rendered(text: str, width: int) -> str:
    """Markdown for a terminal, with its escape sequences."""
    console = Console(width=min(width, WIDEST), force_terminal=True)
    with console.capture() as output:
        console.print(Markdown(text, hyperlinks=False))
    return output.get()


@click.command()
@click.argument("page", required=False)
def manual(page: str | None) -> None:
    """Shows a PAGE of the manual; without one, lists the pages.

    On a terminal the page opens in the pager ($PAGER); otherwise its Markdown is printed.
    """
    found = pages()
    if page is None:
        width = max(map(len, found))
        for name, text in found.items():
            click.echo(f"{name:<{width}}  {title(text)}")
        return
    name = page.lower().removesuffix(".md").replace("-", "_")
    if name not in found:
        near = difflib.get_close_matches(name, found, 3, 0.6)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(found)}"
        raise click.UsageError(f"the manual has no page {page!r}; {hint}")
    if not sys.stdout.isatty():
        click.echo(found[name], nl=False)
        return
    if "NO_COLOR" in os.environ:
        click.echo_via_pager(found[name])
        return
    click.echo_via_pager(rendered(found[name], shutil.get_terminal_size().columns))
