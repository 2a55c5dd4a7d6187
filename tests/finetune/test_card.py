from __future__ import annotations

import dataclasses

import pytest
from tiny_finetune import CELL

from maple.finetune.card import card
from maple.records import LanguageTokens, TrainOutcome

OUTCOME = TrainOutcome(
    steps=12,
    rows=1100,
    dropped_rows=3,
    tokens=98765,
    labelled_tokens=43210,
    loss_first=2.5,
    loss_last=1.75,
    seconds=1.0,
    trainable_parameters=7,
    adapter_bytes=28,
    by_language={"spa_Latn": LanguageTokens(1100, 98765, 43210)},
    held_out_before={"eng_Latn": 2.0, "spa_Latn": 2.25},
    held_out_rows={"eng_Latn": 50, "spa_Latn": 49},
    held_out_after={"eng_Latn": 2.125, "spa_Latn": 1.5},
)


def test_a_card_says_what_was_trained_on_what() -> None:
    text = card(dataclasses.replace(CELL, source="multialpaca", mixture="half"), OUTCOME)
    header = text.split("---\n")[1].splitlines()
    assert header == [
        'base_model: "google/gemma-3-270m"',
        "library_name: peft",
        "language:",
        '- "es"',
        "tags:",
        "- maple",
        "- lora",
    ]
    assert "on 1,100 rows of multialpaca (mixture half): 12 steps, 98,765 tokens, of which" in text
    assert "3 rows were longer than `max_tokens` and left out." in text
    assert "2.500 nats a token in the first tenth of the steps and 1.750 in the last" in text
    assert (
        "| eng_Latn | – | – | 50 | 2.000 | 2.125 |\n"
        "| spa_Latn | 1,100 | 98,765 | 49 | 2.250 | 1.500 |" in (text)
    )
    assert "| `lora_alpha` | 8.0 |" in text
    assert '| `target_modules` | "all-linear" |' in text
    assert "`seed` | 7 |" in text


def test_a_whole_model_is_for_transformers_and_nothing_breaks_out_of_its_place() -> None:
    cell = dataclasses.replace(CELL, method="full", base_name='a"\nlicense: mit | <b>', source="s")
    outcome = dataclasses.replace(OUTCOME, by_language={}, held_out_before={}, dropped_rows=0)
    text = card(cell, outcome)
    assert "library_name: transformers" in text
    assert 'base_model: "a\\" license: mit \\| <b>"' in text
    assert "language:" not in text
    assert "longer than" not in text
    assert "This model was trained" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"base_name": "demo:tiny"}, 'from_pretrained(resolve("demo:tiny").path)'),
        (
            {"base_name": "a/b@main", "base": "hub:a/b@0123abc"},
            'base = AutoModelForCausalLM.from_pretrained("a/b", revision="0123abc")',
        ),
        ({"base_name": "here/b", "base": "sha256:1"}, 'from_pretrained("here/b")'),
        ({"method": "full"}, 'model = AutoModelForCausalLM.from_pretrained("this folder")'),
    ],
)
def test_a_card_says_how_to_load_what_it_is_of(changes: dict[str, str], line: str) -> None:
    text = card(dataclasses.replace(CELL, **changes), OUTCOME)
    code = text.split("```")[1]
    assert line in code
    assert ("PeftModel" in code) == ("method" not in changes)
    assert ("import resolve" in code) == ("demo" in line)
