from __future__ import annotations

import pytest
import torch
from tiny_finetune import CELL, PAIRS, make_loaded, make_tokenizer, padded

from maple.finetune.encoding import encode
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import attach
from maple.finetune.packing import pack, packed
from maple.finetune.settings import Settings


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral"])
def test_loss_and_gradients_equal_those_of_the_plain_model(family: str) -> None:
    """The plain model sees padded rows, projects every position, and averages over the labelled."""
    adapted = attach(make_loaded(family), Settings.of(CELL)).model
    adapted.eval()
    with torch.no_grad():  # B starts at zero, which would leave A without a gradient
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    rows = encode(make_tokenizer(), PAIRS, 128).rows

    def gradients(loss: torch.Tensor) -> dict[str, torch.Tensor]:
        adapted.zero_grad()
        loss.backward()
        return {
            name: parameter.grad.clone()
            for name, parameter in adapted.named_parameters()
            if parameter.grad is not None
        }

    plain = adapted(**padded(rows)).loss
    expected = gradients(plain)
    loss = AnswerLoss(adapted)
    with packed(loss.model):
        ours = loss(pack(rows))
        found = gradients(ours)
    torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)
    assert found.keys() == expected.keys()
    assert all("lora" in name for name in found)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-6)
        assert gradient.abs().max() > 0, name


def test_packs_sum_to_the_loss_of_the_step() -> None:
    adapted = attach(make_loaded(), Settings.of(CELL)).model
    adapted.eval()
    loss = AnswerLoss(adapted)
    rows = encode(make_tokenizer(), PAIRS, 128).rows
    items = sum(row.labelled_tokens for row in rows)
    with packed(loss.model):
        whole = loss(pack(rows))
        parts = [loss(pack(rows[start : start + 3]), items) for start in range(0, len(rows), 3)]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, rtol=1e-5, atol=1e-6)


def test_a_pack_without_labels_has_no_loss_and_no_gradient() -> None:
    adapted = attach(make_loaded(), Settings.of(CELL)).model
    loss = AnswerLoss(adapted)
    (row, *_) = encode(make_tokenizer(), PAIRS, 128).rows
    with packed(loss.model):
        found = loss(pack([row.unlabelled()]), 5)
        found.backward()
    assert found.item() == 0
    gradients = [p.grad for p in adapted.parameters() if p.requires_grad]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)
