"""A report as JUnit XML, which continuous integration reads."""

from __future__ import annotations

from xml.etree import ElementTree

from pystack.lab.expected import Expectation, surprise
from pystack.lab.report import Report
from pystack.lab.verdict import Verdict

__all__ = ["junit"]


def junit(report: Report, known: list[Expectation]) -> bytes:
    """One test suite for each Host; an expected failure is skipped, a surprise is a failure."""
    top = ElementTree.Element("testsuites", name="pystack lab")
    if report.partial:
        properties = ElementTree.SubElement(top, "properties")
        ElementTree.SubElement(properties, "property", name="partial", value=report.partial_note)
    for name in report.hosts:
        results = [one for one in report.results if one.host == name]
        suite = ElementTree.SubElement(top, "testsuite", name=name, tests=str(len(results)))
        failures = skipped = 0
        for result in results:
            area = result.case.partition("-")[0]
            row = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{name}.{area}",
                name=result.case,
                time=f"{result.seconds:.3f}",
            )
            odd = surprise(result, known)
            if odd is not None:
                failures += 1
                ElementTree.SubElement(row, "failure", message=_printable(odd))
            elif result.verdict is not Verdict.PASS:
                skipped += 1
                text = f"{result.verdict.value}: {result.reason}"
                ElementTree.SubElement(row, "skipped", message=_printable(text))
        suite.set("failures", str(failures))
        suite.set("skipped", str(skipped))
    return bytes(ElementTree.tostring(top, encoding="utf-8", xml_declaration=True))


def _printable(text: str) -> str:
    """Without the characters that XML has no way to write."""
    return "".join(one if one.isprintable() or one in "\n\t" else "\ufffd" for one in text)
