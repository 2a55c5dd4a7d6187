"""The noise floor: what is compared, what is refused, and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from maple.errors import ModelError
from maple.evaluate.invariance import SAMPLE, WRITTEN, compare, measure
from maple.evaluate.responses import alone, together
from maple.models.scripted import ScriptedModel
from maple.records import ChoiceRequest, ChoiceResponse, GenerateRequest, GenerateResponse, Noise

CHOICES = [ChoiceRequest("", f"item {n}", (" one", " two words")) for n in range(20)]


class Company(ScriptedModel):
    """Its log-probabilities move with the number of requests in a call, as with a broken mask."""

    def __init__(self, shift: float) -> None:
        super().__init__()
        self.shift = shift
        self.calls: list[int] = []

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        self.calls.append(len(requests))
        shift = self.shift if len(requests) > 1 else 0.0
        return [
            replace(response, logprobs=(*response.logprobs[:-1], response.logprobs[-1] - shift))
            for response in super().choice_logprobs(requests, adapter)
        ]


def test_differences_are_per_token_and_within_the_tolerance_of_the_bits() -> None:
    model = Company(0.3)
    noise = measure(model, None, CHOICES, bits=16)
    assert noise.items == SAMPLE == 16
    assert noise.max_abs_diff == pytest.approx(0.15)  # two tokens
    assert model.calls == [*[1] * 16, 16]
    for bits, shift in ((32, 0.01), (16, 2.5), (4, 2.5), (8, 9.0)):
        with pytest.raises(ModelError, match=f"at {bits} bits") as caught:
            measure(Company(shift), None, CHOICES, bits=bits)
        assert "deterministic = true" in caught.value.hint


def test_what_was_generated_is_scored_alone_and_together() -> None:
    asked = [GenerateRequest("", f"item {n}", (), 5) for n in range(20)]
    model = Company(0.0)
    assert measure(model, None, asked, bits=16) == Noise(WRITTEN, 0.0, 0)
    assert model.calls == [*[1] * 4, 4]

    with pytest.raises(ModelError, match="batching moves log-probabilities"):
        measure(Company(99.0), None, asked, bits=16)


def test_changed_answers_are_counted() -> None:
    one = ChoiceResponse((-1.0, -2.0), (1, 2), (True, False), 3, (), ())
    other = replace(one, logprobs=(-2.5, -2.0))
    assert compare([one, one], [other, one]) == Noise(2, 1.5, 1)
    text = GenerateResponse(" a", "stop", 2, 3, (), ())
    assert compare([text, text], [text, replace(text, text=" b")]) == Noise(2, None, 1)


def test_lost_responses_are_an_error() -> None:
    class Lossy(ScriptedModel):
        def generate(
            self, requests: Sequence[GenerateRequest], adapter: Path | None
        ) -> list[GenerateResponse]:
            return super().generate(requests, adapter)[:-1]

    asked = [GenerateRequest("", "item", (), 5)] * 3
    with pytest.raises(ModelError, match="2 responses to 3 requests"):
        together(Lossy(), None, asked)
    assert len(alone(ScriptedModel(), None, asked)) == 3
