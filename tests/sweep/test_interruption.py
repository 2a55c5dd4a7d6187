"""Killed anywhere, started twice: the results are those of one quiet run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from maple.evaluate import responses
from maple.records import Cost, EvalCell
from maple.store import Store, leases
from sweep.studies import content, planned, results, swept

STUDY = """
name = "interrupted"
[base]
models = ["scripted:hash"]
[train]
sources = ["mini"]
r = [8, 16]
lora_alpha = "2r"
train_bits = [4, 16]
[evaluate]
[[evaluate.task]]
name = "xcopa"
dataset = "mini"
subsets = ["en", "zh"]
n_shot = 2
[[evaluate.task]]
name = "xquad"
dataset = "mini"
subsets = ["ar", "sw"]
n_shot = 2
"""


def start(folder: Path) -> subprocess.Popen[bytes]:
    study = folder.parent / "study.toml"
    study.write_text(STUDY, encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "maple", "run", str(study), "--out", str(folder), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(folder: Path) -> None:
    process = start(folder)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr.decode()


def worker_of(sweep: int) -> int | None:
    children = Path(f"/proc/{sweep}/task/{sweep}/children").read_text(encoding="ascii").split()
    return int(children[0]) if children else None


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run that nobody disturbs leaves."""
    folder = tmp_path_factory.mktemp("quiet") / "out"
    finish(folder)
    return results(folder)


@pytest.mark.full
def test_killed_at_random_moments_and_run_again(tmp_path: Path, quiet: dict[str, bytes]) -> None:
    chance = random.Random(0)  # noqa: S311  moments, not secrets
    folder = tmp_path / "killed"
    deaths = 0
    for attempt in range(30):
        process = start(folder)
        time.sleep(chance.uniform(0.5, 3.0))
        victim = process.pid
        if attempt % 2:
            victim = worker_of(process.pid) or process.pid
        if process.poll() is None:
            os.kill(victim, signal.SIGKILL)
            deaths += 1
        process.communicate(timeout=120)
        if deaths == 6:
            break
    finish(folder)
    assert results(folder) == quiet
    assert deaths >= 4


@pytest.mark.full
def test_the_worker_dies_with_its_sweep(tmp_path: Path) -> None:
    process = start(tmp_path / "out")
    worker = None
    while worker is None and process.poll() is None:
        worker = worker_of(process.pid)
    assert worker is not None
    process.kill()
    process.communicate(timeout=60)
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    pytest.fail("the worker outlived its sweep")


@pytest.mark.full
def test_two_sweeps_share_a_folder(tmp_path: Path, quiet: dict[str, bytes]) -> None:
    shared = tmp_path / "shared"
    both = [start(shared), start(shared)]
    messages = [process.communicate(timeout=120)[1].decode() for process in both]
    assert [process.returncode for process in both] == [0, 0], messages
    assert results(shared) == quiet
    computed = [int(text.split(" cells computed")[0].splitlines()[-1]) for text in messages]
    cells = json.loads((shared / "plan.json").read_text(encoding="utf-8"))
    adapters = sum(cell["method"] != "none" for cell in cells["train"].values())
    assert sum(computed) == adapters + len(cells["evals"])


def test_a_stale_lease_is_taken_over(tmp_path: Path) -> None:
    plan, _store = planned(content(subsets=["eng_Latn"]), tmp_path)
    name = next(iter(plan.grid.evals))
    lease = tmp_path / "leases" / f"{name}.json"
    lease.parent.mkdir()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    held = {
        "token": "x",
        "host": os.uname().nodename,
        "processes": leases._processes(),
        "pid": gone.pid,
        "process_started": time.time(),
        "heartbeat": time.time(),
    }
    lease.write_text(json.dumps(held), encoding="utf-8")
    outcome, _, _ = swept(content(subsets=["eng_Latn"]), tmp_path)
    assert name in outcome.done


def test_parts_of_an_unfinished_cell_are_kept(tmp_path: Path) -> None:
    _, plan, store = swept(content(subsets=["eng_Latn"]), tmp_path / "quiet")
    name, cell = next(iter(plan.grid.evals.items()))
    rows = store.responses(name, cell).to_pylist()
    _, other = planned(content(subsets=["eng_Latn"]), tmp_path / "other")
    marked = [{**row, "prompt_tail": [0]} for row in rows[:7]]
    other.put_part(name, cell, 0, marked, Cost(100.0, 5.0))
    swept(content(subsets=["eng_Latn"]), tmp_path / "other")
    record = other.eval_record(name, cell)
    assert record is not None
    assert record.cost is not None
    assert 100.0 < record.cost.seconds < 110.0
    assert 5.0 <= record.cost.load_seconds < 6.0
    found = other.responses(name, cell).to_pylist()
    assert found[:7] == marked
    assert found[7:] == rows[7:]


def test_the_cost_survives_a_death_before_the_record(tmp_path: Path) -> None:
    study = content(subsets=["eng_Latn"])
    _, plan, store = swept(study, tmp_path, limit=5)
    before = results(tmp_path)
    name, cell = next(iter(plan.grid.evals.items()))
    rows = store.finished(name, cell).to_pylist()
    store.eval_path(name, cell).with_suffix(".json").unlink()
    joined = store.eval_path(name, cell).read_bytes()
    store.eval_path(name, cell).unlink()
    store.put_part(name, cell, 0, rows, Cost(100.0))
    store.eval_path(name, cell).write_bytes(joined)
    swept(study, tmp_path, limit=5)
    record = store.eval_record(name, cell)
    assert record is not None
    assert record.cost == Cost(100.0)
    assert results(tmp_path) == before


def test_a_death_after_any_part_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts hold questions that lie far apart; none is lost, hardly any asked twice."""
    monkeypatch.setattr(responses, "PART_ITEMS", 5)
    study = content(subsets=["eng_Latn"], r=[8], train_bits=[16])
    swept(study, tmp_path / "quiet")

    class _Death(BaseException):
        pass

    plain = Store.put_part
    asked: list[str] = []
    left = 0

    def deadly(self: Store, name: str, cell: EvalCell, first: int, rows: Any, cost: Cost) -> None:
        nonlocal left
        plain(self, name, cell, first, rows, cost)
        asked.extend(f"{name}/{row['example_id']}" for row in rows)
        left -= 1
        if left == 0:
            raise _Death

    monkeypatch.setattr(Store, "put_part", deadly)
    deaths = 0
    while True:
        left = 1 + deaths % 3
        try:
            # A lower limit in between finds parts that hold more than it asks for.
            swept(study, tmp_path / "killed", limit=3 if deaths % 4 == 3 else None)
            if deaths % 4 != 3:
                break
            deaths += 1
        except _Death:
            deaths += 1
    assert deaths > 5
    assert results(tmp_path / "killed") == results(tmp_path / "quiet")
    assert len(set(asked)) == 16 * 4
    assert len(asked) < 1.5 * len(set(asked))
    assert not list((tmp_path / "killed").glob("eval/**/*.parts"))
