"""Training on bitsandbytes' weights, through the loader that a worker uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny_finetune import CELL, PAIRS, make_model, make_tokenizer, padded, product, silent

from maple.finetune.encoding import encode
from maple.finetune.trainer import train
from maple.models.loading import Loaded, load
from maple.records import BaseModel


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    make_model().save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return BaseModel(CELL.base_name, CELL.base, CELL.tokenizer, None, str(folder))


def logits(loaded: Loaded) -> torch.Tensor:
    batch = padded(encode(loaded.tokenizer, PAIRS, 128).rows)
    with torch.no_grad():
        out: torch.Tensor = loaded.model(
            input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
        ).logits
    return out


@pytest.mark.parametrize("bits", [4, 8])
def test_it_learns_and_the_base_stays_as_loaded(bits: int, base: BaseModel, tmp_path: Path) -> None:
    loaded = load(base, bits)
    before = logits(load(base, bits))
    cell = dataclasses.replace(
        CELL, train_bits=bits, epochs=30.0, batch_size=11, r=16, lora_alpha=32.0
    )
    outcome = train(loaded, PAIRS, cell, tmp_path, silent)
    assert outcome.loss_first > 4
    assert outcome.loss_last < 2
    assert torch.equal(logits(loaded), before)


@pytest.mark.full
@pytest.mark.parametrize("bits", [4, 8])
def test_training_again_on_the_same_base_gives_the_same_bytes(
    bits: int, base: BaseModel, tmp_path: Path
) -> None:
    loaded = load(base, bits)
    cell = dataclasses.replace(CELL, train_bits=bits)
    train(loaded, PAIRS, cell, tmp_path / "a", silent)
    train(loaded, PAIRS, cell, tmp_path / "b", silent)
    train(load(base, bits), PAIRS, cell, tmp_path / "c", silent)
    assert product(tmp_path / "a") == product(tmp_path / "b") == product(tmp_path / "c")
