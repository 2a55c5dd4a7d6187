"""What every `maple.protocols.LanguageModel` must do, whatever stands behind it.

Plain functions: a test calls each with a model and requests that fit it.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from maple.errors import ModelError
from maple.protocols import LanguageModel
from maple.records import ChoiceRequest, GenerateRequest


def check_choices(model: LanguageModel, requests: Sequence[ChoiceRequest]) -> None:
    """One response a request, in order, with a sane number for each choice."""
    responses = model.choice_logprobs(requests, None)
    assert len(responses) == len(requests)
    for request, response in zip(requests, responses, strict=True):
        assert len(response.logprobs) == len(request.choices)
        assert len(response.n_tokens) == len(request.choices)
        assert all(value <= 0.0 for value in response.logprobs)
        assert all(count >= 1 for count in response.n_tokens)
        assert response.n_prompt_tokens >= len(response.prompt_head)
        assert len(response.prompt_head) == min(8, response.n_prompt_tokens)
        assert len(response.prompt_tail) == min(8, response.n_prompt_tokens)


def check_generation(model: LanguageModel, requests: Sequence[GenerateRequest]) -> None:
    """One response a request; no stop string survives, no limit is exceeded."""
    responses = model.generate(requests, None)
    assert len(responses) == len(requests)
    for request, response in zip(requests, responses, strict=True):
        assert response.stop_reason in ("eos", "stop", "length")
        assert not any(stop in response.text for stop in request.stop)
        assert 1 <= response.n_tokens <= request.max_new_tokens
        assert len(response.prompt_head) == min(8, response.n_prompt_tokens)


def check_order_and_purity(
    model: LanguageModel, requests: Sequence[ChoiceRequest], tolerance: float
) -> None:
    """The same call gives the same bits; order and company change no result beyond tolerance.

    Args:
        tolerance: largest difference of log-probabilities allowed, in nats.
    """
    first = model.choice_logprobs(requests, None)
    model.choice_logprobs(requests[:1], None)
    assert model.choice_logprobs(requests, None) == first
    backwards = model.choice_logprobs(requests[::-1], None)[::-1]
    alone = [model.choice_logprobs([request], None)[0] for request in requests]
    for others in (backwards, alone):
        for one, other in zip(first, others, strict=True):
            assert one.logprobs == pytest.approx(other.logprobs, abs=tolerance)
            assert one.n_tokens == other.n_tokens
            assert one.prompt_head == other.prompt_head


def check_nothing(model: LanguageModel) -> None:
    """No requests, no responses."""
    assert model.choice_logprobs([], None) == []
    assert model.generate([], None) == []


def check_too_long(model: LanguageModel) -> None:
    """A prompt beyond the context is an error that names both counts."""
    words = "word " * (model.max_context + 1)
    with pytest.raises(ModelError, match=str(model.max_context)):
        model.choice_logprobs([ChoiceRequest("", words, (" a",))], None)
    with pytest.raises(ModelError, match=str(model.max_context)):
        model.generate([GenerateRequest("", "word", (), model.max_context)], None)
