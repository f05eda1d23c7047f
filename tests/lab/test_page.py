"""The HTML report in a real browser, headless, from a file, without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lab_report import report_with_failures

from pystack.lab.expected import Expectation
from pystack.lab.report.html import html

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

KNOWN = Expectation("strange", "*", "ARP-3.1", "it is written so")

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

    browser.get("about:blank")  # else a new anchor alone would not load it again
    browser.get(path.as_uri() + anchor)
    WebDriverWait(browser, 30).until(
        lambda driver: driver.execute_script("return document.body.dataset.ready") == "yes"
    )


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report of two cases on lwIP and on a Host that fails both, one of them by declaration."""
    path = tmp_path / "report.html"
    path.write_text(html(report_with_failures(), [KNOWN]), "utf-8")
    return path


def rows(browser: Any) -> list[str]:
    """The cases that are listed."""
    return [one.text for one in browser.find_elements("css selector", "tr.case td:first-child")]


def choose(browser: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", name)).select_by_visible_text(value)


def detail(browser: Any) -> str | None:
    """What is shown of a case; None: none is open."""
    found = browser.find_elements("id", "detail")
    return found[0].text if found else None


def test_the_page_shows_filters_and_explains(browser: Any, page: Path) -> None:
    opened(browser, page)
    ids = ["ARP-3.1", "ARP-3.2"]
    assert rows(browser) == ids
    about = browser.find_element("id", "about").text
    assert "gone (made up) was not there: not made" in about
    assert "expected failures: 1, surprises: 1" in about
    made = browser.find_element("id", "made").text
    assert (
        made == "2026-01-02T03:04:05+00:00, pystack 1.2, a machine: pystack lab run --html x.html"
    )
    matrix = browser.find_element("id", "matrix").text
    assert "2/2" in matrix
    assert "2.2.1" in matrix
    verdicts = [one.text for one in browser.find_elements("css selector", "tr.case td.verdict")]
    assert verdicts == ["pass", "expected fail", "pass", "surprise: fail"]

    browser.find_element("id", "text").send_keys("hardware type")
    assert rows(browser) == ["ARP-3.2"]
    browser.find_element("id", "text").send_keys("\b" * len("hardware type"))
    assert rows(browser) == ids
    for name, value, shown in (
        ("level", "SHOULD", []),
        ("level", "all", ids),
        ("verdict", "fail", ids),
        ("verdict", "surprise", ["ARP-3.2"]),
        ("verdict", "expected failure", ["ARP-3.1"]),
        ("verdict", "Hosts differ", ids),
        ("verdict", "any", ids),
        ("area", "ARP", ids),
    ):
        choose(browser, name, value)
        assert rows(browser) == shown, (name, value)


def test_a_case_opens_in_its_place_and_closes(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.keys import Keys

    opened(browser, page)
    browser.find_element("id", "row-ARP-3.1").click()
    text = detail(browser) or ""
    assert "MUST, RFC 826" in text
    assert "1. The tester broadcasts an ARP request" in text
    assert "ARP is at 02:00:5e:00:53:02" in text
    assert "pcap" in text
    assert "Expected to fail: it is written so" in text
    below = "return document.getElementById('row-ARP-3.1').nextElementSibling.className"
    assert browser.execute_script(below) == "detail"
    assert browser.current_url.endswith("#ARP-3.1")

    browser.find_element("tag name", "body").send_keys(Keys.ESCAPE)
    assert detail(browser) is None
    focused = browser.switch_to.active_element
    assert focused.text == "ARP-3.1"  # a reader with a keyboard goes on where they were
    focused.send_keys(Keys.ENTER)
    assert detail(browser) is not None
    browser.find_element("id", "row-ARP-3.2").click()
    assert "unknown hardware type" in (detail(browser) or "")
    browser.back()
    assert "broadcasts an ARP request" in (detail(browser) or "")
    browser.back()
    assert detail(browser) is None


@pytest.mark.slow
def test_the_address_says_what_is_shown(browser: Any, page: Path) -> None:
    opened(browser, page)
    choose(browser, "verdict", "fail")
    choose(browser, "host", "strange")
    browser.find_element("id", "text").send_keys("hardware type")
    browser.find_element("id", "row-ARP-3.2").click()
    anchor = "#" + browser.current_url.partition("#")[2]
    assert anchor == "#ARP-3.2?verdict=fail&host=strange&text=hardware+type"
    opened(browser, page, anchor)
    assert rows(browser) == ["ARP-3.2"]
    assert browser.find_element("id", "text").get_attribute("value") == "hardware type"
    assert "unknown hardware type" in (detail(browser) or "")
    opened(browser, page, "?verdict=fail")  # what is no anchor says nothing
    assert rows(browser) == ["ARP-3.1", "ARP-3.2"]
    choose(browser, "verdict", "surprise")
    assert rows(browser) == ["ARP-3.2"]
    browser.back()
    assert rows(browser) == ["ARP-3.1", "ARP-3.2"]
    assert browser.find_element("id", "verdict").get_attribute("value") == ""


@pytest.mark.slow
def test_a_column_sorts(browser: Any, page: Path) -> None:
    opened(browser, page)

    def press(column: str) -> str:
        head = f"th[data-sort='{column}']"
        browser.find_element("css selector", f"{head} button").click()
        return str(browser.find_element("css selector", head).get_attribute("aria-sort"))

    assert press("on strange") == "ascending"
    assert rows(browser) == ["ARP-3.2", "ARP-3.1"]  # the surprise is first
    assert press("on strange") == "descending"
    assert rows(browser) == ["ARP-3.1", "ARP-3.2"]
    assert press("case") == "ascending"
    assert press("case") == "descending"
    assert rows(browser) == ["ARP-3.2", "ARP-3.1"]
    browser.refresh()
    opened(browser, page, "#" + browser.current_url.partition("#")[2])
    assert rows(browser) == ["ARP-3.2", "ARP-3.1"]


CONTRASTS = """
const number = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const light = (color) => {
  const [r, g, b] = color.map((one) => one / 255)
    .map((one) => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (node) => {
  for (; node; node = node.parentElement) {
    const found = number(getComputedStyle(node).backgroundColor);
    if (found.length === 3 || found[3] === 1) return found.slice(0, 3);
    if (found[3] !== 0) throw new Error("half transparent: " + node.outerHTML.slice(0, 80));
  }
  throw new Error("no background");
};
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const low = new Set();
let count = 0;
while (words.nextNode()) {
  const node = words.currentNode.parentElement;
  if (!words.currentNode.data.trim() || node.tagName === "SCRIPT" || !node.offsetParent) continue;
  const pair = [number(getComputedStyle(node).color).slice(0, 3), behind(node)].map(light);
  const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  count += 1;
  if (ratio < 4.5) low.add(`${node.tagName}.${node.className}: ${ratio.toFixed(2)}`);
}
return [count, [...low]];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.slow
def test_text_has_the_contrast_of_wcag_aa(browser: Any, page: Path, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    opened(browser, page, "#ARP-3.1")
    # Every class that a verdict or a rung of the ladder can have.
    browser.execute_script(
        "for (const name of ['pass', 'fail', 'crash', 'inconclusive', 'na', 'absent', 'known'])"
        " { const one = document.createElement('p'); one.className = name; one.textContent = name;"
        " document.getElementById('detail').append(one); }"
    )
    dark = browser.execute_script("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert dark == (scheme == "dark")
    count, low = browser.execute_script(CONTRASTS)
    assert count > 60
    assert low == []


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_wider_than_the_window(browser: Any, page: Path, width: int) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    opened(browser, page, "#ARP-3.1")
    assert browser.execute_script("return innerWidth") == width
    over = "const { scrollWidth, clientWidth } = document.documentElement;"
    assert browser.execute_script(over + "return scrollWidth - clientWidth") == 0
    assert browser.find_element("css selector", "[id='row-ARP-3.2'] td.title").is_displayed()
