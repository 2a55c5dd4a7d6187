"""Logits and losses of the one head that training and evaluation share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional
from transformers import CohereConfig, CohereForCausalLM, GraniteConfig, GraniteForCausalLM

from maple.errors import ModelError
from maple.models import head
from models import tiny

SHAPE = {
    "vocab_size": 60,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def test_known_scalings_match_the_models() -> None:
    for model in (
        CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.25)),
        GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)),
        tiny.build("gemma3", final_logit_softcapping=5.0),
        tiny.build("llama", tied=False),
    ):
        head.check_head(model.eval())


def test_an_unknown_scaling_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.build("llama")
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda **kwargs: SimpleNamespace(logits=forward(**kwargs).logits * 2)
    )
    with pytest.raises(ModelError, match="not known here"):
        head.check_head(model)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize("num_items", [None, 17])
@pytest.mark.parametrize("frozen", [True, False])
def test_loss_and_gradients_equal_plain_cross_entropy(
    tied: bool,
    cap: float | None,
    num_items: int | None,
    frozen: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(head, "_LOGIT_BYTES", 4 * 400 * 5)  # blocks of five rows
    model = tiny.build("gemma3", tied=tied, final_logit_softcapping=cap)
    model.get_output_embeddings().requires_grad_(not frozen)
    ids = torch.randint(3, 400, (3, 11), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :4] = head.IGNORED
    labels[1, 8:] = head.IGNORED
    results = []
    for ours in (True, False):
        model.zero_grad()
        if ours:
            hidden = head.body(model)(input_ids=ids).last_hidden_state
            loss = head.answer_loss(model, hidden, labels, num_items=num_items)
        else:
            logits = model(input_ids=ids).logits[:, :-1].reshape(-1, 400)
            loss = functional.cross_entropy(
                logits, labels[:, 1:].reshape(-1), reduction="sum" if num_items else "mean"
            ) / (num_items or 1)
        loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters()}
        results.append((loss.item(), gradients))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    assert any(gradient is None for gradient in results[1][1].values()) == frozen
    for name, gradient in results[1][1].items():
        if gradient is None:
            assert results[0][1][name] is None
            continue
        scale = gradient.abs().max().item()
        torch.testing.assert_close(
            results[0][1][name], gradient, rtol=1e-5, atol=1e-5 * scale, msg=name
        )


def test_no_labels_no_loss() -> None:
    model = tiny.build("llama")
    hidden = torch.randn(2, 4, 32, requires_grad=True)
    loss = head.answer_loss(model, hidden, torch.full((2, 4), head.IGNORED))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()
