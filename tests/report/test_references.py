"""Published scores stand beside ours only where task, language and metric agree."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from maple.analysis.published import CAUTION, SOURCE
from maple.report.gathered import Gathered, Table, gather
from maple.report.references import references
from report import fake_store
from report.fake_store import filled

METRICS = {"xcopa": ("accuracy[sum]", "accuracy[per_char]"), "xquad": ("f1", "exact_match")}


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> Gathered:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_store, "_METRICS", METRICS)
        fake = filled(tmp_path_factory.mktemp("released"))
    evals = {name: replace(cell, dataset="release") for name, cell in fake.plan.evals.items()}
    fake.store.put_plan(fake.plan.model_copy(update={"evals": evals, "limit": 40}), b"")
    return gather(fake.store)


def table(gathered: Gathered, task: str, metric: str) -> Table:
    (found,) = [
        one for one in gathered.tables if (one.setting.task, one.setting.metric) == (task, metric)
    ]
    return found


def test_languages_that_both_have(gathered: Gathered) -> None:
    grid = references(gathered, table(gathered, "xcopa", "accuracy[sum]"))
    assert grid is not None
    # Arabic is no language of the published XCOPA.
    assert grid.columns == ("scores of", "set-up", "English", "Swahili", "mean")
    rows = {row[:2]: row[2:] for row in grid.rows}
    assert rows["GPT-4", "monolingual"] == ("99.6", "94.4", "97.0")
    assert rows["GPT-4", "translate-test"] == ("99.6", "85.8", "92.7")
    assert rows["TULRv6", "unstated"] == ("–", "69.4", "–")
    assert ("DV003", "zero-shot cross-lingual") not in rows
    assert rows["ours: untuned, 4 bits", "monolingual"] == ("50.0", "50.0", "50.0")
    # That adapter's Swahili is pending.
    assert rows["ours: LoRA r=8, 16 bits, mini, seed 0", "monolingual"] == ("60.0", "–", "–")
    ours = [row[0] for row in grid.rows if row[0].startswith("ours")]
    assert grid.rows[-len(ours) :] == tuple(row for row in grid.rows if row[0] in ours)
    assert ours[:2] == ["ours: untuned, 4 bits", "ours: untuned, 16 bits"]
    assert len(ours) == 6
    assert grid.notes == (
        SOURCE,
        CAUTION,
        (
            "Ours: prompt native, 2 exemplars, the first 40 items of each language, metric "
            "accuracy[sum]; intervals are in the table of the task. Mean: of rows that have every "
            "language here."
        ),
        (
            "2 published numbers left out: equal to translate-test in every language: one column "
            "stands twice."
        ),
    )


def test_exact_match_is_not_f1(gathered: Gathered) -> None:
    f1 = references(gathered, table(gathered, "xquad", "f1"))
    exact = references(gathered, table(gathered, "xquad", "exact_match"))
    assert f1 is not None
    assert exact is not None
    assert ("GPT-4", "zero-shot cross-lingual", "83.2", "67.8", "75.5") in f1.rows
    assert ("gemma-2b-it", "unstated", "6.8", "2.2", "4.5") in exact.rows
    assert {row[0] for row in exact.rows if not row[0].startswith("ours")} == {
        "gemma-2b-it",
        "gemma-7b-it",
        "gemini-pro",
    }


def test_other_items_tasks_and_metrics_have_none(gathered: Gathered) -> None:
    one = table(gathered, "xcopa", "accuracy[sum]")
    for change in (
        {"dataset": "mini"},
        {"task": "alpaca"},
        {"metric": "f1"},
        {"setup": "translate-test"},
    ):
        assert references(gathered, replace(one, setting=replace(one.setting, **change))) is None
    assert references(gathered, replace(one, subsets={"arb_Arab": "Arabic"})) is None


def test_pairs_stand_for_their_language_and_many_rows_are_cut(gathered: Gathered) -> None:
    one = table(gathered, "xquad", "f1")
    pairs = {"arb_Arab.arb_Arab": "Arabic", "eng_Latn.arb_Arab": "English, Arabic"}
    evals = {"arb_Arab.arb_Arab": gathered_eval(gathered, one)}
    lines = tuple(replace(one.lines[0], label=f"row {number}", evals=evals) for number in range(15))
    languages = {f"mlqa/{name}": "arb_Arab" for name in pairs}
    plan = gathered.plan.model_copy(update={"languages": languages})
    changed = replace(one, setting=replace(one.setting, task="mlqa"), subsets=pairs, lines=lines)
    grid = references(replace(gathered, plan=plan), changed)
    assert grid is not None
    assert grid.columns == ("scores of", "set-up", "Arabic", "mean")
    assert ("GPT-4", "monolingual", "59.1", "59.1") in grid.rows
    assert [row[0] for row in grid.rows[-12:]] == [f"ours: row {number}" for number in range(12)]
    assert grid.notes[-1] == "3 rows of ours left out, which the table above has."


def gathered_eval(gathered: Gathered, one: Table) -> str:
    name = one.lines[0].evals["arb_Arab"]
    assert (name, "f1") in gathered.results.cells
    return name


def test_nothing_beside_the_small_set(tmp_path: Path) -> None:
    found = gather(filled(tmp_path).store)
    assert [references(found, one) for one in found.tables] == [None] * len(found.tables)
