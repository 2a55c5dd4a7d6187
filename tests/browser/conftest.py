"""A built report of varied numbers, and a browser that looks at it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from maple.records import Cost, EvalCell, TrainCell
from maple.report import build
from maple.report.gathered import Gathered, gather
from report.fake_store import HOSTILE, Fake, filled

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

SIZES = {"wide": (1400, 1000), "narrow": (390, 844)}


def varied(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """Right where a number of the cell, the language and the item says so; adapters more often."""
    languages = ("eng_Latn", "arb_Arab", "swh_Latn")
    shift = languages.index(asked.subset) * 2 + asked.eval_bits // 4
    tuned = 0 if cell.r is None else 2 + (cell.r == 64) * (3 if asked.subset != "eng_Latn" else -4)
    return float((item * 7 + shift) % 20 < 9 + tuned)


@pytest.fixture(scope="session")
def varied_store(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    fake = filled(tmp_path_factory.mktemp("browser"), varied)
    for place, (name, cell) in enumerate(fake.plan.train.items()):
        record = fake.store.train_record(name)
        if record is not None and cell.r is not None:
            cost = Cost(5120.0 / cell.r, 1.5, (5 - place) * 10**8)
            fake.store.put_record(record.model_copy(update={"cost": cost}))
    study = {**fake.plan.study, "name": f"{HOSTILE} \u202eabc {'long' * 60}"}
    fake.store.put_plan(fake.plan.model_copy(update={"study": study}), b"")
    return fake


@pytest.fixture(scope="session")
def gathered(varied_store: Fake) -> Gathered:
    return gather(varied_store.store)


@pytest.fixture(scope="session")
def address(varied_store: Fake) -> str:
    return build(varied_store.store).as_uri()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebDriver]:
    """Headless Chromium with Debian's driver; nothing is fetched."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    folder = str(tmp_path_factory.mktemp("downloads"))
    several = "profile.default_content_setting_values.automatic_downloads"
    options.add_experimental_option("prefs", {"download.default_directory": folder, several: 1})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(programs[1], env={**os.environ, "SE_OFFLINE": "true"})
    driver = webdriver.Chrome(options, service)
    driver.downloads = Path(folder)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium: WebDriver, address: str) -> Iterator[WebDriver]:
    """The page, wide and light, anew; afterwards nothing may have gone wrong."""
    show(chromium, address)
    yield chromium
    complaints = [entry for entry in chromium.get_log("browser") if entry["level"] != "INFO"]
    assert complaints == []


def show(driver: WebDriver, address: str, size: str = "wide", scheme: str = "light") -> None:
    """Open a page in a size and a colour scheme."""
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "narrow"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    driver.get("about:blank")
    driver.get(address)
