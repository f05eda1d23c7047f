"""What the sides of the peers share: their command line, and how they are measured."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from typing import Any


def speed(once: Callable[[Any, int], None], test: Any, seconds: float) -> float:
    """Seeds in a second of processor time, all of them run to their end and none shrunk.

    Of processor time, so that other work on the machine counts for little.
    """
    once(test, 0)
    gc.collect()
    began, runs = time.process_time(), 0
    while (now := time.process_time() - began) < seconds or runs < 3:
        runs += 1
        once(test, runs)
    return runs / now


def main(side: dict[str, Any], find: Callable[..., Any], once: Callable[..., None]) -> None:
    """``find SCENARIO SEEDS`` or ``speed SCENARIO SECONDS``; the answer is a line of JSON."""
    what, name, much = sys.argv[1:]
    test = side[name]
    told = find(test, int(much)) if what == "find" else speed(once, test, float(much))
    print(json.dumps(told))
