"""How long a report's page takes to answer a filter, in headless Chromium.

    python benchmarks/page_speed.py PAGE

PAGE is a report's index.html, such as `analysis_speed.py --store DIR` leaves in DIR/report. Needs
selenium (extra `dev`) and Debian's chromium-driver. Each part of the page is brought into sight;
then three checkboxes are taken out and put back. Prints JSON: milliseconds from each click until
everything in sight is drawn anew, by part, and the longest of them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from selenium import webdriver

PARTS = (
    "section.task",
    *(f"#figure-{name}" for name in ("heatmap", "slopes", "map", "transfer", "english", "pareto")),
    "#item-browser",
    "#figure-curves",
    *(f'[data-grid="{name}"]' for name in ("training", "cost", "endings")),
)
CLICKS = 2 * (("r", 0), ("language", 3), ("bits", 0))

_CLICK = """
const [part, facet, place, done] = arguments;
document.querySelector(part).scrollIntoView();
const drawn = ".slot, [data-figure], [data-grid], #item-browser";
const inSight = () => [...document.querySelectorAll(drawn)].filter((host) => {
  const box = host.getBoundingClientRect();
  return box.height > 0 && box.bottom > 0 && box.top < innerHeight;
});
setTimeout(() => {
  const boxes = document.querySelectorAll(`details.facet[data-facet="${facet}"] input`);
  const start = performance.now();
  boxes[place].click();
  const revision = document.documentElement.dataset.revision;
  const look = () =>
    inSight().every((host) => host.dataset.revision === revision)
      ? requestAnimationFrame(() => done(performance.now() - start))
      : setTimeout(look, 5);
  look();
}, 1500);
"""


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path)
    page = parser.parse_args().page.resolve()
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if None in programs:
        sys.exit("no chromium and chromedriver here: apt-get install chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    try:
        driver.set_script_timeout(30)
        driver.get(page.as_uri())
        found = {
            part: [round(driver.execute_async_script(_CLICK, part, *click)) for click in CLICKS]
            for part in PARTS
            if driver.find_elements("css selector", part)
        }
    finally:
        driver.quit()
    print(json.dumps({"milliseconds": found, "longest": max(map(max, found.values()))}, indent=1))


if __name__ == "__main__":
    main()
