from __future__ import annotations

import pytest
import torch
from tiny_finetune import CELL, PAIRS, make_loaded, make_tokenizer

from maple.finetune.encoding import encode
from maple.finetune.loop import collate
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import attach
from maple.finetune.settings import Settings


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral"])
def test_loss_and_gradients_equal_those_of_the_plain_model(family: str) -> None:
    """Over padded rows; the plain model projects every position and averages over the labelled."""
    adapted = attach(make_loaded(family), Settings.of(CELL)).model
    adapted.eval()
    with torch.no_grad():  # B starts at zero, which would leave A without a gradient
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    batch = collate(encode(make_tokenizer(), PAIRS, 128).rows)

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        adapted.zero_grad()
        loss.backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in adapted.named_parameters()
            if parameter.grad is not None
        }

    plain = adapted(**batch).loss
    expected = gradients(plain)
    ours = AnswerLoss(adapted)(**batch)["loss"]
    found = gradients(ours)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    assert all("lora" in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
        assert gradient.abs().max() > 0, name


def test_micro_batches_sum_to_the_loss_of_the_step() -> None:
    adapted = attach(make_loaded(), Settings.of(CELL)).model
    adapted.eval()
    loss = AnswerLoss(adapted)
    rows = encode(make_tokenizer(), PAIRS, 128).rows
    whole = loss(**collate(rows))["loss"]
    items = torch.tensor(sum(label != -100 for row in rows for label in row.labels))
    parts = [
        loss(**collate(rows[start : start + 3]), num_items_in_batch=items)["loss"]
        for start in range(0, len(rows), 3)
    ]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-5, atol=1e-6)


def test_padding_is_masked_and_unlabelled_on_the_right() -> None:
    rows = encode(make_tokenizer(), PAIRS, 128).rows
    batch = collate(rows)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        assert batch["input_ids"][index, :length].tolist() == list(row.input_ids)
        assert batch["labels"][index, :length].tolist() == list(row.labels)
        assert batch["attention_mask"][index].sum() == length
        assert (batch["labels"][index, length:] == -100).all()
        assert (batch["attention_mask"][index, length:] == 0).all()
