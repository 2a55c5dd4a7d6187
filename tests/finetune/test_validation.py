from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_finetune import CELL, PAIRS, load_plain, make_loaded, make_model, padded, product, silent

from maple.errors import DataError, ModelError
from maple.finetune import checkpoints, loop, trainer
from maple.finetune.encoding import encode
from maple.finetune.steplog import StepLog
from maple.finetune.trainer import train
from maple.finetune.validation import EarlyStopping, HeldOut
from maple.models.loading import Loaded
from maple.records import Execution, LanguageTokens, RenderedRow, TrainOutcome

LANGUAGES = ["eng_Latn"] * 2 + ["spa_Latn", "jpn_Jpan"] + ["eng_Latn"] * 7
HELD_OUT = {"eng_Latn": PAIRS[:2], "jpn_Jpan": PAIRS[3:4]}


class Stopped(Exception):  # noqa: N818  not an error of ours
    """Stands for whatever ends a process."""


def trained(out: Path, loaded: Loaded | None = None, **settings: Any) -> TrainOutcome:
    execution = settings.pop("execution", Execution())
    listener = settings.pop("listener", silent)
    held_out = settings.pop("held_out", HELD_OUT)
    cell = dataclasses.replace(CELL, lora_dropout=0.0, **settings)
    return train(
        loaded or make_loaded(),
        PAIRS,
        cell,
        out,
        listener,
        languages=LANGUAGES,
        held_out=held_out,
        execution=execution,
    )


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def plain_loss(model: torch.nn.Module, rows: list[RenderedRow]) -> float:
    batch = padded(encode(make_loaded().tokenizer, rows, 128).rows)
    with torch.no_grad():
        return float(model(**batch).loss)


def test_losses_by_language_before_between_and_after(tmp_path: Path) -> None:
    """Six steps, every second one; each value is the plain model's, before and after."""
    outcome = trained(tmp_path, execution=Execution(validate_every=2))
    found = {line["step"]: line["held_out"] for line in lines(tmp_path) if "held_out" in line}
    assert sorted(found) == [0, 2, 4, 6]
    assert outcome.held_out_before == found[0]
    assert outcome.held_out_after == found[6]
    assert outcome.best_step is None
    for language, rows in HELD_OUT.items():
        before = plain_loss(make_model(), rows)
        assert found[0][language] == pytest.approx(before, abs=1e-4)
        after = plain_loss(load_plain(make_model(), tmp_path), rows)
        assert found[6][language] == pytest.approx(after, abs=1e-4)
        assert after < before - 0.5


def test_validation_changes_nothing_of_the_training(tmp_path: Path) -> None:
    trained(tmp_path / "with")
    trained(tmp_path / "without", held_out={})
    weights = [load_file(tmp_path / n / "adapter_model.safetensors") for n in ("with", "without")]
    assert all(torch.equal(weights[1][name], tensor) for name, tensor in weights[0].items())


def test_validation_does_not_count_as_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = HeldOut.losses

    def slow(self: HeldOut, *args: Any) -> dict[str, float]:
        time.sleep(0.1)
        return plain(self, *args)

    monkeypatch.setattr(HeldOut, "losses", slow)
    began = time.monotonic()
    outcome = trained(tmp_path, execution=Execution(validate_every=2))
    assert time.monotonic() - began - outcome.seconds > 0.4  # four times


def test_by_default_ten_times_a_run(tmp_path: Path) -> None:
    trained(tmp_path, epochs=7.0, batch_size=11)
    found = [line["step"] for line in lines(tmp_path) if "held_out" in line]
    assert found == list(range(8))
    trained(tmp_path / "long", epochs=20.0, batch_size=11)
    found = [line["step"] for line in lines(tmp_path / "long") if "held_out" in line]
    assert found == list(range(0, 21, 2))


def test_rows_and_tokens_are_counted_by_language(tmp_path: Path) -> None:
    """One and a half epochs: five of six steps."""
    outcome = trained(tmp_path, epochs=1.5)
    found = outcome.by_language
    assert {language: count.rows for language, count in found.items()} == {
        "eng_Latn": 9,
        "jpn_Jpan": 1,
        "spa_Latn": 1,
    }
    assert sum(count.tokens for count in found.values()) == outcome.tokens
    assert sum(count.labelled_tokens for count in found.values()) == outcome.labelled_tokens
    whole = trained(tmp_path / "whole", epochs=2.0).by_language["jpn_Jpan"]
    row = encode(make_loaded().tokenizer, PAIRS[3:4], 128).rows[0]
    assert whole == LanguageTokens(1, 2 * len(row.input_ids), 2 * row.labelled_tokens)


def test_operations_are_those_of_every_row_seen(tmp_path: Path) -> None:
    """By hand: two layers of width 32 (Q 32, K and V 16, gate and up 64), rank 4, head 320 x 32."""
    outcome = trained(tmp_path)
    frozen = 2 * (2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32)
    adapter = 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))
    assert outcome.trainable_parameters == adapter
    rows = encode(make_loaded().tokenizer, PAIRS, 128).rows
    once = sum(
        len(row.input_ids) * (4 * frozen + 6 * adapter)
        + len(row.input_ids) * (len(row.input_ids) + 1) // 2 * (2 * 12 * 32)
        + row.labelled_tokens * 4 * 320 * 32
        for row in rows
    )
    assert outcome.operations == 2 * once
    assert outcome.ceiling is not None
    assert outcome.ceiling > 1e8


def rising(out: Path, **settings: Any) -> TrainOutcome:
    """A rate so high that the loss on held-out rows soon rises."""
    return trained(
        out,
        epochs=30.0,
        batch_size=11,
        learning_rate=0.2,
        scheduler="constant",
        patience=3,
        validate_every=1,
        validation="sha256:some",
        **settings,
    )


def test_training_stops_where_held_out_rows_gain_no_more_and_keeps_the_best(
    tmp_path: Path,
) -> None:
    outcome = rising(tmp_path)
    found = [
        (sum(line["held_out"].values()) / 2, line["step"])
        for line in lines(tmp_path)
        if "held_out" in line
    ]
    loss, step = min(found)
    assert outcome.best_step == step
    assert 0 < step < 27
    assert outcome.steps == step + 3  # three more that gained nothing
    kept = load_plain(make_model(), tmp_path)
    after = [plain_loss(kept, rows) for rows in HELD_OUT.values()]
    assert sum(after) / 2 == pytest.approx(loss, abs=1e-4)
    assert list(outcome.held_out_after.values()) == pytest.approx(after, abs=1e-4)


@pytest.mark.parametrize("at", [2, 4])
def test_stopped_and_resumed_it_stops_early_at_the_same_step(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)

    def stop(event: Mapping[str, object]) -> None:
        if event["step"] == at:
            raise Stopped

    whole = rising(tmp_path / "whole")
    with pytest.raises(Stopped):
        rising(tmp_path / "parts", listener=stop)
    again = rising(tmp_path / "parts")
    assert again.best_step == whole.best_step
    assert again.held_out_after == whole.held_out_after
    assert product(tmp_path / "parts") == product(tmp_path / "whole")


def test_killed_behind_its_last_step_it_does_not_train_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SHARE", 1e9)
    whole = rising(tmp_path / "whole")

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "put_weights", stop)
        with pytest.raises(Stopped):
            rising(tmp_path / "parts")
    again = rising(tmp_path / "parts")
    assert (again.steps, again.best_step) == (whole.steps, whole.best_step)
    assert product(tmp_path / "parts") == product(tmp_path / "whole")


def test_a_held_out_loss_that_is_no_number_ends_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = HeldOut.losses

    def broken(self: HeldOut, *args: Any) -> dict[str, float]:
        return plain(self, *args) | {"jpn_Jpan": float("nan")}

    monkeypatch.setattr(HeldOut, "losses", broken)
    with pytest.raises(ModelError, match="at step 0 of 6: the loss of rows held out in jpn_Jpan"):
        trained(tmp_path)


def test_held_out_rows_that_do_not_fit_are_counted(tmp_path: Path) -> None:
    lengths = [len(encode(make_loaded().tokenizer, [row], 128).rows[0].input_ids) for row in PAIRS]
    longest = lengths.index(max(lengths))
    held_out = {"eng_Latn": [PAIRS[longest], PAIRS[lengths.index(min(lengths))]]}
    outcome = trained(tmp_path, held_out=held_out, max_tokens=max(lengths) - 1)
    assert outcome.held_out_dropped == {"eng_Latn": 1}
    assert "not measured: 1 eng_Latn." in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_row_beyond_what_the_base_reads_is_refused(tmp_path: Path) -> None:
    loaded = make_loaded()
    loaded.model.config.max_position_embeddings = 8
    with pytest.raises(ModelError, match=r"max_tokens: a row has \d+ tokens, .* reads 8") as error:
        trained(tmp_path, loaded)
    assert error.value.hint == "set max_tokens to 8 or less"


def test_only_languages_that_are_trained_on_decide() -> None:
    weights: dict[str, torch.Tensor] = {}
    stopping = EarlyStopping(2, ["a", "b"], lambda: weights)
    assert not stopping.is_over(0, {"a": 2.0, "b": 2.0, "c": 0.0})
    assert not stopping.is_over(1, {"a": 1.0, "b": 2.5, "c": 9.0})
    assert stopping.best_step == 1
    assert not stopping.is_over(2, {"a": 1.0, "b": 2.5, "c": 0.0})  # no lower: not better
    assert stopping.is_over(3, {"a": 1.8, "b": 1.8, "c": 0.0})
    assert stopping.best_step == 1


def test_where_nothing_gets_better_the_first_trained_weights_are_kept(tmp_path: Path) -> None:
    """An adapter with the weights before training would be refused: it changes nothing."""
    outcome = trained(
        tmp_path,
        epochs=10.0,
        batch_size=11,
        learning_rate=5.0,
        warmup_ratio=0.0,
        scheduler="constant",
        patience=2,
        validate_every=1,
        validation="sha256:some",
    )
    assert outcome.best_step is not None
    assert outcome.best_step >= 1
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert any(tensor.any() for name, tensor in weights.items() if "lora_B" in name)


def test_held_out_rows_that_are_all_too_long_are_named(tmp_path: Path) -> None:
    long = RenderedRow((("Count!\n", False), ("one two three " * 40, True)))
    with pytest.raises(DataError, match="rows held out in jpn_Jpan: all 1 rows are longer"):
        trained(tmp_path, held_out={"jpn_Jpan": [long]})


def test_patience_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="patience: there are no held-out rows"):
        trained(tmp_path, patience=2, held_out={})


def test_a_mean_loss_that_doubles_is_divergence(tmp_path: Path) -> None:
    progress = loop.Progress("owner", None, StepLog(tmp_path / "log.jsonl"), silent)
    for step, loss in enumerate([2.0] * 20 + [1.0] * 30 + [5.0] * 15, start=1):
        progress.check(step, 100, loss)
    message = "diverged at step 66 of 100: the mean loss of 20 steps rose from 2 to 4.2"
    with pytest.raises(ModelError, match=message):
        progress.check(66, 100, 5.0)


def test_a_training_that_diverges_leaves_no_adapter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate at which nothing is learned, and a rule that takes that for divergence."""
    monkeypatch.setattr(loop, "_DIVERGED", 0.9)
    with pytest.raises(ModelError, match="diverged at step 40 of 60: the mean loss of 20 steps"):
        trained(tmp_path, epochs=60.0, batch_size=11, learning_rate=1e-9, held_out={})
    assert not (tmp_path / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("is_deepspeed_zero3_enabled", "ZeRO 3 hides weights"),
        ("Loop.is_sharded", "FSDP 1 flattens weights"),
    ],
)
def test_shards_that_cannot_be_put_together_are_refused(
    name: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without accelerate's FSDP 2 what is sharded is FSDP 1.
    value = property(lambda _: True) if "." in name else lambda: True
    monkeypatch.setattr(f"maple.finetune.loop.{name}", value)
    with pytest.raises(ModelError, match=problem):
        trained(tmp_path)


def test_a_training_begun_whole_does_not_go_on_in_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = checkpoints.Checkpoint(tmp_path / "checkpoints" / "checkpoint-1", 0, 1.0)
    monkeypatch.setattr(checkpoints, "latest", lambda *_: there)
    monkeypatch.setattr(loop.Loop, "_check_shards", lambda _: None)
    monkeypatch.setattr(loop.Loop, "is_sharded", True)
    with pytest.raises(ModelError, match="checkpoint-1: a checkpoint of weights that were not sh"):
        trained(tmp_path)


def test_a_family_with_a_head_of_its_own_is_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our loss takes body and head apart and would learn other probabilities."""
    loaded = make_loaded()
    forward = loaded.model.forward

    def doubled(**inputs: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=2 * forward(**inputs).logits)

    monkeypatch.setattr(loaded.model, "forward", doubled)
    with pytest.raises(ModelError, match="scale their logits in a way that is not known here"):
        trained(tmp_path, loaded)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_gradient_checkpointing_changes_nothing_but_time(family: str, tmp_path: Path) -> None:
    loaded = make_loaded(family)
    norm = loaded.model.get_submodule("model.layers.0.input_layernorm")
    passes = [0, 0]
    with norm.register_forward_pre_hook(lambda *_: passes.__setitem__(0, passes[0] + 1)):
        plain = trained(tmp_path / "plain", loaded)
    with norm.register_forward_pre_hook(lambda *_: passes.__setitem__(1, passes[1] + 1)):
        saving = trained(
            tmp_path / "saving", loaded, execution=Execution(gradient_checkpointing=True)
        )
    assert passes[1] - passes[0] == plain.steps  # each step has one pack, computed twice
    assert saving.held_out_after == pytest.approx(plain.held_out_after, abs=1e-5)
    assert not loaded.model.is_activation_checkpointing
    weights = [load_file(tmp_path / n / "adapter_model.safetensors") for n in ("plain", "saving")]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-4)
