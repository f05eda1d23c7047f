"""A report as one HTML page that needs nothing else: no network, no server."""

from __future__ import annotations

import base64
import json
import zlib
from html import escape
from importlib import resources

from pystack.lab.expected import Expectation
from pystack.lab.report import Report, to_json

__all__ = ["html"]

_PLACE, _TITLE = "@@REPORT@@", "@@TITLE@@"
_FEW = 3


def html(report: Report, known: list[Expectation] | None = None) -> str:
    """The page. What the Hosts did is in it, compressed; the browser unpacks it.

    Args:
        report: What was found.
        known: The failures that are expected; None: all that are declared.
    """
    text = json.dumps(to_json(report, known)).encode()
    packed = base64.b64encode(zlib.compress(text, 9)).decode()
    page = resources.files("pystack.lab.report").joinpath("page.html").read_text("utf-8")
    return page.replace(_TITLE, escape(_title(report))).replace(_PLACE, packed)


def _title(report: Report) -> str:
    """What tells one report's tab from another's: the Hosts, the areas if they are few, the day."""
    shown = [name for name in report.hosts if name not in report.absent]
    title = f"pystack lab: {', '.join(shown)}"
    if len(report.areas) <= _FEW:
        title += f" ({', '.join(report.areas)})"
    return title + (f", {report.made.at[:10]}" if report.made else "")
