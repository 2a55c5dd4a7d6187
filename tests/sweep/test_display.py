from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from maple.store import Store
from maple.sweep import display
from maple.sweep.display import Display
from maple.sweep.product import lay_out
from sweep.studies import content, planned


def test_where_nobody_watches_a_line_a_minute_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    plan, store = planned(content(subsets=["eng_Latn"], train_bits=[16]), tmp_path / "out")
    (trained,) = (name for name, cell in plan.grid.train.items() if cell.method != "none")
    asked = next(iter(plan.grid.evals))
    written = io.StringIO()
    with Display(plan, store, Console(file=written, width=200)) as shown:
        shown({"event": "start", "id": trained})
        for step, at in ((21, 110.0), (22, 150.0), (23, 171.0), (24, 172.0)):
            now[0] = at
            shown({"event": "progress", "id": trained, "step": step, "steps": 60, "loss": 1.0})
        shown({"event": "done", "id": trained})
        shown({"event": "start", "id": asked})
        now[0] = 400.0
        shown({"event": "progress", "id": asked, "step": 8, "steps": 40})
    lines = written.getvalue().splitlines()
    what = "scripted:hash, lora r=8, learning rate 0.0003, 16 bits, mini, seed 0"
    assert lines[1:4] == [
        f"going on behind step 20 of 60: {what}",
        f"23 of 60: {what}",
        f"[1/{len(plan.grid.evals) + 1}] done: {what}",
    ]
    assert lines[4].startswith("8 of 40: ")
    assert len(lines) == 5


def test_the_files_of_another_training_are_replaced_and_it_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for name, files in (("a", ("README.md", "model.safetensors")), ("b", ("README.md", "x.json"))):
        store.train_folder(name).mkdir(parents=True)
        for file in (*files, "record.json"):
            (store.train_folder(name) / file).write_text(name)

    def files() -> dict[str, str]:
        return {path.name: path.read_text() for path in tmp_path.iterdir() if path.is_file()}

    assert not lay_out(store, "a")
    assert files() == {"README.md": "a", "model.safetensors": "a"}
    assert not lay_out(store, "a")
    assert lay_out(store, "b")
    assert files() == {"README.md": "b", "x.json": "b"}
