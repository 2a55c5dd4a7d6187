"""What engines with tokens measure for a choice, and how it becomes a response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from maple.models.encoding import Encoded
from maple.records import ChoiceRequest, ChoiceResponse


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer under the model.

    Attributes:
        logprob: natural-log probability, in nats, summed over its tokens.
        greedy: no other token was more probable at any of its places.
    """

    logprob: float
    greedy: bool


def choice_responses(
    requests: Sequence[ChoiceRequest], texts: Sequence[Encoded], scores: Sequence[Scored]
) -> list[ChoiceResponse]:
    """Responses, in request order.

    Args:
        requests: n items.
        texts, scores: one for each of `encoding.triples(requests)`.
    """
    responses = []
    at = 0
    for request in requests:
        end = at + len(request.choices)
        prompt = texts[at].ids[: texts[at].start]
        responses.append(
            ChoiceResponse(
                logprobs=tuple(found.logprob for found in scores[at:end]),
                n_tokens=tuple(len(text.ids) - text.start for text in texts[at:end]),
                greedy=tuple(found.greedy for found in scores[at:end]),
                n_prompt_tokens=len(prompt),
                prompt_head=prompt[:8],
                prompt_tail=prompt[-8:],
            )
        )
        at = end
    return responses
