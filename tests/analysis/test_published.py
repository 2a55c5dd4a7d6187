"""The published scores equal the sheet that they come from."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import mean

import pytest

from maple.analysis.published import CAUTION, SOURCE, Published, _rows, published
from maple.languages import ENGLISH, language

_TASKS = {"Belebele", "MLQA", "XCOPA", "XLSum", "XNLI", "XQuAD"}
_METRICS = {"Accuracy": "accuracy", "F1 Score": "f1", "ROUGE-L": "rougeL"}
_MODES = {
    " Monolingual": "monolingual",
    " Translate-Test": "translate-test",
    " TranslateTest": "translate-test",
    " Zero-Shot Cross Lingual": "zero-shot cross-lingual",
}
_FACTS = 7
"""Columns before the systems."""


def derived(path: Path) -> list[tuple[str, str, str, str, str, float]]:
    """The table as `published.toml` says it is made from the sheet."""
    rows = []
    with path.open(encoding="utf-8", newline="") as file:
        sheet = list(csv.DictReader(file))
    for line in sheet:
        task, code = line["Dataset"].lower(), line["Language Code"]
        assert line["Dataset"] in _TASKS
        if (task, code) == ("xlsum", "zh"):
            continue
        key = "uzn_Cyrl" if (task, code) == ("xlsum", "uz") else language(code).key
        for heading, cell in list(line.items())[_FACTS:]:
            system, mode = next(
                (
                    (heading.removesuffix(ending), mode)
                    for ending, mode in _MODES.items()
                    if heading.endswith(ending)
                ),
                (heading, "unstated"),
            )
            values = [float(value) for value in cell.split("/")] if cell.strip() else []
            metrics = [_METRICS[line["Metrics"]], "exact_match"]
            assert all(0 <= value <= 100 for value in values)
            assert values == sorted(values, reverse=True)  # exact match is never above F1
            for metric, value in zip(metrics, values, strict=False):
                rows.append((task, key, metric, system, mode, value))
    return rows


def test_the_table_is_the_sheet(release_files: Path) -> None:
    sheet = release_files / "baselines" / "mega_baselines.csv"
    if not sheet.exists():
        pytest.skip("no baselines in MAPLE_TEST_DATA")
    rows = [
        (row.task, row.language, row.metric, row.system, row.mode, row.value) for row in _rows()
    ]
    assert rows == derived(sheet)


def test_every_score_stands_once_in_a_known_language() -> None:
    keys = [(row.task, row.language, row.metric, row.system, row.mode) for row in _rows()]
    assert len(keys) == len(set(keys)) > 1000
    assert {row.task for row in _rows()} == {name.lower() for name in _TASKS}
    assert all(0 <= row.value <= 100 for row in _rows())
    releases = {(row.task, row.language) for row in _rows()}
    releases.remove(("xcopa", ENGLISH))  # COPA, another release
    assert all(task in language(key).codes for task, key in releases)
    assert "MEGAVERSE" in SOURCE
    assert "wide tolerance" in CAUTION


@pytest.mark.parametrize(
    ("task", "metric", "system", "mode", "points"),
    [
        ("xnli", "accuracy", "GPT-3.5-Turbo", "monolingual", 62.1),
        ("xnli", "accuracy", "GPT-4", "monolingual", 75.4),
        ("xnli", "accuracy", "PaLM2", "monolingual", 76.4),
        ("xnli", "accuracy", "Mistral-7B-v0.1", "unstated", 39.4),
        ("xcopa", "accuracy", "GPT-3.5-Turbo", "monolingual", 81.0),
        ("xcopa", "accuracy", "GPT-4", "monolingual", 90.7),
        ("xcopa", "accuracy", "PaLM2", "monolingual", 96.3),
        ("xcopa", "accuracy", "Mistral-7B-v0.1", "unstated", 62.0),
        ("mlqa", "f1", "GPT-3.5-Turbo", "monolingual", 56.1),
        ("mlqa", "f1", "GPT-4", "monolingual", 67.2),
        ("mlqa", "f1", "PaLM2", "monolingual", 55.5),
        ("mlqa", "f1", "Mistral-7B-v0.1", "unstated", 27.2),
        ("xquad", "f1", "GPT-3.5-Turbo", "zero-shot cross-lingual", 61.2),
        ("xquad", "f1", "GPT-4", "zero-shot cross-lingual", 69.0),
        ("xquad", "f1", "PaLM2", "monolingual", 70.5),
        ("xquad", "f1", "Mistral-7B-v0.1", "unstated", 25.9),
        ("belebele", "accuracy", "GPT-3.5-Turbo", "monolingual", 76.2),
        ("belebele", "accuracy", "GPT-4", "monolingual", 84.0),
        ("belebele", "accuracy", "PaLM2", "monolingual", 83.2),
    ],
)
def test_means_are_those_known(
    task: str, metric: str, system: str, mode: str, points: float
) -> None:
    values = [
        row.value for row in published(task, metric) if (row.system, row.mode) == (system, mode)
    ]
    assert mean(values) == pytest.approx(points, abs=0.051)


@pytest.mark.parametrize(("system", "points"), [("GPT-3.5-Turbo", 18.0), ("GPT-4", 19.7)])
def test_summaries_without_the_row_that_is_left_out(system: str, points: float) -> None:
    values = [
        row.value
        for row in published("xlsum", "rougeL")
        if (row.system, row.mode) == (system, "monolingual")
    ]
    assert len(values) == 42
    assert mean(values) == pytest.approx(points, abs=0.2)


def find(task: str, language: str, system: str, mode: str = "monolingual") -> Published:
    metric = "rougeL" if task == "xlsum" else "accuracy"
    (found,) = [
        row
        for row in published(task, metric)
        if (row.language, row.system, row.mode) == (language, system, mode)
    ]
    return found


def test_what_cannot_be_a_score_is_doubted() -> None:
    assert find("belebele", "heb_Hebr", "PaLM2").doubt == "0 stands for no answer"
    assert "guess" in find("belebele", "deu_Latn", "Mistral-7B-v0.1", "unstated").doubt
    assert "18.4" in find("xnli", "fra_Latn", "PaLM2").doubt
    assert "twice" in find("xcopa", "ita_Latn", "DV003", "zero-shot cross-lingual").doubt
    assert "near 0" in find("xlsum", "vie_Latn", "Llama2-7B").doubt
    assert "three equal" in find("belebele", "arb_Arab", "GPT-4", "translate-test").doubt
    for task, key, system in (
        ("xnli", "deu_Latn", "PaLM2"),
        ("xcopa", "ita_Latn", "DV003"),
        ("xlsum", "vie_Latn", "GPT-4"),
        ("belebele", "deu_Latn", "GPT-4"),
    ):
        assert find(task, key, system).doubt == ""


def test_exact_match_stands_apart() -> None:
    rows = {(row.language, row.system): row.value for row in published("mlqa", "exact_match")}
    assert rows["arb_Arab", "gemma-2b-it"] == 7
    f1 = {(row.language, row.system): row.value for row in published("mlqa", "f1")}
    assert f1["arb_Arab", "gemma-2b-it"] == 16.5
    assert {system for _, system in rows} == {"gemma-2b-it", "gemma-7b-it", "gemini-pro"}
    assert published("mlqa", "accuracy") == ()
