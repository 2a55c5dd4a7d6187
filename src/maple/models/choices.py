"""Choice scoring: shared tokens once, only the positions that predict answers through the head."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor
from transformers import PreTrainedModel

from maple.models.attention import KeysValues
from maple.models.batching import Budget, batches
from maple.models.encoding import Encoded
from maple.models.head import check_finite, token_logprobs
from maple.models.runner import Runner
from maple.models.scored import Scored
from maple.models.trie import Row, lay_out, pack


def score(
    runner: Runner,
    model: PreTrainedModel,
    texts: Sequence[Encoded],
    prefix: KeysValues,
    limit: Budget,
) -> list[Scored]:
    """What the model gives to each text's answer tokens after all tokens before them.

    Args:
        texts: all start with the tokens of `prefix`, and their answers after it.
    """
    before = prefix.used
    # Nothing is predicted from a text's last token. Choices that differ in it alone (the letters
    # of a multiple-choice question) have one context.
    contexts = dict.fromkeys(text.ids[before:-1] for text in texts)
    numbers = {context: number for number, context in enumerate(contexts)}
    asked: list[list[int]] = [[] for _ in contexts]
    for index, text in enumerate(texts):
        asked[numbers[text.ids[before:-1]]].append(index)
    rows = pack(lay_out(list(contexts)))
    scores: dict[int, Scored] = {}
    for batch in batches([len(row.ids) for row in rows], before, 0, limit):
        chosen = [rows[index] for index in batch]
        _, hidden = runner.rows(prefix, chosen)
        scores.update(_scores(model, texts, chosen, asked, hidden, before))
    return [scores[index] for index in range(len(texts))]


def _scores(
    model: PreTrainedModel,
    texts: Sequence[Encoded],
    rows: Sequence[Row],
    asked: Sequence[Sequence[int]],
    hidden: Tensor,
    before: int,
) -> Iterator[tuple[int, Scored]]:
    """(text, its score) for each text of a batch; `hidden` starts behind the prefix."""
    places: dict[tuple[int, int], int] = {}  # (row, token): its number among those that predict
    wanted: list[tuple[int, int]] = []
    owners: list[tuple[int, int]] = []
    for number, row in enumerate(rows):
        for context, path in row.paths.items():
            for index in asked[context]:
                text = texts[index]
                # The hidden state at a position predicts the token after it.
                predicting = path[text.start - 1 - before :]
                answer = text.ids[text.start :]
                for token, place in zip(answer, predicting, strict=True):
                    wanted.append((places.setdefault((number, place), len(places)), token))
                owners.append((index, len(answer)))
    where = torch.tensor(list(places), device=hidden.device)
    at = torch.tensor([row for row, _ in wanted], device=hidden.device)
    tokens = torch.tensor([token for _, token in wanted], device=hidden.device)
    picked, greedy = token_logprobs(model, hidden[where[:, 0], where[:, 1]], at, tokens)
    check_finite(picked)
    values, best = iter(picked.tolist()), iter(greedy.tolist())
    for index, count in owners:
        yield index, Scored(math.fsum(islice(values, count)), all(list(islice(best, count))))
