"""Experiment trackers are told what the log holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_finetune import CELL, PAIRS, make_loaded, product, silent

from maple.finetune.trainer import train
from maple.records import Execution


def test_tensorboard_has_every_step_of_the_log(tmp_path: Path) -> None:
    held_out = {"eng_Latn": PAIRS[:3]}
    told = Execution(validate_every=2, report_to=("tensorboard",))
    train(make_loaded(), PAIRS, CELL, tmp_path / "told", silent, held_out=held_out, execution=told)
    quiet = Execution(validate_every=2)
    train(
        make_loaded(), PAIRS, CELL, tmp_path / "quiet", silent, held_out=held_out, execution=quiet
    )
    assert product(tmp_path / "told") == product(tmp_path / "quiet")
    assert not (tmp_path / "quiet" / "tracking").exists()

    lines = [json.loads(line) for line in (tmp_path / "told/log.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(tmp_path / "told" / "tracking"))
    events.Reload()
    for name, wanted in {
        "train/loss": [(line["step"], line["loss"]) for line in lines if line["step"]],
        "train/tokens": [(line["step"], line["tokens"]) for line in lines if line["step"]],
        "eval/eng_Latn_loss": [
            (line["step"], line["held_out"]["eng_Latn"]) for line in lines if "held_out" in line
        ],
    }.items():
        found = [(event.step, event.value) for event in events.Scalars(name)]
        assert [step for step, _ in found] == [step for step, _ in wanted]
        assert [value for _, value in found] == pytest.approx([value for _, value in wanted])
        assert len(found) >= 4
