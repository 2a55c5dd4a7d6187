"""Whether batching changes answers, and by how much: the noise floor of every comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maple.errors import ModelError
from maple.evaluate.responses import Request, Response, alone, together
from maple.protocols import LanguageModel
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    GenerateRequest,
    GenerateResponse,
    Noise,
)

SAMPLE = 16
"""Items whose choices are asked both alone and together."""

WRITTEN = 4
"""Items that write both alone and together: alone, each token is a pass over all weights."""

TOLERANCE = {32: 1e-3, 16: 1.0, 8: 4.0, 4: 1.0}
"""Largest difference, in nats per answer token, that rounding explains, by bits of the base.

Logits of 32 to 64 are a quarter apart in bfloat16, and one-token answers have no average. LLM.int8
chooses its outlier columns over the whole batch. Two to twenty times what docs/log.md measured; a
wrong mask moves some answer by whole nats at every precision.
"""


def measure(
    model: LanguageModel, adapter: Path | None, requests: Sequence[Request], bits: int
) -> Noise:
    """Ask the first items of a cell alone and together; what is generated is scored both ways too.

    Args:
        model: the loaded base.
        adapter: PEFT folder; None for the untuned base.
        requests: of one kind; at most `SAMPLE`, or `WRITTEN`, are asked.
        bits: of the base.

    Raises:
        ModelError: log-probabilities differ by more than rounding explains.
    """
    writes = any(isinstance(request, GenerateRequest) for request in requests)
    sample = requests[: WRITTEN if writes else SAMPLE]
    one, other = alone(model, adapter, sample), together(model, adapter, sample)
    noise = compare(one, other)
    written = _written(sample, one)
    if written:
        # Completions part ways where two tokens are close; their probabilities hardly move there.
        scored = compare(alone(model, adapter, written), together(model, adapter, written))
        noise = replace(noise, max_abs_diff=scored.max_abs_diff)
    if noise.max_abs_diff is not None and noise.max_abs_diff > TOLERANCE[bits]:
        raise ModelError(
            f"engine {model.engine}: batching moves log-probabilities by "
            f"{noise.max_abs_diff:.3g} nats a token, expected at most {TOLERANCE[bits]:g} "
            f"at {bits} bits",
            "this is a fault of the engine with this base model, please report it; "
            "deterministic = true in [evaluate] asks every item alone",
        )
    return noise


def compare(one: Sequence[Response], other: Sequence[Response]) -> Noise:
    """How far two series of responses to the same requests are apart."""
    differences: list[float] = []
    changed = 0
    for left, right in zip(one, other, strict=True):
        if isinstance(left, ChoiceResponse) and isinstance(right, ChoiceResponse):
            pairs = zip(left.logprobs, right.logprobs, left.n_tokens, strict=True)
            differences += [abs(a - b) / tokens for a, b, tokens in pairs]
            changed += _best(left) != _best(right)
        elif isinstance(left, GenerateResponse) and isinstance(right, GenerateResponse):
            changed += left.text != right.text
    return Noise(len(one), max(differences, default=None), changed)


def _written(requests: Sequence[Request], responses: Sequence[Response]) -> list[ChoiceRequest]:
    """What was generated, as the only choice of the same prompt."""
    return [
        ChoiceRequest(request.prefix, request.prompt, (response.text,))
        for request, response in zip(requests, responses, strict=True)
        if isinstance(response, GenerateResponse) and response.text.strip()
    ]


def _best(response: ChoiceResponse) -> int:
    return response.logprobs.index(max(response.logprobs))
