"""Rows and items that nobody has read, by the releases' known sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from maple.study.config import Study
from maple.study.load import validate
from maple.sweep.catalogue import catalogue
from maple.sweep.workload import items_of, rows_of
from sweep.studies import content


def study(train: dict[str, Any] | None = None, tasks: list[dict[str, Any]] | None = None) -> Study:
    made = content()
    made["train"] = {**made["train"], **(train or {})}
    if tasks is not None:
        made["evaluate"] = {**made["evaluate"], "task": tasks}
    return validate(made, catalogue(), "test")


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, {"arb_Arab": 14_671, "deu_Latn": 9_515, "fra_Latn": 11_332}),
        ({"rows": 100}, {"arb_Arab": 34, "deu_Latn": 33, "fra_Latn": 33}),
        (
            {"validation": {"rows": 15}},
            {"arb_Arab": 14_656, "deu_Latn": 9_500, "fra_Latn": 11_317},
        ),
        # Shares as the rows there are, 14,671 : 9,515 : 11,332
        (
            {"rows": 1000, "mixture": [{"name": "m", "weights": "proportional"}]},
            {"arb_Arab": 413, "deu_Latn": 268, "fra_Latn": 319},
        ),
        (
            {
                "rows": 1000,
                "mixture": [{"name": "m", "english": 0.1, "english_from": "bactrian-x"}],
            },
            {"arb_Arab": 300, "deu_Latn": 300, "fra_Latn": 300, "eng_Latn": 100},
        ),
    ],
)
def test_rows_are_divided_as_they_will_be_drawn(
    train: dict[str, Any], expected: dict[str, int]
) -> None:
    made = study({"sources": ["multialpaca"], "languages": ["ar", "de", "fr"], **train})
    (rows,) = rows_of(made, [])
    assert rows.by_language == expected
    assert rows.data.rows == sum(expected.values())
    assert not rows.read


def test_presets_have_their_own_size_and_the_lengths_of_their_release() -> None:
    made = study({"sources": ["bactrian-x-11", "bactrian-x-11:full"], "languages": "all"})
    cut, full = rows_of(made, [])
    assert set(cut.by_language.values()) == {12_063}
    assert set(full.by_language.values()) == {67_017}
    assert cut.release == full.release == "bactrian-x"


def test_the_size_of_a_users_own_source_is_unknown_unless_stated(tmp_path: Path) -> None:
    own = {
        "name": "mine",
        "path": str(tmp_path / "{language}.jsonl"),
        "languages": ["de", "fr"],
        "fields": {"instruction": "q", "output": "a"},
    }
    train = {"sources": ["mine"], "languages": "all", "source": [own]}
    (unknown,) = rows_of(study(train), [])
    assert unknown.by_language == {"deu_Latn": None, "fra_Latn": None}
    (stated,) = rows_of(study({**train, "rows": 50}), [])
    assert stated.by_language == {"deu_Latn": 25, "fra_Latn": 25}


def test_items_are_those_of_the_release_under_the_limit(tmp_path: Path) -> None:
    tasks = [
        {"name": "xcopa", "subsets": ["it"], "n_shot": 4},
        {"name": "mlqa", "subsets": ["de.en"], "n_shot": 0},
        {
            "name": "xnli",
            "subsets": ["de"],
            "n_shot": 0,
            "setup": "translate-test",
            "translations": str(tmp_path),
            "translated_by": "me",
        },
        {"name": "lm_eval:arc_easy", "n_shot": 0},
    ]
    made = study(tasks=tasks)
    copa, mlqa, translated, foreign = items_of(made, [], None)
    assert (copa.items, copa.language, copa.writes) == (500, "ita_Latn", False)
    assert (mlqa.items, mlqa.language, mlqa.writes) == (4517, "deu_Latn", True)
    assert (translated.items, translated.subset) == (5010, "deu_Latn.eng_Latn-x-me")
    assert translated.language.startswith("eng_Latn")
    assert (foreign.task, foreign.items) == ("lm_eval:arc_easy", None)
    assert [one.items for one in items_of(made, [], 700)] == [500, 700, 700, None]
