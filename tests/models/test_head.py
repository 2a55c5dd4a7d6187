"""Logits of the one head that training and evaluation share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
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


# PEFT 0.21 reads a property that transformers 5 renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("changes", [{}, {"final_logit_softcapping": 3.0}])
@pytest.mark.parametrize("adapted", [False, True])
def test_single_log_probabilities_and_best_tokens_equal_those_of_all_logits(
    changes: dict[str, float], adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "BLOCK_ROWS", 4)
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 4 * 33)
    monkeypatch.setattr(head, "LEAST_WORDS", 33)
    monkeypatch.setattr(head, "_LOGIT_BYTES", 4 * 400 * 3)
    model = tiny.build("gemma3", tied=not adapted, **changes).eval()
    if adapted:  # no plain layer any more, so it goes the other way
        config = LoraConfig(r=2, target_modules=["lm_head"], init_lora_weights=False)
        get_peft_model(model, config)
    draw = torch.Generator().manual_seed(2)
    hidden = torch.randn(11, 32, generator=draw)
    hidden[3:5] = hidden[3] * 40  # saturated, and a tie of the whole row
    at = torch.cat([torch.arange(11), torch.randint(0, 11, (30,), generator=draw)])
    tokens = torch.randint(0, 400, (41,), generator=draw)
    with torch.no_grad():
        logits = head.final_logits(model, hidden)
        assert head.best_tokens(model, hidden).tolist() == logits.argmax(-1).tolist()
        tokens[:5] = logits.argmax(-1)[:5]
        found, greedy = head.token_logprobs(model, hidden, at, tokens)
    assert greedy.tolist() == (logits[at, tokens] == logits.amax(-1)[at]).tolist()
    assert greedy[:5].all()
    expected = logits.double().log_softmax(-1)[at, tokens]
    # Sums of float32 logits cannot be more exact than the largest of them.
    exact = 1e-5 + 2e-7 * float(logits.abs().max())
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=exact)


def test_tokens_are_drawn_as_often_as_they_are_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_LOGIT_BYTES", 4 * 400 * 700)  # in blocks of 700 rows
    model = tiny.build("llama").eval()
    hidden = torch.randn(1, 32, generator=torch.Generator().manual_seed(5)).repeat(2000, 1)
    draws = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000

    def drawn(temperature: float, top_p: float) -> torch.Tensor:
        every = torch.ones(2000, dtype=torch.float64)
        with torch.no_grad():
            tokens = head.drawn_tokens(model, hidden, every * temperature, every * top_p, draws)
        return torch.bincount(tokens, minlength=400).double() / 2000

    with torch.no_grad():
        logits = head.final_logits(model, hidden[:1])[0].double()
    for temperature in (0.7, 1.0, 3.0):
        # Draws one 2000th apart hit each token's stretch of the line to within one draw.
        expected = (logits / temperature).softmax(-1)
        assert (drawn(temperature, 1.0) - expected).abs().max() <= 1 / 2000
    probable, order = logits.softmax(-1).sort(descending=True)
    nucleus = int((probable.cumsum(0) < 0.5).sum()) + 1
    found = drawn(1.0, 0.5)
    assert set(found.nonzero().squeeze(1).tolist()) == set(order[:nucleus].tolist())
    expected = probable[:nucleus] / probable[:nucleus].sum()
    assert (found[order[:nucleus]] - expected).abs().max() <= 1 / 2000
    assert drawn(1.0, 1e-9)[order[0]] == 1.0
    assert drawn(1e-3, 1.0)[order[0]] == 1.0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_token_is_chosen_from_broken_logits(value: float) -> None:
    model = tiny.build("llama")
    hidden = torch.randn(3, 32)
    hidden[1, 4] = value
    with torch.no_grad(), pytest.raises(ModelError, match="not finite"):
        head.best_tokens(model, hidden)


@pytest.mark.parametrize("low", [-1e4, -1e9, -torch.inf])
def test_a_word_that_is_ruled_out_costs_the_others_no_digits(
    low: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 4 * 33)
    monkeypatch.setattr(head, "LEAST_WORDS", 33)
    monkeypatch.setattr(head, "BLOCK_ROWS", 4)
    model = tiny.build("llama").eval()
    layer = model.get_output_embeddings()
    layer.bias = torch.nn.Parameter(torch.zeros(400))
    with torch.no_grad():
        layer.bias[::33] = low  # the first word of every block
        hidden = torch.randn(9, 32, generator=torch.Generator().manual_seed(3))
        at, tokens = torch.arange(9), torch.arange(1, 10)
        found, _ = head.token_logprobs(model, hidden, at, tokens)
        expected = head.final_logits(model, hidden).double().log_softmax(-1)[at, tokens]
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-5)


def test_one_broken_word_is_seen_in_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 4 * 33)
    monkeypatch.setattr(head, "LEAST_WORDS", 33)
    model = tiny.build("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[200] = torch.nan
        with pytest.raises(ModelError, match="not finite"):
            head.best_tokens(model, torch.randn(3, 32))
        with pytest.raises(ModelError, match="not finite"):
            head.check_head(model)
