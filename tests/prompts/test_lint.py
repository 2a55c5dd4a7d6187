"""The linter finds each kind of broken prompt, and nothing in sound ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from maple.prompts.lint import lint
from maple.prompts.literals import Wording, wording
from maple.prompts.shapes import causal, judging, reading, verdicts
from maple.records import Example, Prompted

ENGLISH, THAI = wording("native", "eng_Latn"), wording("native", "tha_Thai")
RAIN = Example("r", "r", {"premise": "It rained."}, ("Roads got wet.", "Roads got dry."), 0)
GOOD = causal(ENGLISH, "It rained.", "effect", RAIN.choices)


def _problems(rendered: Prompted, example: Example = RAIN, wording: Wording = ENGLISH) -> list[str]:
    return [
        line.partition(": ")[2]
        for line in lint([example], [rendered], tuple(example.fields), wording)
    ]


def test_sound_prompts_have_no_problems() -> None:
    assert lint([RAIN], [GOOD], ("premise",), ENGLISH) == []
    item = Example("x", "p", {"context": "น้ำ {x} \\n  เย็น", "question": "อะไร"}, golds=("น้ำ",))
    rendered = reading(THAI, item.fields["context"], "อะไร", "น้ำ")
    assert lint([item], [rendered], ("context", "question"), THAI) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("It rained\nResult:", "the field 'premise' has lost its last letter"),
        ("premise\nResult:", "the field 'premise' is there by its name, not by its text"),
        ("rained.\nResult:", "the field 'premise' does not appear whole"),
        ("It rained.\n{label}:", "a placeholder survives"),
        ("It rained.{}\nResult:", "a placeholder survives"),
        ("It rained.\\nResult:", "a line break is spelled out"),
        ("It rained.\nResult: ", "the prompt ends in white space"),
        ("It rained.\nResult:\n", "the prompt ends in white space"),
        ("It rained.  Result:", "a space too many"),
        ("It rained. \nResult:", "a space too many"),
        ("It rained.\nРезультат:", "'Результа' is not in the script of eng_Latn"),
        ("Text:It rained.\nResult:", "no space between a label and the text after it"),
    ],
)
def test_broken_texts_are_found(text: str, problem: str) -> None:
    assert problem in _problems(replace(GOOD, text=text))


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ((" Roads got wet", " Roads got dry."), "an answer has lost its last letter"),
        ((" got wet.", " Roads got dry."), "an answer does not appear whole"),
        ((" ", " Roads got dry."), "an answer has no text, so no token of its own"),
        ((" Roads got wet.",), "1 answers, expected 2"),
        (("Roads got wet.", "Roads got dry."), "no space between a label and the text after it"),
        (("  Roads got wet.", "  Roads got dry."), "a space too many"),
    ],
)
def test_broken_answers_are_found(answers: tuple[str, ...], problem: str) -> None:
    assert _problems(replace(GOOD, answers=answers)) == [problem]


def test_equal_answers_to_different_choices_are_found() -> None:
    twins = replace(RAIN, choices=("Roads got wet.", "Roads got wet. Very."))
    rendered = causal(ENGLISH, "It rained.", "effect", ["Roads got wet. Very."] * 2)
    assert _problems(rendered, twins) == [
        "an answer has more than its text",
        "two answers are alike",
    ]


def test_words_of_the_prompt_have_the_space_of_their_own_language() -> None:
    item = Example(
        "x", "x", {"premise": "ฝนตก", "claim": "ถนนเปียก"}, ("true", "unclear", "false"), 0
    )
    for words, space in ((wording("english", "tha_Thai"), " "), (THAI, "")):
        rendered = judging(words, "ฝนตก", "ถนนเปียก")
        named = replace(item, choices=verdicts(words))
        assert rendered.answers[0] == space + verdicts(words)[0]
        assert lint([named], [rendered], ("premise", "claim"), words, labels=True) == []
        spaced = replace(rendered, answers=tuple(" " + text for text in verdicts(words)))
        assert bool(lint([named], [spaced], ("premise", "claim"), words, labels=True)) == (
            not space
        )


def test_a_choice_that_the_release_lists_twice_is_no_fault_of_the_prompt() -> None:
    twins = replace(RAIN, choices=("Roads got wet.", "Roads got wet."))
    rendered = causal(ENGLISH, "It rained.", "effect", twins.choices)
    assert _problems(rendered, twins) == []


def test_a_space_before_unspaced_text_is_found() -> None:
    item = Example("x", "x", {"premise": "ฝนตก"}, ("ถนนเปียก", "ถนนแห้ง"), 0)
    rendered = Prompted("ฝนตก\nผลลัพธ์:", (" ถนนเปียก", " ถนนแห้ง"))
    assert _problems(rendered, item, THAI) == ["a space before text of a script without spaces"]


def test_different_items_that_render_alike_are_found() -> None:
    other = replace(RAIN, example_id="s", fields={"premise": "It rained.", "question": "cause"})
    lines = lint([RAIN, other], [GOOD, GOOD], ("premise",), ENGLISH)
    assert lines == ["s (as r): renders like another item"]


def test_an_item_that_the_release_repeats_is_no_fault_of_the_prompt() -> None:
    again = replace(RAIN, example_id="s", fields={"premise": "It rained. "})
    assert lint([RAIN, again], [GOOD, GOOD], ("premise",), ENGLISH) == []


def test_many_items_with_one_problem_make_one_line() -> None:
    items = [replace(RAIN, example_id=f"r{n}") for n in range(3)]
    bad = replace(GOOD, text="It rained.\nResult:\n")
    assert lint(items, [bad] * 3, ("premise",), ENGLISH) == [
        "r0 and 2 more: the prompt ends in white space"
    ]


def test_bad_words_of_the_language_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"cause": "Why", "effect": "Why", "colon": ":"}
    monkeypatch.setattr("maple.prompts.literals._table", lambda: {"eng_Latn": words})
    assert lint([], [], (), ENGLISH) == ["eng_Latn: two words of the prompts are alike"]
