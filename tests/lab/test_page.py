"""The HTML report in a real browser, headless, from a file, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_report import some_report

from pystack.lab.report.html import html

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="no chromium and chromedriver"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for word in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}",
    ):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    try:
        yield driver
        assert [one for one in driver.get_log("browser") if one["level"] == "SEVERE"] == []
    finally:
        driver.quit()


def opened(browser: Any, path: Path, anchor: str = "") -> None:
    """Opens the page and waits until it has unpacked its report."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(path.as_uri() + anchor)
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.body.dataset.ready") == "yes"
    )


def test_the_page_shows_filters_and_explains(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.support.ui import Select

    report = some_report()
    path = tmp_path / "report.html"
    path.write_text(html(report), "utf-8")
    opened(browser, path)

    def rows() -> list[str]:
        found = browser.find_elements("css selector", "tr.case td:first-child")
        return [one.text for one in found]

    ids = [one.id for one in report.cases]
    assert rows() == ids
    assert "gone (made up) was not there: not made" in browser.find_element("id", "about").text
    matrix = browser.find_element("id", "matrix").text
    assert "2/2" in matrix
    assert "2.2.1" in matrix

    browser.find_element("id", "text").send_keys("hardware type")
    assert rows() == ["ARP-3.2"]
    browser.find_element("id", "text").send_keys("\b" * len("hardware type"))
    assert rows() == ids
    for name, value, shown in (
        ("level", "SHOULD", []),
        ("level", "all", ids),
        ("verdict", "fail", []),
        ("verdict", "any", ids),
        ("area", "ARP", ids),
    ):
        Select(browser.find_element("id", name)).select_by_visible_text(value)
        assert rows() == shown, (name, value)

    browser.find_element("id", "row-ARP-3.1").click()
    detail = browser.find_element("id", "detail").text
    assert "MUST, RFC 826" in detail
    assert "1. The tester broadcasts an ARP request" in detail
    assert "ARP is at 02:00:5e:00:53:02" in detail
    assert "pcap" in detail


def test_a_case_has_an_address_of_its_own(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(some_report()), "utf-8")
    opened(browser, path, "#ARP-3.2")
    assert "unknown hardware type" in browser.find_element("id", "detail").text
