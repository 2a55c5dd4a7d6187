"""The loss through the head that training and evaluation share."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from maple.models import cross_entropy, head
from models import tiny


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
    for module in (head, cross_entropy):
        monkeypatch.setattr(module, "BLOCK_ROWS", 5)
        monkeypatch.setattr(module, "LEAST_WORDS", 48)
    monkeypatch.setattr(head, "_BLOCK_LOGITS", 5 * 48)
    monkeypatch.setattr(cross_entropy, "_BLOCK_WORDS", 48)
    model = tiny.build("gemma3", tied=tied, final_logit_softcapping=cap)
    if not tied:
        bias = torch.linspace(-1, 1, 400)
        if cap is None and frozen:
            # No word of the first block and of two more can come.
            bias[0:48] = bias[240:336] = -torch.inf
        model.get_output_embeddings().bias = torch.nn.Parameter(bias)
    model.get_output_embeddings().requires_grad_(not frozen)
    # Of words that may come.
    ids = torch.randint(48, 240, (3, 11), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :4] = head.IGNORED
    labels[1, 8:] = head.IGNORED
    results = []
    for ours in (True, False):
        model.zero_grad()
        if ours:
            hidden = head.body(model)(input_ids=ids).last_hidden_state
            loss = cross_entropy.answer_loss(model, hidden, labels, num_items=num_items)
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
                loss = cross_entropy.answer_loss(model, hidden, labels)
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


def test_no_labels_no_loss() -> None:
    model = tiny.build("llama")
    hidden = torch.randn(2, 4, 32, requires_grad=True)
    loss = cross_entropy.answer_loss(model, hidden, torch.full((2, 4), head.IGNORED))
    loss.backward()
    assert loss.item() == 0.0
    assert hidden.grad is not None
    assert not hidden.grad.any()


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
        parts = head.Head(weight.to(kind), None, scaling)
        mean_row = None if kind == torch.float32 else cross_entropy._mean_row(parts.weight)
        return cross_entropy._losses(parts, mean_row, rows.to(kind), targets)

    def error(gradient: torch.Tensor) -> float:
        return float(((gradient - exact).norm(dim=-1) / exact.norm(dim=-1)).mean())

    single = found(torch.float32)
    torch.testing.assert_close(single[0], losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single[1], exact, rtol=1e-4, atol=1e-4)
    left_out: list[float] = []
    plain = cross_entropy._weighed_sum

    def watched(*args: Any, picks: bool) -> tuple[torch.Tensor, torch.Tensor | float]:
        part, rest = plain(*args, picks=picks)
        left_out.append(float(torch.as_tensor(rest).max()))
        return part, rest

    monkeypatch.setattr(cross_entropy, "_weighed_sum", watched)
    filtered = found(torch.bfloat16)
    assert 0.0 < max(left_out) < 0.01  # some blocks leave words out, though hardly a probability
    monkeypatch.setattr(cross_entropy, "_NEGLIGIBLE", 0.0)
    rounded = found(torch.bfloat16)
    assert torch.equal(filtered[0], rounded[0])
    assert not torch.equal(filtered[1], rounded[1])
    assert error(filtered[1]) < 1.05 * error(rounded[1]) < 0.2
