"""Brings what is declared in pystack/lab/expected in line with a run.

``python tests/lab/declare.py REPORT.json``: REPORT.json is what ``pystack lab run --json`` wrote. A
failure that nobody declared gets a row whose reason is what came; a row whose case passes goes.
Rows with a reason of somebody's stay as they are. What is new has to be read before it is kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import shorten

from pystack.lab.case import catalogue
from pystack.lab.expected import Expectation, expectations, surprise
from pystack.lab.report import load
from pystack.lab.verdict import Verdict

FOLDER = Path(__file__).resolve().parents[2] / "pystack/lab/expected"
LONGEST = 200


def main() -> None:
    cases = {one.id: one for one in catalogue()}
    report = load(Path(sys.argv[1]), list(cases.values()))
    rows = expectations()
    for result in report.results:
        if surprise(result, rows) is None:
            continue
        if result.verdict is Verdict.PASS:
            gone = [one for one in rows if one.covers(result)]
            print("passes:", *gone)
            rows = [one for one in rows if one not in gone]
        else:
            # The running kernel is each machine's own; the other Hosts are what was brought.
            release = "*" if result.host == "linux" else result.release
            reason = shorten(f"{result.verdict.value}: {result.reason}", LONGEST, placeholder=" …")
            rows.append(Expectation(result.host, release, result.case, reason))
            print("new:", rows[-1])
    areas = {cases[one.case].area for one in rows} | {one.area for one in cases.values()}
    for area in areas:
        mine = [one for one in rows if cases[one.case].area == area]
        mine.sort(key=lambda one: (cases[one.case].order, one.host, one.release))
        lines = ",\n".join(json.dumps(vars(one), ensure_ascii=False) for one in mine)
        path = FOLDER / f"{area.lower()}.json"
        path.write_text(f"[\n{lines}\n]\n" if mine else "[]\n", "utf-8")


if __name__ == "__main__":
    main()
