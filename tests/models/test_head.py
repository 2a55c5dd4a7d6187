"""Logits and losses of the one head that training and evaluation share."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from peft import LoraConfig, get_peft_model
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
    # Blocks of five rows and 48 words.
    monkeypatch.setattr(head, "_BLOCK_ROWS", 5)
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 5 * 48)
    monkeypatch.setattr(head, "_LEAST_WORDS", 48)
    model = tiny.build("gemma3", tied=tied, final_logit_softcapping=cap)
    if not tied:
        model.get_output_embeddings().bias = torch.nn.Parameter(torch.linspace(-1, 1, 400))
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


def test_a_trained_head_under_autocast_finds_its_logits_again_in_the_backward_pass() -> None:
    """Logits of 40 differ by 0.1 between the two precisions, shares of the softmax by a tenth."""
    model = tiny.build("llama", tied=False)
    torch.manual_seed(0)
    start = 20 * torch.randn(2, 6, 32)
    labels = torch.randint(0, 400, (2, 6))
    weight = model.get_output_embeddings().weight
    found = []
    for ours in (True, False):
        hidden = start.clone().requires_grad_()
        weight.grad = None
        with torch.autocast("cpu", torch.bfloat16):
            if ours:
                loss = head.answer_loss(model, hidden, labels)
            else:
                logits = model.get_output_embeddings()(hidden[:, :-1]).float()
                loss = functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        assert hidden.grad is not None
        assert weight.grad is not None
        found.append((loss.item(), hidden.grad, weight.grad.clone()))
    (loss_found, *got), (loss_wanted, *want) = found
    assert loss_found == pytest.approx(loss_wanted, rel=1e-5)
    for ours, plain in zip(got, want, strict=True):
        torch.testing.assert_close(ours, plain, rtol=0.02, atol=0.01 * plain.abs().max().item())


# PEFT 0.21 reads a property that transformers 5 renamed.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
@pytest.mark.parametrize("changes", [{}, {"final_logit_softcapping": 3.0}])
@pytest.mark.parametrize("adapted", [False, True])
def test_single_log_probabilities_and_best_tokens_equal_those_of_all_logits(
    changes: dict[str, float], adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_BLOCK_ROWS", 4)
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 4 * 33)
    monkeypatch.setattr(head, "_LEAST_WORDS", 33)
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


def test_no_labels_no_loss() -> None:
    model = tiny.build("llama")
    hidden = torch.randn(2, 4, 32, requires_grad=True)
    loss = head.answer_loss(model, hidden, torch.full((2, 4), head.IGNORED))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()


@pytest.mark.parametrize("low", [-1e4, -1e9, -torch.inf])
def test_a_word_that_is_ruled_out_costs_the_others_no_digits(
    low: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 4 * 33)
    monkeypatch.setattr(head, "_LEAST_WORDS", 33)
    monkeypatch.setattr(head, "_BLOCK_ROWS", 4)
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
    monkeypatch.setattr(head, "_LEAST_WORDS", 33)
    model = tiny.build("llama")
    with torch.no_grad():
        model.get_output_embeddings().weight[200] = torch.nan
        with pytest.raises(ModelError, match="not finite"):
            head.best_tokens(model, torch.randn(3, 32))
        with pytest.raises(ModelError, match="not finite"):
            head.check_head(model)


@pytest.mark.parametrize("cap", [None, 60.0])
def test_words_that_count_as_their_mean_change_less_than_rounding(
    cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows whose probability is on few of 20,000 words, as in a trained model."""
    torch.manual_seed(0)
    weight = torch.randn(20_000, 64)
    rows = torch.randn(12, 64) + 0.1 * weight[:12]
    targets = torch.arange(12)
    scaling = head.Scaling(1.0, cap)
    logits = scaling.logits(rows @ weight.T)
    exact = (logits.softmax(-1) * scaling.slope(logits)) @ weight
    exact -= weight[targets] * torch.as_tensor(scaling.slope(logits)).expand_as(logits)[
        torch.arange(12), targets
    ].unsqueeze(1)
    losses = functional.cross_entropy(logits, targets, reduction="none")

    def found(kind: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        parts = head._Head(weight.to(kind), None, scaling)
        return head._losses(parts, rows.to(kind), targets)

    def error(gradient: torch.Tensor) -> float:
        return float(((gradient - exact).norm(dim=-1) / exact.norm(dim=-1)).mean())

    single = found(torch.float32)
    torch.testing.assert_close(single[0], losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single[1], exact, rtol=1e-4, atol=1e-4)
    picked: list[float] = []
    plain = head._weighed_sum

    def watched(shares: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
        picked.append(float((shares.amax(0) > head._NEGLIGIBLE).float().mean()))
        return plain(shares, part)

    monkeypatch.setattr(head, "_weighed_sum", watched)
    filtered = found(torch.bfloat16)
    assert min(picked) < head._MOST_WORDS  # some blocks leave words out
    monkeypatch.setattr(head, "_NEGLIGIBLE", 0.0)
    rounded = found(torch.bfloat16)
    assert torch.equal(filtered[0], rounded[0])
    assert not torch.equal(filtered[1], rounded[1])
    assert error(filtered[1]) < 1.05 * error(rounded[1]) < 0.2
