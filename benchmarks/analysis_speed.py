"""How long the analysis of a large study takes, and how much memory.

    python benchmarks/analysis_speed.py [--store DIR] [--languages 40] [--items 1000]

The study is the paper's grid, generated (`generated_store.py`): 90 adapters and 6 rows of untuned
bases, each asked 6 tasks in 40 languages, 1,000 items each. DIR keeps it, and is used as it is if
it has a plan; otherwise the study is made, without DIR in a temporary folder (minutes, 1 GB). Its
files are put out of the page cache where the system allows, then a fresh process works through the
stages. Prints JSON, per stage wall seconds and peak resident memory so far (null where unknown):

    aggregated       from the folder to the table of cells and the matrices of scores
    estimates        every score, delta and macro with 2,000 resamples and 9,999 sign flips
    hypotheses       H1 to H11 and what else is decided, from those resamples
    rates            how answers ended, in which language, which choices are preferred
    report           all of it again from the folder, and tables, figures and the page
    cells, scores    what was read
    page_mb          size of the page
    verdicts         on each hypothesis; the effects are planted
    generation_s     null where the study was there
    processors       that the process may use
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from children import child
from generated_store import ITEMS, LANGUAGE_KEYS, generate
from maple.analysis import frames, rates
from maple.analysis.blocks import blocks
from maple.analysis.observed import Observed
from maple.analysis.questions import findings
from maple.analysis.results import results
from maple.provenance import Meter
from maple.report import build
from maple.store import Snapshot, Store
from planted import Effects

EFFECTS = Effects(
    english=-1.5,
    trained=3.0,
    untrained=0.5,
    same_family=0.5,
    same_script=0.25,
    rank_low=0.5,
    bits_low=0.5,
    adapter_sd=0.5,
    language_sd=0.5,
)


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """What a child does: the stages one after the other, each on what those before it made."""
    stages: dict[str, Any] = {}
    before = psutil.Process().memory_info().rss
    meter = Meter()

    @contextmanager
    def stage(name: str) -> Iterator[None]:
        meter.lap()
        yield
        read = meter.lap()
        peak = read["peak_bytes"]
        stages[name] = {
            "seconds": round(float(read["seconds"] or 0), 1),
            "peak_mb": None if peak is None else round((before + int(peak)) / 1e6),
        }
        print(f"{name}: {stages[name]}", file=sys.stderr)

    with stage("aggregated"):
        store = Snapshot(Path(job["store"]))
        plan = store.plan()
        if plan is None:
            sys.exit(f"{store.root}: has no plan.json")
        cells = frames.cells(store, plan)
        scored = blocks(store, plan)
    with stage("estimates"):
        estimated = results(plan, scored)
    with stage("hypotheses"):
        decided = findings(Observed(plan, estimated))
    with stage("rates"):
        rates.answers(store, plan)
        rates.choices(store, plan)
        rates.prompts(store, plan)
    with stage("report"):
        page = build(Store(store.root), store.root / "report")
    return {
        **stages,
        "cells": cells.height,
        "scores": sum(int(block.answered.sum()) for block in scored),
        "page_mb": round(page.stat().st_size / 1e6, 2),
        "verdicts": {one.key: one.verdict for one in decided},
    }


def put_out(folder: Path) -> None:
    """Have the system forget the files' contents, so that they come from the disk again."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()  # what is not on the disk yet cannot be forgotten
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def main() -> None:
    """Parse the command line and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, help="folder that keeps the study")
    parser.add_argument("--languages", type=int, default=len(LANGUAGE_KEYS))
    parser.add_argument("--items", type=int, default=ITEMS, help="a task and language")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = options.store or Path(scratch)
        seconds = None
        if not (root / "plan.json").exists():
            start = time.perf_counter()
            languages = LANGUAGE_KEYS[: options.languages]
            generate(root, languages=languages, items=options.items, effects=EFFECTS)
            seconds = round(time.perf_counter() - start, 1)
            print(f"generated in {seconds} s", file=sys.stderr)
        put_out(root)
        found = child(__file__, store=root)
    about = {"generation_s": seconds, "processors": len(os.sched_getaffinity(0))}
    print(json.dumps({**found, **about}, indent=1))


if __name__ == "__main__":
    main()
