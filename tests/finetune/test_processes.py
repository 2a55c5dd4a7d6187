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
from tiny_finetune import make_model, make_tokenizer

SCRIPT = Path(__file__).with_name("launched_run.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a base in it."""
    make_model("gemma3").save_pretrained(tmp_path / "base")
    make_tokenizer().save_pretrained(tmp_path / "base")
    return tmp_path


def launched(processes: int, *arguments: object) -> None:
    done = subprocess.run(
        [
            # On CPUs accelerate starts several processes only where it is told of several devices.
            *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
            *("--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--main_process_port", str(29500 + os.getpid() % 1000)),
            *(str(SCRIPT), *map(str, arguments)),
        ],
        env={**os.environ, "ACCELERATE_USE_CPU": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for number in range(processes):
        assert f"process {number} of {processes}" in done.stdout


def compare(folder: Path, method: str, weights: str) -> None:
    one, many = folder / f"one-{method}", folder / f"many-{method}"
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (one, many)
    ]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    assert len(logs[0]) == 7
    for ours, theirs in zip(*logs, strict=True):
        assert ours.get("tokens") == theirs.get("tokens")
        if "loss" in ours:
            assert theirs["loss"] == pytest.approx(ours["loss"], abs=1e-3)
            assert theirs["grad_norm"] == pytest.approx(ours["grad_norm"], rel=1e-3)
        if "held_out" in ours:
            assert theirs["held_out"]["eng_Latn"] == pytest.approx(
                ours["held_out"]["eng_Latn"], abs=1e-3
            )
    found = [load_file(folder / weights) for folder in (one, many)]
    assert found[0].keys() == found[1].keys()
    for name, tensor in found[0].items():
        assert (found[1][name] - tensor).abs().max() < 1e-3, name
    assert not (many / "checkpoints").exists()


@pytest.mark.full
def test_processes_under_accelerate_launch_reach_the_loss_of_one(folder: Path) -> None:
    """Eleven rows, four a step: of three processes, the last step leaves one without a row."""
    main(folder, "one", "lora")
    launched(3, folder, "lora")
    compare(folder, "lora", "adapter_model.safetensors")


@pytest.mark.full
def test_so_do_processes_that_hold_a_shard_of_each_weight(folder: Path) -> None:
    """FSDP 2 by accelerate, which exchanges weights in each forward pass, on CPUs."""
    main(folder, "one", "lora")
    main(folder, "one", "full")
    launched(2, folder, "shards", "lora", "full")
    compare(folder, "lora", "adapter_model.safetensors")
    compare(folder, "full", "model.safetensors")
