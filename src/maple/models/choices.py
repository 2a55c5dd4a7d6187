"""Choice scoring: each distinct context once, only the answer's positions through the head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import PreTrainedModel

from maple.errors import ModelError
from maple.models.attention import Store
from maple.models.batching import Budget, batches
from maple.models.encoding import Encoded
from maple.models.head import token_logprobs
from maple.models.runner import Runner


@dataclass(slots=True)
class _Row:
    """One context to run, and the texts that are scored on it.

    Choices that differ in their last token alone (the letters of a multiple-choice question)
    share their context: `Encoded.ids` without the last token.
    """

    context: tuple[int, ...]
    texts: list[int] = field(default_factory=list)
    start: int = 0


def score(
    runner: Runner, model: PreTrainedModel, texts: Sequence[Encoded], prefix: Store, limit: Budget
) -> list[float]:
    """Natural-log probability of each text's answer tokens given all tokens before them, in nats.

    Args:
        texts: all start with the tokens of `prefix`, and their answers after it.
    """
    rows = _rows(texts)
    plan = batches([len(row.context) - prefix.used for row in rows], prefix.used, limit)
    scores = [0.0] * len(texts)
    for batch in plan:
        chosen = [rows[index] for index in batch]
        _, hidden = runner.rows(prefix, [row.context[prefix.used :] for row in chosen])
        for text, value in _scores(model, texts, chosen, hidden, prefix.used):
            scores[text] = value
    return scores


def _rows(texts: Sequence[Encoded]) -> list[_Row]:
    rows: dict[tuple[int, ...], _Row] = {}
    for index, text in enumerate(texts):
        context = text.ids[:-1]
        row = rows.setdefault(context, _Row(context, start=text.start))
        row.texts.append(index)
        row.start = min(row.start, text.start)
    return list(rows.values())


def _scores(
    model: PreTrainedModel,
    texts: Sequence[Encoded],
    rows: Sequence[_Row],
    hidden: Tensor,
    before: int,
) -> list[tuple[int, float]]:
    """(text, its score) for each text of a batch; `hidden` starts at position `before`."""
    gathered: list[Tensor] = []
    wanted: list[tuple[int, int, int]] = []  # gathered position, token, text
    total = 0
    for index, row in enumerate(rows):
        # The hidden state at a position predicts the token after it.
        first, last = row.start - 1, len(row.context)
        gathered.append(hidden[index, first - before : last - before])
        for number in row.texts:
            answer = texts[number].ids[texts[number].start :]
            at = total + texts[number].start - row.start
            wanted += [(at + offset, token, number) for offset, token in enumerate(answer)]
        total += last - first
    values = _picked(model, torch.cat(gathered), [(at, token) for at, token, _ in wanted])
    parts: dict[int, list[float]] = {}
    for (_, _, number), value in zip(wanted, values, strict=True):
        parts.setdefault(number, []).append(value)
    return [(number, math.fsum(part)) for number, part in parts.items()]


def _picked(
    model: PreTrainedModel, hidden: Tensor, wanted: Sequence[tuple[int, int]]
) -> list[float]:
    """Log-probability of each (row of hidden, token); hidden is [N, H], projected in blocks."""
    at = torch.tensor([row for row, _ in wanted], device=hidden.device)
    tokens = torch.tensor([token for _, token in wanted], device=hidden.device)
    picked = token_logprobs(model, hidden, at, tokens)
    if not picked.isfinite().all():
        raise ModelError(
            "the model's log-probabilities are not finite",
            "its activations overflow at this precision; choose other bits",
        )
    return [float(value) for value in picked.tolist()]
