"""Several processes train as one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from launched_run import main
from safetensors.torch import load_file

SCRIPT = Path(__file__).with_name("launched_run.py")


@pytest.mark.full
@pytest.mark.parametrize("processes", [2, 3])
def test_processes_under_accelerate_launch_reach_the_loss_of_one(
    processes: int, tmp_path: Path
) -> None:
    """Eleven rows, four a step: with three processes the last step leaves one without a row."""
    main(tmp_path / "one")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "accelerate.commands.launch", "--cpu"),
            *("--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--main_process_port", str(29500 + os.getpid() % 1000)),
            *(str(SCRIPT), str(tmp_path / "many")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "many")
    ]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert len(logs[0]) == 7
    for one, many in zip(*logs, strict=True):
        assert one.get("tokens") == many.get("tokens")
        if "loss" in one:
            assert many["loss"] == pytest.approx(one["loss"], abs=1e-3)
        if "held_out" in one:
            assert many["held_out"]["eng_Latn"] == pytest.approx(
                one["held_out"]["eng_Latn"], abs=1e-3
            )
    weights = [load_file(tmp_path / n / "adapter_model.safetensors") for n in ("one", "many")]
    for name, tensor in weights[0].items():
        assert (weights[1][name] - tensor).abs().max() < 1e-3, name
    assert not (tmp_path / "many" / "checkpoints").exists()
