"""Which of several choices a model prefers, from their log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence


def pick(logprobs: Sequence[float], lengths: Sequence[int] | None) -> int:
    """Index of the choice with the highest log-probability, summed or per unit of length.

    Args:
        logprobs: per choice, natural-log probability in nats, summed over its tokens. Minus
            infinity is a value like any other.
        lengths: per choice, its length in the unit to divide by (tokens, characters, bytes), at
            least 1; None to compare the sums.

    Returns:
        The index; of equally high choices the first, so that ties are the same everywhere.

    Raises:
        ValueError: no choice, a NaN, another number of lengths than choices, or a length below 1.
    """
    if not logprobs:
        raise ValueError("logprobs: got no choice, expected at least one")
    if any(math.isnan(logprob) for logprob in logprobs):
        raise ValueError(f"logprobs: got {list(logprobs)}, expected no NaN")
    scores = list(logprobs)
    if lengths is not None:
        if len(lengths) != len(scores):
            raise ValueError(f"lengths: got {len(lengths)} for {len(scores)} choices")
        if any(length < 1 for length in lengths):
            raise ValueError(f"lengths: got {list(lengths)}, expected each to be at least 1")
        scores = [score / length for score, length in zip(scores, lengths, strict=True)]
    return max(range(len(scores)), key=scores.__getitem__)


def pointwise(logprobs: Sequence[float], neutral: Sequence[float]) -> list[float]:
    """What the prompt adds to each choice: log p(choice | prompt) - log p(choice | neutral prompt).

    Domain conditional PMI (Holtzman et al. 2021, "Surface Form Competition", EMNLP,
    doi:10.18653/v1/2021.emnlp-main.564). Choices that are probable after any prompt lose their
    advantage; unlike a division by length it needs no unit.

    Args:
        logprobs: per choice, natural-log probability given the prompt, in nats.
        neutral: the same choices given a prompt without the item, in nats.

    Returns:
        Nats, in the order of the choices, for `pick`. Minus infinity where the first of the two
        is, whatever the second.

    Raises:
        ValueError: different numbers of choices, or a NaN.
    """
    if len(logprobs) != len(neutral):
        raise ValueError(f"neutral: got {len(neutral)} for {len(logprobs)} choices")
    if any(map(math.isnan, (*logprobs, *neutral))):
        raise ValueError(f"got {list(logprobs)} and {list(neutral)}, expected no NaN")
    return [
        one if one == -math.inf else one - other
        for one, other in zip(logprobs, neutral, strict=True)
    ]
