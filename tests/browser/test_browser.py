"""The page as a reader uses it: filters, sorting, items, keyboard, colours; and what it never does.

`MAPLE_SCREENSHOTS` names a folder for pictures of the page, to be looked at.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser.conftest import SIZES, show
from maple.analysis.estimates import Estimate
from maple.analysis.gains import front
from maple.report import labels
from maple.report.gathered import Gathered
from maple.report.payload import correlations, spread
from maple.report.selection import mean_of_languages
from report.fake_store import FORMULA, HOSTILE, Fake

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver
    from selenium.webdriver.remote.webelement import WebElement

pytestmark = pytest.mark.browser

MAIN = "#xcopa-acc .metric:not([hidden]) table.main"


def one(browser: WebDriver, selector: str) -> WebElement:
    """The first element of a selector, waited for."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = browser.find_elements("css selector", selector)
        if found:
            return found[0]
        time.sleep(0.02)
    raise AssertionError(f"nothing is {selector}")


def see(browser: WebDriver, selector: str) -> WebElement:
    """Scroll to an element and wait until what it shows is of the current selection."""
    element = one(browser, selector)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    until = time.monotonic() + 10
    script = (
        "return arguments[0].dataset.revision === document.documentElement.dataset.revision"
        " && !arguments[0].hidden"
    )
    while time.monotonic() < until:
        if browser.execute_script(script, element):
            return element
        time.sleep(0.02)
    raise AssertionError(f"{selector} was not drawn")


def texts(browser: WebDriver, selector: str) -> list[str]:
    script = (
        "return [...document.querySelectorAll(arguments[0])]"
        ".map((one) => one.innerText ?? one.textContent)"
    )
    return [" ".join(text.split()) for text in browser.execute_script(script, selector)]


def click(browser: WebDriver, selector: str) -> None:
    browser.execute_script("arguments[0].click()", one(browser, selector))


def untick(browser: WebDriver, facet: str, value: str) -> None:
    """Take a value out of a filter, by its checkbox."""
    box = f'details[data-facet="{facet}"]'
    if not one(browser, box).get_attribute("open"):
        one(browser, f"{box} > summary").click()
    one(browser, f'{box} input[value="{value}"]').click()


def rows(browser: WebDriver, selector: str) -> list[list[str]]:
    script = (
        "return [...document.querySelectorAll(arguments[0] + ' tbody tr')]"
        ".map((row) => [...row.children].map((cell) => cell.innerText))"
    )
    found = browser.execute_script(script, selector)
    return [[" ".join(text.split()) for text in row] for row in found]


def test_the_table_shows_the_stored_means(browser: WebDriver, gathered: Gathered) -> None:
    see(browser, "#xcopa-acc .slot")
    shown = {row[0]: row[1:] for row in rows(browser, MAIN) if len(row) > 1}
    table = gathered.tables[0]
    assert len(shown) == len(table.lines) == 6
    for line in table.lines:
        macro = gathered.macro(table, line)
        assert macro is not None
        expected = [labels.points(macro.score.value), labels.interval(macro.score)]
        if macro.delta is not None:
            expected += [labels.signed(macro.delta.value), labels.interval(macro.delta, sign=True)]
            expected += [labels.mark(macro.delta, macro.adjusted)]
        expected += [] if macro.complete else ["2 of 3 languages"]
        assert shown[line.label][0] == " ".join(part for part in expected if part)


def test_filters_change_every_table_and_figure(browser: WebDriver, gathered: Gathered) -> None:
    assert one(browser, "#shown").text == "6 cells, 3 languages shown"
    untick(browser, "language", "Swahili")
    untick(browser, "r", "64")
    assert one(browser, "#shown").text == "4 cells, 2 languages shown"
    assert "2 of 3" in one(browser, 'details[data-facet="language"] summary').text
    see(browser, "#xcopa-acc .slot")
    shown = {row[0]: row[1:] for row in rows(browser, MAIN) if len(row) > 1}
    table = gathered.tables[0]
    rho = correlations(gathered, table)
    tuned = next(line for line in table.lines if line.label in shown and "r=8" in line.label)
    found = [gathered.results.cells[tuned.evals[key], "acc"] for key in ("eng_Latn", "arb_Arab")]
    means = [
        mean_of_languages([part for part in map(spread, parts) if part is not None], rho[name])
        for name, parts in (
            ("score", [result.score for result in found]),
            ("delta", [result.delta for result in found]),
        )
    ]
    assert all(mean is not None and mean.low is not None for mean in means)
    score, delta = means
    # The page knows ends of intervals to 1/1000 point.
    numbers = [
        float(text) for text in re.findall(r"[+-]?\d+\.\d", shown[tuned.label][0].replace("−", "-"))
    ]
    exact = [
        100 * getattr(mean, name) for mean in (score, delta) for name in ("value", "low", "high")
    ]
    assert numbers == pytest.approx(exact, abs=0.052)
    assert {len(row) for row in shown.values()} == {3}
    assert "Mean over 2 of 3 languages" in " ".join(texts(browser, "#xcopa-acc .slot p"))
    for figure, column, gone in (
        ("heatmap", 1, "64"),
        ("slopes", 2, "64"),
        ("map", 0, "Swahili"),
        ("transfer", 1, "Swahili"),
        ("english", 0, "LoRA r=64, 4 bits, mini, seed 0"),
        ("pareto", 0, "LoRA r=64, 4 bits, mini, seed 0"),
        ("curves", 1, "LoRA r=64, 4 bits, mini, seed 0"),
    ):
        host = see(browser, f'[data-figure="{figure}"]')
        button = host.find_element("css selector", '[data-action="table"]')
        if figure == "slopes":  # one rank is no slope
            assert "Nothing finished to draw" in host.text
            assert not button.is_enabled()
            continue
        browser.execute_script("arguments[0].click()", button)
        found_rows = rows(browser, f'[data-figure="{figure}"] .data')
        assert found_rows
        assert gone not in {row[column] for row in found_rows}, figure
    see(browser, '[data-grid="preferred"]')
    grid = rows(browser, '[data-grid="preferred"]')
    assert {row[2] for row in grid} == {"English", "Modern Standard Arabic"}
    assert not any("r=64" in row[0] for row in grid)
    click(browser, "#reset")
    assert one(browser, "#shown").text == "6 cells, 3 languages shown"


def test_a_view_can_be_linked(browser: WebDriver, address: str) -> None:
    untick(browser, "language", "English")
    untick(browser, "bits", "4")
    linked = browser.current_url
    assert linked == f"{address}#?bits=16&not-language=English"
    browser.get("about:blank")
    browser.get(linked)
    assert one(browser, "#shown").text == "3 cells, 2 languages shown"
    see(browser, "#xcopa-acc .slot")
    assert [row[0] for row in rows(browser, MAIN) if len(row) > 1] == [
        "untuned, 16 bits",
        "LoRA r=8, 16 bits, mini, seed 0",
        "LoRA r=64, 16 bits, mini, seed 0",
    ]


def test_figures_show_what_the_estimates_say(browser: WebDriver, gathered: Gathered) -> None:
    see(browser, '[data-figure="heatmap"]')
    click(browser, '[data-figure="heatmap"] [data-action="table"]')
    shown = {(row[1], row[2]): row[3:6] for row in rows(browser, '[data-figure="heatmap"] .data')}
    table = gathered.tables[0]
    for line in table.lines:
        cell, macro = gathered.plan.train[line.train_id], gathered.macro(table, line)
        if cell.r is None:
            continue
        assert macro is not None
        assert macro.delta is not None
        ends = [macro.delta.value, macro.delta.low or 0.0, macro.delta.high or 0.0]
        expected = [labels.signed(end) for end in ends] if macro.complete else ["", "", ""]
        assert shown[str(cell.r), str(line.eval_bits)] == expected
    drawn = " ".join(texts(browser, '[data-figure="heatmap"] svg text'))
    assert shown["64", "4"][0] in drawn
    assert "unfinished" in drawn


@pytest.mark.parametrize(("cost", "column"), [("seconds", "seconds"), ("memory", "peak_bytes")])
def test_the_front_is_that_of_the_tables(
    browser: WebDriver, gathered: Gathered, cost: str, column: str
) -> None:
    host = see(browser, '[data-figure="pareto"]')
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
        host.find_element("css selector", "select"),
        cost,
    )
    see(browser, '[data-figure="pareto"]')
    click(browser, '[data-figure="pareto"] [data-action="table"]')
    shown = {row[0]: row[5] == "yes" for row in rows(browser, '[data-figure="pareto"] .data')}
    paid = dict(gathered.training.select("train_id", column).iter_rows())
    table = gathered.tables[0]
    gained = {
        line: macro.delta.value
        for line in table.lines
        if (macro := gathered.macro(table, line)) and macro.complete and macro.delta
    }
    expected = front([paid[line.train_id] for line in gained], list(gained.values()))
    assert shown == {line.label: on for line, on in zip(gained, expected, strict=True)}
    assert set(shown.values()) == {True, False}


def test_columns_sort_both_ways(browser: WebDriver) -> None:
    see(browser, "#xcopa-acc .slot")
    heading = f"{MAIN} thead th:nth-child(3)"
    order = []
    for expected in ("descending", "ascending", "none"):
        click(browser, f"{heading} button")
        assert one(browser, heading).get_attribute("aria-sort") == expected
        found = [row[2] for row in rows(browser, MAIN) if len(row) > 1]
        order.append([float(text.split()[0]) for text in found])
    assert order[0] == sorted(order[0], reverse=True)
    assert order[1] == sorted(order[0])
    assert order[2] not in (order[0], order[1])


def test_another_metric_is_shown(browser: WebDriver) -> None:
    select = one(browser, '#xcopa-acc select[aria-label="Metric"]')
    browser.execute_script(
        "arguments[0].value = 'xcopa-acc-norm'; arguments[0].dispatchEvent(new Event('change'))",
        select,
    )
    see(browser, "#xcopa-acc .metric:not([hidden]) .slot")
    assert texts(browser, f"{MAIN} caption")[0].startswith("xcopa: acc_norm")
    assert "metric acc_norm" in one(browser, "#xcopa-acc .metric:not([hidden]) .protocol").text


def test_items_can_be_browsed(browser: WebDriver) -> None:
    see(browser, "#item-browser")
    choose = (
        "const select = document.getElementById(arguments[0]);"
        "select.value = [...select.options].find((one) => one.text === arguments[1]).value;"
        "select.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(choose, "item-language", "Modern Standard Arabic")
    assert one(browser, "#item-place").text == "Item 1 of 20"
    said = one(browser, "#item dd.said")
    assert (said.get_attribute("lang"), said.get_attribute("dir")) == ("arb-Arab", "auto")
    direction = "return getComputedStyle(arguments[0]).direction"
    directions = {
        text: browser.execute_script(direction, element)
        for element in browser.find_elements("css selector", "#item dd.said")
        if (text := element.text)
    }
    assert directions == {HOSTILE: "ltr", "فاض الإبريق. ما السبب؟": "rtl"}
    assert rows(browser, "#item table")[0][0].startswith("كان الغطاء مغلقا.")
    click(browser, "#item .asked summary")
    assert texts(browser, "#item .prompt") == [
        f"كان الغطاء مغلقا. {FORMULA}",
        f"فاض الإبريق. ما السبب؟ {HOSTILE}",
    ]
    prompt = browser.find_elements("css selector", "#item .prompt")[1]
    assert browser.execute_script(direction, prompt) == "rtl"
    click(browser, "#item-next")
    assert one(browser, "#item-place").text == "Item 2 of 20"
    click(browser, "#item-next")
    assert not browser.find_elements("css selector", "#item .asked")  # of it no prompt was kept
    click(browser, "#item-previous")
    browser.execute_script(choose, "item-which", "base wrong, tuned right")
    count = int(one(browser, "#item-place").text.split()[-1])
    assert 0 < count < 20
    heads = texts(browser, "#item thead th")
    assert heads[1].endswith("score 0")
    assert heads[2].endswith("score 100")
    browser.execute_script(choose, "item-which", "all")
    browser.execute_script(choose, "item-task", "xquad")
    assert FORMULA in one(browser, "#item").text


def test_ends_of_intervals_are_written_as_in_the_files(browser: WebDriver) -> None:
    program = resources.files("maple.report").joinpath("js", "01-dom.js").read_text("utf-8")
    ends = [(-10100, -44), (4, 3100), (-40, 3100), (0, 3100), (-160, -51), (49, 51)]
    shown = "return arguments[0].map(([low, high]) => interval({ low, high }, signed))"
    assert browser.execute_script(f"{program}\n{shown}", ends) == [
        labels.interval(Estimate(0.0, low / 1e5, high / 1e5, 2, 2), sign=True) for low, high in ends
    ]


def test_hostile_strings_stay_text(browser: WebDriver) -> None:
    see(browser, "#item-browser")
    assert HOSTILE in one(browser, "h1").text
    assert browser.execute_script("return document.images.length") == 0
    assert browser.execute_script("return document.scripts.length") == 3
    width = "return [document.documentElement.scrollWidth, visualViewport.width]"
    scroll, inner = browser.execute_script(width)
    assert scroll <= inner


def test_tables_are_saved_without_formulas(browser: WebDriver, varied_store: Fake) -> None:
    see(browser, "#xcopa-acc .slot")
    for ending in ("CSV", "LaTeX", "Markdown"):
        click(browser, f'#xcopa-acc .slot button[aria-label="Save table as {ending}"]')
    folder: Path = browser.downloads
    paths = [folder / f"xcopa-acc.{ending}" for ending in ("csv", "tex", "md")]
    until = time.monotonic() + 10
    while not all(path.exists() for path in paths) and time.monotonic() < until:
        time.sleep(0.05)
    found = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert len(found) == 6 * 4
    assert not any(value.startswith(("=", "+", "@")) for row in found for value in row.values())
    assert float(found[0]["score"]) == pytest.approx(45.0, abs=20)
    assert "\\toprule" in paths[1].read_text(encoding="utf-8")
    assert paths[2].read_text(encoding="utf-8").startswith("| cell | mean | English |")


def test_figures_are_saved(browser: WebDriver) -> None:
    see(browser, '[data-figure="heatmap"]')
    folder: Path = browser.downloads
    for kind in ("PNG", "SVG"):
        click(browser, f'[data-figure="heatmap"] button[aria-label="Save figure as {kind}"]')
        path = folder / f"heatmap-xcopa-acc.{kind.lower()}"
        until = time.monotonic() + 10
        while not path.exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert path.read_bytes().startswith(b"\x89PNG" if kind == "PNG" else b"<svg")


def test_everything_is_reached_by_keyboard(browser: WebDriver) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focused() -> str:
        return str(
            browser.execute_script(
                "const one = document.activeElement;"
                "return one.innerText || one.getAttribute('aria-label') || one.value"
            )
        )

    browser.execute_script("document.getElementById('bar-summary').focus()")
    press(Keys.TAB)
    assert focused().startswith("Base")
    press(Keys.ENTER, Keys.TAB)
    assert focused() == "All"
    press(Keys.TAB, Keys.TAB)
    assert focused() == "tiny"
    press(Keys.ESCAPE)
    assert focused().startswith("Base")
    press(*[Keys.TAB] * 3)
    assert focused().startswith("Rank")
    press(Keys.ENTER, *[Keys.TAB] * 3, Keys.SPACE)
    assert one(browser, "#shown").text == "4 cells, 3 languages shown"
    press(Keys.ESCAPE)
    see(browser, "#xcopa-acc .slot")
    browser.execute_script("document.querySelector(arguments[0]).focus()", f"{MAIN} thead button")
    press(Keys.TAB, Keys.ENTER)
    # The table was built anew, and the heading has the focus again.
    assert focused().startswith("mean")
    assert one(browser, f"{MAIN} thead th:nth-child(2)").get_attribute("aria-sort") == "descending"


def test_every_control_has_a_name(browser: WebDriver) -> None:
    for host in browser.find_elements("css selector", "[data-figure], [data-grid], .slot"):
        browser.execute_script("arguments[0].scrollIntoView()", host)
        time.sleep(0.05)
    nameless = browser.execute_script(
        "return [...document.querySelectorAll('button, select, input')].filter((one) =>"
        " !(one.textContent || one.getAttribute('aria-label') || one.labels?.length)).length"
    )
    assert nameless == 0
    tables = "return [...document.querySelectorAll('table')].filter((one) => !one.caption).length"
    assert browser.execute_script(tables) == 0


def test_nothing_is_asked_of_a_network(browser: WebDriver, address: str) -> None:
    see(browser, "#item-browser")
    asked = [
        message["params"]["request"]["url"]
        for entry in browser.get_log("performance")
        if (message := json.loads(entry["message"])["message"])["method"]
        == "Network.requestWillBeSent"
    ]
    assert {url.split("#")[0][:5] for url in asked} <= {"file:", "about", "data:", "blob:"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_wide_and_narrow_light_and_dark(
    chromium: WebDriver, address: str, size: str, scheme: str
) -> None:
    show(chromium, address, size, scheme)
    for host in chromium.find_elements("css selector", "[data-figure], [data-grid]"):
        chromium.execute_script("arguments[0].scrollIntoView()", host)
        time.sleep(0.15)
    # Bars with long names: here or there, they can be seen without scrolling sideways.
    see(chromium, '[data-figure="english"]')
    fits = (
        "const drawing = document.querySelector('#figure-english .drawing');"
        "return drawing.scrollWidth <= drawing.clientWidth"
    )
    assert chromium.execute_script(fits)
    see(chromium, '[data-figure="heatmap"]')
    ground = chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
    figure = chromium.execute_script(
        "return document.querySelector('[data-figure=\"heatmap\"] svg').style.backgroundColor"
    )
    expected = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 26)"}[scheme]
    assert (ground, figure) == (expected, expected)
    # On a phone innerWidth grows with what does not fit.
    inner = SIZES[size][0]
    assert chromium.execute_script("return document.documentElement.scrollWidth") <= inner
    assert one(chromium, "#bar").get_attribute("open") == ("true" if size == "wide" else None)
    folder = os.environ.get("MAPLE_SCREENSHOTS")
    if folder:
        chromium.execute_script("scrollTo(0, 0)")
        height = chromium.execute_script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": inner, "height": min(height, 16000), "scale": 1}
        options = {"captureBeyondViewport": True, "format": "png", "clip": clip}
        content = chromium.execute_cdp_cmd("Page.captureScreenshot", options)["data"]
        (Path(folder) / f"{size}-{scheme}.png").write_bytes(base64.b64decode(content))
