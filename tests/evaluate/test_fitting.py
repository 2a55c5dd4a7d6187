"""What goes first where a prompt is too long, and what never goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maple.evaluate.fitting import Fitted, fit, most
from maple.evaluate.responses import Asked, put
from maple.models.scripted import ScriptedModel
from maple.records import (
    ChoiceRequest,
    Example,
    Frame,
    GenerateRequest,
    Prompted,
    Shortened,
)


class _Words:
    """A task whose prompt is a text in brackets; the text may be cut."""

    stop = ("\n",)

    def __init__(self, cut: bool, max_new_tokens: int | None = 2) -> None:
        self.max_new_tokens = max_new_tokens
        self._cut = cut

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        text = example.fields["text"]
        cut = (7, 7 + len(text)) if self._cut else None
        return Prompted(f"Begin: {text} end of it:", (" yes",), cut)


def _item(name: str, words: int) -> Example:
    text = " ".join(f"{name}{n}" for n in range(words))
    return Example(name, name, {"text": text}, golds=("yes",))


def _asked(task: _Words, *words: int) -> Asked:
    shots = [_item(f"s{n}x", 5) for n in range(3)]
    return put(task, "", "", [_item(f"i{n}x", count) for n, count in enumerate(words)], shots, "")


def _model(context: int, monkeypatch: pytest.MonkeyPatch) -> ScriptedModel:
    monkeypatch.setattr(ScriptedModel, "max_context", context)
    return ScriptedModel()


def _fit(model: ScriptedModel, asked: Asked) -> Fitted:
    return fit(model.lengths, model.max_context, asked)


def test_what_fits_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(_Words(cut=True), 5, 9)
    fitted = _fit(_model(8192, monkeypatch), asked)
    assert (fitted.asked, fitted.shortened, fitted.too_long) == (asked, {}, {})


def test_exemplars_go_from_the_far_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # An exemplar is 10 words, an item 4 more than its text, and 2 are for the answer.
    asked = _asked(_Words(cut=True), 5, 15, 30)
    model = _model(41, monkeypatch)
    assert model.lengths(asked.requests) == [41, 51, 66]
    fitted = _fit(model, asked)
    assert fitted.shortened == {"i1x": Shortened(1, 0), "i2x": Shortened(3, 0)}
    assert model.lengths(fitted.asked.requests) == [41, 41, 36]
    assert fitted.asked.requests[0] == asked.requests[0]
    assert fitted.asked.requests[1].prefix == "".join(asked.exemplars[1:])
    assert "s0x" not in fitted.asked.requests[1].prefix
    assert fitted.asked.requests[1].prompt == asked.requests[1].prompt
    assert fitted.asked.requests[2].prefix == ""


def test_then_the_end_of_the_text_goes_and_never_the_frame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted = _fit(_model(20, monkeypatch), _asked(_Words(cut=True), 30))
    assert fitted.shortened == {"i0x": Shortened(3, 16)}
    (request,) = fitted.asked.requests
    assert request.prefix == ""
    assert request.prompt.startswith("Begin: i0x0 i0x1 ")
    assert request.prompt.endswith(" i0x13 end of it:")


def test_what_cannot_be_cut_is_told_and_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(_Words(cut=False), 5, 30)
    fitted = _fit(_model(20, monkeypatch), asked)
    assert fitted.too_long == {"i1x": 36}
    assert fitted.shortened == {"i0x": Shortened(3, 0)}
    assert fitted.asked.requests[1] == asked.requests[1]


def test_a_frame_that_is_too_long_by_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = _fit(_model(5, monkeypatch), _asked(_Words(cut=True), 30))
    assert fitted.too_long == {"i0x": 6}


def test_an_item_is_shortened_by_its_own_length_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(41, monkeypatch)
    together = _fit(model, _asked(_Words(cut=True), 15, 30)).asked.requests
    alone = _fit(model, _asked(_Words(cut=True), 15)).asked.requests
    assert together[0] == alone[0]


def test_the_bound_by_bytes_is_never_too_low() -> None:
    choice = ChoiceRequest("a ", "b", ("c", "日本"))
    assert most(choice) == 2 + 1 + 6 + 8
    assert most(replace(choice, choices=("c",))) == 2 + 1 + 1 + 8
    assert most(GenerateRequest("a ", "b", ("\n",), 50)) == 2 + 1 + 50 + 8


def test_a_training_template_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Frame("<user> ", " </user> <bot>")
    shots = [_item(f"s{n}x", 5) for n in range(3)]
    items = [_item(f"i{n}x", count) for n, count in enumerate((5, 15, 60))]
    asked = put(_Words(cut=True), "", "", items, shots, "", frame)
    model = _model(44, monkeypatch)
    assert model.lengths(asked.requests) == [44, 54, 99]
    fitted = _fit(model, asked)
    assert fitted.shortened == {"i1x": Shortened(1, 0), "i2x": Shortened(3, 25)}
    assert model.lengths(fitted.asked.requests) == [44, 44, 44]
    texts = [request.prefix + request.prompt for request in fitted.asked.requests]
    assert all(text.startswith("<user> Begin: ") for text in texts)
    assert all(text.endswith(" end of it: </user> <bot>") for text in texts)
    assert "s0x" not in texts[1]
    assert "s1x0" in texts[1]
    assert fitted.asked.requests[2].prefix == "<user> "
