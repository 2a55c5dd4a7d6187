"""Estimated lengths: English times the language's factor; counted ones where that can be done."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from maple.languages import of_release
from maple.sweep.lengths import Length, counted, factor, of_item, of_row
from maple.tasks import OWN_TASKS


def test_a_language_has_its_own_factor_or_that_of_its_script() -> None:
    assert factor("llama-2", "eng_Latn") == factor("mistral-v0.1", "eng_Latn") == 1.0
    assert factor("llama-2", "zho_Hans") == 1.98
    assert factor("mistral-v0.1", "zho_Hans") == 1.61
    # Ukrainian was not measured: between Bulgarian (1.77) and Russian (1.62).
    assert factor("llama-2", "ukr_Cyrl") == pytest.approx(1.695)
    # Gujarati is spelled in bytes, as Amharic 7.25, Burmese 8.35, Telugu 10.66 and Lao 11.44 are.
    assert factor("llama-2", "guj_Gujr") == pytest.approx((8.35 + 10.66) / 2)
    # Reversed German is taken for German.
    assert factor("llama-2", "deu_Latn-x-rev") == factor("llama-2", "deu_Latn") == 1.41


def test_a_tokenizer_that_was_not_measured_is_taken_for_llamas() -> None:
    assert factor("", "tha_Thai") == factor("llama-2", "tha_Thai")


def test_rows_and_items_are_english_times_the_factor() -> None:
    assert of_row("multialpaca", "eng_Latn", "llama-2") == Length(29, 44)
    assert of_row("multialpaca", "zho_Hans", "llama-2") == Length(29 * 1.98, 44 * 1.98)
    assert of_row("somebody's", "eng_Latn", "llama-2") == Length(29, 44)
    assert of_item("xnli", "eng_Latn", "llama-2") == Length(40, 2)
    assert of_item("lm_eval:arc_easy", "eng_Latn", "llama-2") is None


def test_every_task_and_language_has_an_estimate() -> None:
    assert all(of_item(task, "eng_Latn", "llama-2") for task in OWN_TASKS)
    languages = {
        language.key for name in ("bactrian_x", "belebele") for language in of_release(name)
    }
    assert all(1.0 <= factor("llama-2", language) < 12 for language in languages)


def test_texts_are_counted_where_they_can_be() -> None:
    def words(texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    texts = [("one two", "three"), ("one two three four", "five six seven")]
    assert counted(words, texts) == Length(3, 2)
    # A row has a template's own words and an end marker, too.
    assert counted(words, texts, template=True) == Length(11, 2)
