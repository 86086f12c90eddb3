"""The page in a real browser: it draws, sorts, filters and unfolds, on a desk and on a telephone, by day and by night."""

from __future__ import annotations

import base64
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from prune_deploy.reporting.figures.report import make_report, read_report
from prune_deploy.reporting.renderers.html import render_html
from prune_deploy.runs import Run
from support.report_runs import GOLDEN_RUNS
from support.run_records import case_record, run_record

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_PX = 703
"""Height of a landscape A4 page within its margins, at 96 pixels to the inch."""

SIZES = {"desk": (1440, 900), "telephone": (390, 844)}

Opened = Callable[[str, str], webdriver.Chrome]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of both golden runs."""
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    path.write_bytes(render_html(read_report(GOLDEN_RUNS), folder))
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Chromium with an empty profile; without one the tests are skipped, except in CI."""
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "chromium and chromedriver are not installed (Debian: apt install chromium chromium-driver)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield chrome
    finally:
        chrome.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, page: Path) -> Iterator[Opened]:
    """A function that opens the page at a size and in a colour scheme. Whatever the browser complains of fails the test."""

    def open_page(size: str, scheme: str) -> webdriver.Chrome:
        width, height = SIZES[size]
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "telephone"}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(page.as_uri())
        return browser

    yield open_page
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]


def wait_until(condition: Callable[[], Any], limit_s: float = 120.0) -> None:
    """Look again until it is so.

    Raises:
        AssertionError: it is not so in time.
    """
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.05)


def draw_all(browser: webdriver.Chrome) -> None:
    """Scroll through the page, so that every plot is drawn."""
    for plot in browser.find_elements(By.CSS_SELECTOR, ".plot"):
        browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center'})", plot)
        wait_until(partial(plot.find_elements, By.CSS_SELECTOR, "svg.main-svg"))


def shown(browser: webdriver.Chrome) -> list[str]:
    """The models of the rows that are visible, from top to bottom."""
    script = "return [...document.querySelectorAll('#table tbody.case:not([hidden]) .name')].map(it => it.textContent)"
    names: list[str] = browser.execute_script(script)
    return names


def column(browser: webdriver.Chrome, number: int) -> list[str]:
    """What the visible rows say in a column."""
    rows = "[...document.querySelectorAll('#table tbody.case:not([hidden])')]"
    script = f"return {rows}.map(it => it.rows[0].cells[arguments[0]].textContent)"
    texts: list[str] = browser.execute_script(script, number)
    return texts


def values(browser: webdriver.Chrome, number: int) -> list[str]:
    """What the visible rows are sorted by in a column."""
    rows = "[...document.querySelectorAll('#table tbody.case:not([hidden])')]"
    found: list[str] = browser.execute_script(f"return {rows}.map(it => it.rows[0].cells[arguments[0]].dataset.v)", number)
    return found


def header(browser: webdriver.Chrome, title: str) -> tuple[int, WebElement]:
    """A column's number and its button."""
    buttons = browser.find_elements(By.CSS_SELECTOR, "#table thead button")
    found = next(number for number, button in enumerate(buttons) if button.get_attribute("textContent") == title)
    return found, buttons[found]


def click(browser: webdriver.Chrome, element: WebElement) -> None:
    """Click on what is in view."""
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant', block: 'center', inline: 'center'})", element)
    element.click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_every_plot_is_drawn_and_nothing_runs_over_the_edge(opened: Opened, size: str, scheme: str) -> None:
    browser = opened(size, scheme)
    draw_all(browser)
    assert len(browser.find_elements(By.CSS_SELECTOR, ".plot")) == 8  # two of a curve, three of sizes, one of each other section
    marks = browser.execute_script("return document.querySelectorAll('.plot .point, .plot .bars path, .plot .boxes path').length")
    assert marks > 60
    assert browser.execute_script("return document.documentElement.scrollWidth") <= SIZES[size][0]
    colour = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert colour == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(20, 23, 27)")
    script = "return getComputedStyle(document.querySelector('.charts[data-section=curves] .scatterlayer .points path')).fill"
    assert browser.execute_script(script) in (
        ("rgb(28, 32, 36)", "rgb(213, 94, 1)") if scheme == "light" else ("rgb(231, 233, 236)", "rgb(242, 140, 69)")
    )


@pytest.mark.parametrize(("size", "rows"), [("desk", 12), ("telephone", 4)])
def test_the_first_screen_shows_speed_ups_with_their_intervals(opened: Opened, size: str, rows: int) -> None:
    browser = opened(size, "light")
    height = SIZES[size][1]
    boxes = browser.execute_script(
        "return [...document.querySelectorAll('.forest .at')].map(it => it.getBoundingClientRect().bottom)"
    )
    assert sum(bottom < height for bottom in boxes) >= rows
    script = """return [...document.querySelectorAll('.forest tbody tr:not(.group)')].map(row => {
      const lane = row.querySelector('.lane').getBoundingClientRect(), span = row.querySelector('.span').getBoundingClientRect();
      return [span.left - lane.left, lane.right - span.right, lane.width];
    })"""
    for left, right, width in browser.execute_script(script):
        assert left > -0.5
        assert right > -0.5
        assert width > 150


def test_whiskers_beyond_the_frame_end_in_arrows(browser: webdriver.Chrome, tmp_path: Path) -> None:
    records = (case_record(ratio=2.0, half_width=5.0), case_record(ratio=2.0))
    path = tmp_path / "report.html"
    path.write_bytes(render_html(make_report([Run(tmp_path, run_record(), records, 0)]), tmp_path))
    browser.get(path.as_uri())
    script = """return [...document.querySelectorAll('.forest .span')].map(it =>
      ['::before', '::after'].map(end => getComputedStyle(it, end).borderTopWidth))"""
    assert browser.execute_script(script) == [["5px", "5px"], ["0px", "0px"]]


def test_a_telephone_shows_model_speed_up_and_verdict_without_scrolling(opened: Opened) -> None:
    browser = opened("telephone", "light")
    script = """return [...document.querySelectorAll('#table tbody.case')].map(body => {
      const reach = it => { const box = it.getBoundingClientRect(); return [box.left, box.right]; };
      return [body.querySelector('.name'), body.querySelector('.speedup'), body.querySelector('.verdict')]
        .filter(it => it.offsetWidth).map(reach);
    })"""
    shown_parts = browser.execute_script(script)
    assert sum(len(parts) == 3 for parts in shown_parts) > 30
    assert all(left >= 0 and right <= SIZES["telephone"][0] for parts in shown_parts for left, right in parts)
    scroll = "const it = document.querySelector('.scroll.tall'); return it.scrollWidth - it.clientWidth"
    assert browser.execute_script(scroll) <= 0


def test_a_name_in_the_first_plot_leads_to_its_row(opened: Opened) -> None:
    browser = opened("desk", "light")
    link = browser.find_element(By.CSS_SELECTOR, ".forest th a")
    detail = browser.find_element(By.ID, str(link.get_attribute("href")).rpartition("#")[2])
    assert not detail.is_displayed()
    click(browser, link)
    assert detail.is_displayed()


def test_paper_keeps_headings_with_what_follows_and_plots_together(opened: Opened) -> None:
    browser = opened("desk", "light")
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        breaks = "return [...document.querySelectorAll('h2, h3, figcaption')].map(it => getComputedStyle(it).breakAfter)"
        assert set(browser.execute_script(breaks)) == {"avoid"}
        script = "return [...document.querySelectorAll('[data-section=tradeoffs] figure')].map(it => it.getBoundingClientRect().height)"
        heights = browser.execute_script(script)
        assert len(heights) == 3
        assert heights[0] + heights[2] < PAGE_PX
        tops = (
            "return [...document.querySelectorAll('[data-section=tradeoffs] figure')].map(it => it.getBoundingClientRect().top)"
        )
        first, second, third = browser.execute_script(tops)
        assert first == second < third
        scrolled = """return [...document.querySelectorAll('.scroll, .rows')]
          .filter(it => getComputedStyle(it).overflowY !== 'visible').length"""
        assert browser.execute_script(scrolled) == 0
        pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
        assert 5 < len(re.findall(rb"/Type /Page\b", pdf)) <= 16
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_a_click_sorts_and_another_one_turns_it_round(opened: Opened) -> None:
    browser = opened("desk", "light")
    number, button = header(browser, "Latency, ms")
    for direction in ("ascending", "descending"):
        click(browser, button)
        assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == direction
        texts = column(browser, number)
        timed = [float(value) for value in values(browser, number) if value]  # the texts are rounded to their intervals
        assert len(timed) > 50
        assert timed == sorted(timed, reverse=direction == "descending")
        assert texts[len(timed) :] == ["not timed"] * (len(texts) - len(timed))  # last in either direction
    _, other = header(browser, "Model")
    other.send_keys(Keys.ENTER)
    assert button.find_element(By.XPATH, "..").get_attribute("aria-sort") == "none"
    assert shown(browser) == sorted(shown(browser))


def test_typing_and_choosing_filter(opened: Opened) -> None:
    browser = opened("telephone", "dark")
    everything = shown(browser)
    field = browser.find_element(By.ID, "filter")
    field.send_keys("r0.50 ORT faster")
    assert set(shown(browser)) == {"resnet50-l2-r0.50"}
    assert browser.find_element(By.ID, "count").text == f"{len(shown(browser))} of {len(everything)} cases"
    field.send_keys(" nonsense")
    assert shown(browser) == []
    assert browser.find_element(By.ID, "empty").is_displayed()
    field.clear()
    field.send_keys(" ")
    assert shown(browser) == everything
    browser.find_element(By.CSS_SELECTOR, "select[data-facet=verdict]").send_keys("failed")
    assert shown(browser) == ["resnet50-l2-r0.70"]


def test_a_row_unfolds_by_click_and_by_keyboard_and_moves_with_its_case(opened: Opened) -> None:
    browser = opened("desk", "light")
    button = browser.find_elements(By.CSS_SELECTOR, "#table .more")[1]
    detail = browser.find_element(By.ID, str(button.get_attribute("aria-controls")))
    assert not detail.is_displayed()
    button.send_keys(Keys.ENTER)
    assert detail.is_displayed()
    assert button.get_attribute("aria-expanded") == "true"
    assert "prune-deploy curve --model resnet50" in detail.text
    click(browser, header(browser, "Speed-up")[1])
    above = browser.execute_script("return arguments[0].previousElementSibling.querySelector('.name').textContent", detail)
    assert above == button.text
    click(browser, button)
    assert not detail.is_displayed()


def test_another_view_draws_other_plots_and_shows_its_table(opened: Opened) -> None:
    browser = opened("desk", "light")
    tables = browser.find_elements(By.CSS_SELECTOR, "[data-view=curves]")
    assert [table.is_displayed() for table in tables] == [True, False]
    before = browser.find_element(By.CSS_SELECTOR, "#curves figure .note").text
    browser.find_element(By.CSS_SELECTOR, "select[data-chooser=curves]").send_keys(Keys.ARROW_DOWN)
    assert [table.is_displayed() for table in tables] == [False, True]
    assert browser.find_element(By.CSS_SELECTOR, "#curves figure .note").text != before
    draw_all(browser)


def test_a_change_of_scheme_repaints_the_plots(opened: Opened) -> None:
    browser = opened("desk", "light")
    draw_all(browser)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    script = "return document.querySelector('#curves .plot').layout.font.color"
    wait_until(lambda: browser.execute_script(script) == "#a0a6b0")
