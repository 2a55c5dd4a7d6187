"""Scorers of other programs: what they give, in the cases that tell them apart."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from rouge_score.rouge_scorer import RougeScorer

from maple.errors import DataError
from maple.metrics import compat, qa

KEYS = {"ar": "arb_Arab", "de": "deu_Latn", "en": "eng_Latn", "zh": "zho_Hans"}


@pytest.mark.parametrize(
    ("prediction", "golds", "exact", "f1"),
    [
        ("The milk-jug!", ["a milkjug"], 1.0, 1.0),
        ("red milk jug", ["jug of milk"], 0.0, 2 / 3),
        # The best gold counts.
        ("jug", ["milk", "the jug", "jug of milk"], 1.0, 1.0),
        ("", ["jug"], 0.0, 0.0),
        # Both are nothing but an article: equal, and yet no word is shared.
        ("The", ["a."], 1.0, 0.0),
        ("jug", ["the"], 0.0, 0.0),
        # Articles and punctuation of other languages stay.
        ("der Krug", ["Krug"], 0.0, 2 / 3),
        ("«Krug»", ["Krug"], 0.0, 0.0),
        ("山水", ["山"], 0.0, 0.0),
    ],
)
def test_squad(prediction: str, golds: Sequence[str], exact: float, f1: float) -> None:
    assert compat.squad_exact_match(prediction, golds) == exact
    assert compat.squad_f1(prediction, golds) == pytest.approx(f1, abs=1e-15)


@pytest.mark.parametrize(
    ("prediction", "gold", "language", "in_mlqa", "elsewhere"),
    [
        ("The jug", "jug", "eng_Latn", 1.0, 1.0),
        # MLQA's rules take the German article from the prediction alone.
        ("der Krug", "der Krug", "deu_Latn", 2 / 3, 1.0),
        ("山水", "山水", "zho_Hans", 0.0, 1.0),
        ("山", "山", "zho_Hans", 1.0, 1.0),
        ("الكتاب", "الكتاب", "arb_Arab", 0.0, 1.0),
        # Punctuation of all scripts goes from the prediction, ASCII's alone from the gold.
        ("«книга»", "«книга»", "rus_Cyrl", 0.0, 0.0),
        ("«книга»", "книга", "rus_Cyrl", 1.0, 1.0),
    ],
)
def test_mega(prediction: str, gold: str, language: str, in_mlqa: float, elsewhere: float) -> None:
    found = [compat.mega_f1(prediction, [gold], language, mlqa=mlqa) for mlqa in (True, False)]
    assert found == pytest.approx([in_mlqa, elsewhere])


def test_rouge_is_that_of_the_package_as_it_comes() -> None:
    prediction, gold = "Café: the red cats sat", "The red cat, a café"
    theirs = RougeScorer(["rouge1", "rouge2", "rougeL"]).score(gold, prediction)
    for kind, score in theirs.items():
        assert compat.rouge_english(prediction, [gold], kind) == score.fmeasure
        assert compat.rouge_english(prediction, ["x", gold], kind) == score.fmeasure
    assert compat.rouge_english("हिन्दी", ["हिन्दी"], "rouge1") == 0.0
    with pytest.raises(DataError):
        compat.rouge_english("a", ["a"], "rouge9")


def test_mlqa_knows_its_seven_languages() -> None:
    asked = ("arb_Arab", "deu_Latn", "eng_Latn", "hin_Deva", "spa_Latn", "vie_Latn", "zho_Hans")
    assert all(compat.has_mlqa_rules(language) for language in asked)
    assert not any(compat.has_mlqa_rules(language) for language in ("ell_Grek", "tha_Thai"))


def test_no_gold_is_refused() -> None:
    for golds in ([], "jug"):
        for call in (compat.squad_f1, compat.squad_exact_match):
            with pytest.raises(ValueError, match="at least one"):
                call("jug", golds)
        with pytest.raises(ValueError, match="at least one"):
            compat.mega_f1("jug", golds, "eng_Latn", mlqa=False)


def test_where_the_rules_differ_on_real_predictions(release_files: Path) -> None:
    """English answers score alike by MLQA's rules and SQuAD's, but for punctuation beyond ASCII."""
    path = release_files / "golden" / "mlqa_official.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    differ: Counter[str] = Counter()
    for row in rows:
        official = qa.f1(row["prediction"], row["golds"], KEYS[row["language"]])
        assert official == row["f1"]
        differ[row["language"]] += official != compat.squad_f1(row["prediction"], row["golds"])
    assert differ["zh"] > differ["ar"] > differ["en"]
