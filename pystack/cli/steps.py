"""The steps of a long job: a line for each, and the time of the last one on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["steps"]


@contextmanager
def steps(console: Console, prefix: str = "") -> Iterator[Callable[[str], None]]:
    """Gives the function that reports a step as it begins.

    Args:
        console: Where to print.
        prefix: What each line begins with.
    """
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        step = progress.add_task(prefix)

        def report(text: str) -> None:
            progress.reset(step, description=prefix + text)
            console.print(prefix + text, markup=False, soft_wrap=True)

        yield report
