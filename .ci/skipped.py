#!/usr/bin/env python3
"""Name the test files in which a run of pytest has skipped something: `skipped REPORT.xml`.

The report is what `pytest --junitxml` writes. A fresh machine lacks programs that some tests need;
these files are run again when the programs are there.
"""

import sys
from pathlib import Path
from xml.etree import ElementTree


def file_of(classname: str) -> Path:
    """Find the file of `tests.unit.test_x` or of a class in it."""
    parts = classname.split(".")
    for length in range(len(parts), 0, -1):
        path = Path(*parts[:length]).with_suffix(".py")
        if path.is_file():
            return path
    raise SystemExit(f"no file has the tests of {classname}")


report = ElementTree.parse(sys.argv[1])
skipped = {
    file_of(case.get("classname", ""))
    for case in report.iter("testcase")
    if case.find("skipped") is not None
}
print(*sorted(skipped), sep="\n")
