"""The services that configure an interface, for engines without their own: linux and gvisor.

`Serving` runs them on the thread that drives the Stack, by the Stack's clock; each is a state
machine over a `Port`, that is told the time and the frames that are for it (`scheduler`). What they
give an interface is set by the Stack's own calls, and shown by the host as theirs
(bindings/host/stack/serving.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pystack._native import StackHandle, lib
from pystack.serving.settings import SETTINGS

if TYPE_CHECKING:
    from pystack.serving.scheduler import Serving

__all__ = ["SETTINGS", "serving_of"]


def serving_of(handle: StackHandle, begin: bool = False) -> Serving | None:
    """A Stack's services; None: it has had none.

    Args:
        handle: The Stack's.
        begin: Make them, if there are none.
    """
    answers = handle.answers
    if answers.serving is None and begin:
        # Most programs use none of them, and would wait for the import.
        from pystack.serving.scheduler import Serving  # noqa: PLC0415

        made = Serving(handle)
        handle.check(lib.ps_serving_begin(handle.pointer, lib.ps_python_serve))
        answers.serving = made
    found: Serving | None = answers.serving
    return found
