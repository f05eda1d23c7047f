"""The C compiler that the user has chosen, or this machine's."""

from __future__ import annotations

import os
import shlex
import shutil

from pystack.lab.provision import ProvisionError

__all__ = ["own_compiler"]


def own_compiler(*names: str) -> tuple[str, ...]:
    """The compiler and what goes before and behind it, as CC has them ("ccache gcc", "gcc -m64").

    CC is taken as one word where there is a program of that name, whatever blanks its path has.

    Args:
        names: What is looked for where CC isn't set, the best first.

    Raises:
        ProvisionError: There is none, or CC names none.
    """
    chosen = os.environ.get("CC", "").strip()
    if not chosen:
        found = next(filter(None, map(shutil.which, names)), None)
        if found is None:
            raise ProvisionError("no C compiler: `apt-get install gcc libc6-dev`, or set CC")
        return (found,)
    if shutil.which(chosen) is not None:
        return (chosen,)
    try:
        words = shlex.split(chosen)
    except ValueError as error:
        raise ProvisionError(f"no C compiler: CC is {chosen!r}: {error}") from None
    if not words or shutil.which(words[0]) is None:
        first = words[0] if words else chosen
        raise ProvisionError(f"no C compiler: CC is {chosen!r}, and there is no {first}")
    return tuple(words)
