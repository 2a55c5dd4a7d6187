from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_finetune import (
    CELL,
    PAIRS,
    load_plain,
    make_loaded,
    make_model,
    padded,
    product,
    silent,
)

from maple.errors import ModelError
from maple.finetune.encoding import encode
from maple.finetune.trainer import train
from maple.models.adapter_files import check_adapter
from maple.models.loading import Loaded
from maple.records import Execution


def log_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def logits(model: torch.nn.Module, loaded: Loaded) -> torch.Tensor:
    batch = padded(encode(loaded.tokenizer, PAIRS, 128).rows)
    with torch.no_grad():
        out: torch.Tensor = model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    return out


@pytest.mark.parametrize(
    ("family", "bits"), [("llama", 32), ("gemma3", 32), ("gemma3", 16), ("mistral", 32)]
)
def test_it_learns_a_memorisable_set_and_leaves_the_base_clean(
    family: str, bits: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = make_loaded(family, bits)
    before = logits(loaded.model, loaded)
    names = [name for name, _ in loaded.model.named_modules()]
    cell = dataclasses.replace(
        CELL, epochs=40.0, batch_size=11, r=16, lora_alpha=32.0, lora_dropout=0.0, train_bits=bits
    )
    events: list[Mapping[str, object]] = []
    outcome = train(loaded, PAIRS, cell, tmp_path, events.append)

    assert outcome.loss_first > 4
    assert outcome.loss_last < 1.5
    assert outcome.steps == 40
    assert [event["step"] for event in events] == list(range(1, 41))
    assert {event["steps"] for event in events} == {40}
    assert [event["loss"] for event in events] == [line["loss"] for line in log_of(tmp_path)]
    assert capfd.readouterr() == ("", "")

    assert [name for name, _ in loaded.model.named_modules()] == names
    assert torch.equal(logits(loaded.model, loaded), before)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert not any(module.training for module in loaded.model.modules())
    assert not any(module._forward_hooks for module in loaded.model.modules())
    assert not hasattr(loaded.model, "peft_config")


def test_the_product_is_plain_peft_without_local_paths(tmp_path: Path) -> None:
    loaded = make_loaded()
    loaded.model.config._name_or_path = "/secret/place/model"
    cell = dataclasses.replace(CELL, template="sha256:template", template_name="mine")
    outcome = train(loaded, PAIRS, cell, tmp_path, silent, texts={"text": "{instruction}{output}"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "log.jsonl",
        "maple.json",
    ]
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "google/gemma-3-270m"
    assert config["r"] == 4
    assert config["lora_alpha"] == 8
    assert config["target_modules"] == sorted(config["target_modules"])
    assert config["inference_mode"] is True
    assert not any(b"secret" in content for content in product(tmp_path).values())
    assert json.loads((tmp_path / "maple.json").read_text()) == {
        "base": "sha256:base",
        "base_name": "google/gemma-3-270m",
        "tokenizer": "sha256:tokenizer",
        "train_bits": 32,
        "template": {
            "name": "mine",
            "hash": "sha256:template",
            "text": "{instruction}{output}",
        },
    }
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    assert sum(tensor.numel() for tensor in weights.values()) == outcome.trainable_parameters
    check_adapter(tmp_path, loaded.base)
    assert outcome.adapter_bytes == (tmp_path / "adapter_model.safetensors").stat().st_size


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_plain_peft_loads_it_and_answers_as_the_trained_model_did(
    family: str, tmp_path: Path
) -> None:
    """The loss of the last logged step, computed again through PEFT alone after that step."""
    loaded = make_loaded(family)
    cell = dataclasses.replace(CELL, lora_dropout=0.0, batch_size=11, epochs=20.0)
    train(loaded, PAIRS, cell, tmp_path, silent)
    base = logits(loaded.model, loaded)
    model = load_plain(make_model(family), tmp_path)
    tuned = logits(model, loaded)
    assert (tuned - base).abs().max() > 0.1
    batch = padded(encode(loaded.tokenizer, PAIRS, 128).rows)
    with torch.no_grad():
        loss = model(**batch).loss.item()
    last = log_of(tmp_path)[-1]["loss"]
    # With linear decay the last update is tiny, so the loss after it nearly equals the logged one.
    assert loss == pytest.approx(last, abs=0.02)
    with model.disable_adapter():
        torch.testing.assert_close(logits(model, loaded), base)


def test_the_log_and_the_outcome_count_what_was_seen(tmp_path: Path) -> None:
    loaded = make_loaded()
    limit = 25
    encoded = encode(loaded.tokenizer, PAIRS, limit)
    assert encoded.dropped_rows > 0
    cell = dataclasses.replace(CELL, max_tokens=limit)
    outcome = train(loaded, PAIRS, cell, tmp_path, silent)
    log = log_of(tmp_path)
    assert list(log[0]) == [
        "step",
        "epoch",
        "loss",
        "learning_rate",
        "grad_norm",
        "tokens",
        "labelled_tokens",
    ]
    assert [line["step"] for line in log] == list(range(1, outcome.steps + 1))
    assert log[-1]["epoch"] == 2
    assert outcome.rows == len(encoded.rows)
    assert outcome.dropped_rows == encoded.dropped_rows
    assert outcome.tokens == 2 * encoded.tokens == sum(line["tokens"] for line in log)
    assert outcome.labelled_tokens == 2 * encoded.labelled_tokens
    assert outcome.loss_first == log[0]["loss"]
    assert outcome.loss_last == log[-1]["loss"]
    assert outcome.seconds > 0


def test_the_first_step_takes_the_mean_over_the_labelled_tokens_of_the_step(
    tmp_path: Path,
) -> None:
    """Packs of unequal numbers of labels weigh by them: the mean of means is another."""
    loaded = make_loaded()
    cell = dataclasses.replace(CELL, batch_size=11, lora_dropout=0.0, epochs=1.0)
    train(loaded, PAIRS, cell, tmp_path / "one", silent)
    batch = padded(encode(loaded.tokenizer, PAIRS, 128).rows)
    with torch.no_grad():
        plain = loaded.model(**batch).loss.item()
    assert log_of(tmp_path / "one")[0]["loss"] == pytest.approx(plain, abs=1e-5)
    alone = Execution(pack_tokens=1)  # one row at a time
    train(loaded, PAIRS, cell, tmp_path / "many", silent, execution=alone)
    one, many = log_of(tmp_path / "one"), log_of(tmp_path / "many")
    assert many[0]["loss"] == pytest.approx(plain, abs=1e-5)
    assert many[0]["grad_norm"] == pytest.approx(one[0]["grad_norm"], rel=1e-4)
    assert many[0]["tokens"] == one[0]["tokens"]


@pytest.mark.parametrize(
    ("scheduler", "rates"),
    [
        ("constant", [0, 0.005, 0.01, 0.01, 0.01, 0.01]),
        ("linear", [0, 0.005, 0.01, 0.0075, 0.005, 0.0025]),
        ("cosine", [0, 0.005, 0.01, 0.0085355, 0.005, 0.0014645]),
    ],
)
def test_learning_rates_follow_the_schedule(
    scheduler: str, rates: list[float], tmp_path: Path
) -> None:
    cell = dataclasses.replace(CELL, scheduler=scheduler, warmup_ratio=0.34)
    train(make_loaded(), PAIRS, cell, tmp_path, silent)
    assert [line["learning_rate"] for line in log_of(tmp_path)] == pytest.approx(rates, abs=1e-6)


def test_a_single_step_is_not_lost_to_the_warm_up(tmp_path: Path) -> None:
    cell = dataclasses.replace(CELL, warmup_ratio=0.03, batch_size=len(PAIRS), epochs=1.0)
    outcome = train(make_loaded(), PAIRS, cell, tmp_path, silent)
    assert outcome.steps == 1
    assert log_of(tmp_path)[0]["learning_rate"] == pytest.approx(0.01)


def test_results_are_a_function_of_the_cell_whatever_ran_before(tmp_path: Path) -> None:
    loaded = make_loaded()
    train(loaded, PAIRS, CELL, tmp_path / "a", silent)
    torch.manual_seed(99)
    train(loaded, PAIRS, dataclasses.replace(CELL, seed=8), tmp_path / "b", silent)
    train(loaded, PAIRS, CELL, tmp_path / "c", silent)
    assert product(tmp_path / "a") == product(tmp_path / "c")
    assert product(tmp_path / "a") != product(tmp_path / "b")


def test_fractional_epochs_stop_in_the_middle(tmp_path: Path) -> None:
    outcome = train(make_loaded(), PAIRS, dataclasses.replace(CELL, epochs=1.5), tmp_path, silent)
    assert outcome.steps == 5
    assert log_of(tmp_path)[-1]["epoch"] == pytest.approx(1 + 2 / 3, abs=1e-6)


def test_a_loss_that_is_no_number_stops_with_its_step_and_a_clean_base(tmp_path: Path) -> None:
    loaded = make_loaded()
    before = logits(loaded.model, loaded)
    weight = loaded.model.get_parameter("model.embed_tokens.weight")
    token = loaded.tokenizer("Nairobi").input_ids[-1]
    value = weight[token, 0].item()
    weight[token, 0] = float("nan")
    with pytest.raises(ModelError, match="diverged at step 3 of 6: loss is nan"):
        train(loaded, PAIRS, CELL, tmp_path, silent)
    assert not (tmp_path / "adapter_model.safetensors").exists()
    weight[token, 0] = value
    assert torch.equal(logits(loaded.model, loaded), before)
    assert not any(module.training for module in loaded.model.modules())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "dorra"}, "did you mean 'dora'"),
        ({"method": "none"}, "always evaluated"),
        ({"method": "full", "train_bits": 4}, "full cannot be trained in 4 bits"),
        ({"r": None, "seed": None}, "needs r, seed"),
        ({"scheduler": "liner"}, "'linear'"),
        ({"train_bits": 4}, "loaded in 32"),
        ({"target_modules": ("q_proj", "v_prj")}, "'v_proj'"),
        ({"target_modules": ("q_proj", "input_layernorm")}, "'input_layernorm' is no linear"),
        ({"target_modules": "q_proj"}, "expected 'all-linear' or a list"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    fields: dict[str, object], message: str, tmp_path: Path
) -> None:
    loaded = make_loaded()
    with pytest.raises(ModelError) as caught:
        train(loaded, PAIRS, dataclasses.replace(CELL, **fields), tmp_path, silent)
    assert message in str(caught.value)
    assert not hasattr(loaded.model, "peft_config")


def test_target_modules_by_name(tmp_path: Path) -> None:
    cell = dataclasses.replace(CELL, target_modules=("q_proj", "v_proj"))
    train(make_loaded(), PAIRS, cell, tmp_path, silent)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["target_modules"] == ["q_proj", "v_proj"]
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert len(names) == 2 * 2 * 2  # layers, modules, A and B
