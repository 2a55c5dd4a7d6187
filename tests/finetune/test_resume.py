from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from killed_run import killed_run
from tiny_finetune import CELL, PAIRS, make_loaded, pair, product, silent

from maple.finetune import checkpoints, loop
from maple.finetune.trainer import train
from maple.records import TrainOutcome

STEPS = 6  # eleven rows, four a step, two epochs


class Stopped(Exception):  # noqa: N818  not an error of ours
    """Stands for whatever ends a process."""


@pytest.fixture(autouse=True)
def checkpoint_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("uninterrupted")
    train(make_loaded(), PAIRS, CELL, out, silent)
    return product(out)


def stop_at(step: int) -> Callable[[Mapping[str, object]], None]:
    def listener(event: Mapping[str, object]) -> None:
        if event["step"] == step:
            raise Stopped

    return listener


def finish(out: Path) -> tuple[TrainOutcome, list[object]]:
    """Run to the end; the outcome and the steps that this attempt took itself."""
    steps: list[object] = []
    outcome = train(make_loaded(), PAIRS, CELL, out, lambda event: steps.append(event["step"]))
    return outcome, steps


# Before any checkpoint, in the first epoch, at the border of the epochs, in the last step.
@pytest.mark.parametrize("step", [1, 3, 4, STEPS])
def test_stopped_at_any_step_the_resumed_run_ends_byte_identical(
    step: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    """The step at which it stops is done but not yet in a checkpoint: it is done again."""
    with pytest.raises(Stopped):
        train(make_loaded(), PAIRS, CELL, tmp_path, stop_at(step))
    outcome, steps = finish(tmp_path)
    assert steps == list(range(step, STEPS + 1))
    assert outcome.steps == STEPS
    assert product(tmp_path) == uninterrupted
    assert not (tmp_path / "checkpoints").exists()


def test_stopped_again_and_again(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    seconds = 0.0
    for step in (2, 3, 3, 5):
        with pytest.raises(Stopped):
            train(make_loaded(), PAIRS, CELL, tmp_path, stop_at(step))
        (newest,) = (tmp_path / "checkpoints").glob("checkpoint-*")
        found = checkpoints._read(newest, _owner(newest))
        assert found is not None
        assert found.seconds >= seconds
        seconds = found.seconds
    outcome, _ = finish(tmp_path)
    assert outcome.seconds > seconds
    assert product(tmp_path) == uninterrupted


def _owner(path: Path) -> str:
    return str(json.loads((path / checkpoints.MARKER).read_text())["owner"])


def test_stopped_while_writing_a_checkpoint_the_previous_one_serves(
    tmp_path: Path, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0
    real = checkpoints.sync

    def sync(path: Path) -> None:
        nonlocal calls
        calls += 1
        if calls == 15:
            raise Stopped
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "sync", sync)
        with pytest.raises(Stopped):
            train(make_loaded(), PAIRS, CELL, tmp_path, silent)
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == [".partial", "checkpoint-2"]
    _, steps = finish(tmp_path)
    assert steps == [3, 4, 5, 6]
    assert product(tmp_path) == uninterrupted


def test_a_checkpoint_without_its_marker_is_ignored(
    tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Stopped):
        train(make_loaded(), PAIRS, CELL, tmp_path, stop_at(4))
    (tmp_path / "checkpoints" / "checkpoint-3" / checkpoints.MARKER).unlink()
    _, steps = finish(tmp_path)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert product(tmp_path) == uninterrupted


@pytest.mark.parametrize("change", ["cell", "rows"])
def test_a_checkpoint_of_another_training_is_not_resumed(
    change: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    other = dataclasses.replace(CELL, learning_rate=0.02) if change == "cell" else CELL
    rows = [*PAIRS[:-1], pair("Other?\n", "Yes.")] if change == "rows" else PAIRS
    with pytest.raises(Stopped):
        train(make_loaded(), rows, other, tmp_path, stop_at(4))
    _, steps = finish(tmp_path)
    assert steps == [1, 2, 3, 4, 5, 6]
    assert product(tmp_path) == uninterrupted


def test_a_lost_log_means_a_fresh_start(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    with pytest.raises(Stopped):
        train(make_loaded(), PAIRS, CELL, tmp_path, stop_at(4))
    (tmp_path / "log.jsonl").unlink()
    finish(tmp_path)
    assert product(tmp_path) == uninterrupted


def test_checkpoints_are_rare_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 60.0)
    monkeypatch.setattr(checkpoints, "publish", lambda *_: pytest.fail("too early"))
    train(make_loaded(), PAIRS, CELL, tmp_path, silent)


@pytest.mark.full
@pytest.mark.parametrize(
    ("where", "count"), [("step", 1), ("step", 4), ("step", 6), ("write", 3), ("write", 17)]
)
def test_killed_by_sigkill_in_a_process_of_its_own(
    where: str,
    count: int,
    tmp_path: Path,
    uninterrupted: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Forked from a process that has imported all there is and computed nothing.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["killed_run"])
    for dies in (count, 0):
        process = context.Process(target=killed_run, args=(tmp_path, where, dies))
        process.start()
        process.join()
        assert process.exitcode == (-signal.SIGKILL if dies else 0)
    assert product(tmp_path) == uninterrupted
