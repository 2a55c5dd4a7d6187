"""The transfer table, by hand."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from maple.analysis import transfer_table
from maple.analysis.blocks import blocks
from maple.analysis.columns import PROMPTS, frame
from maple.analysis.observed import Observed, complete
from maple.analysis.results import results
from maple.records import EvalCell, TrainCell
from report.fake_store import Fake, filled

GAINS = {"eng_Latn": -4, "arb_Arab": 2, "swh_Latn": 4}


def scorer(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """20 of 40 right, tuned as many more as GAINS says; r 64 one more still."""
    more = 0 if cell.r is None else GAINS[asked.subset] + (cell.r == 64)
    return float(item < 20 + more)


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return filled(tmp_path_factory.mktemp("store"), scorer)


@pytest.fixture(scope="module")
def observed(fake: Fake) -> Observed:
    return Observed(fake.plan, results(fake.plan, blocks(fake.store, fake.plan)))


def prompt(task: str, subset: str, tokens: int, words: int, size: int) -> dict[str, object]:
    language = subset.partition(".")[0]
    known = dict.fromkeys((column.name for column in PROMPTS), None)
    return {
        **known,
        "task": task,
        "subset": subset,
        "language": language,
        "tokenizer": "sha256:bb",
        "tokens": tokens,
        "words": words,
        "tokens_per_byte": tokens / size,
    }


def test_gains_are_means_over_adapters(observed: Observed) -> None:
    found = transfer_table.rows(observed, frame(PROMPTS, []))
    assert [(one.base_name, one.source, one.mixture) for one in found] == [
        ("tiny", "mini", None)
    ] * 3
    rows = {one.language: one for one in found}
    # Ranks 8 and 64 at two precisions: half an item more on the average, of 40.
    english = rows["eng_Latn"]
    assert english.gain == pytest.approx(100 * (-4 + 0.5) / 40)
    assert (english.adapters, english.cells) == (4, 8)
    assert english.low is not None
    assert english.high is not None
    assert english.low < english.gain < english.high
    assert (english.trained_on, english.same_family, english.same_script) == (True, True, True)
    # One adapter of r 64 lacks one task there, and is left out.
    arabic = rows["arb_Arab"]
    assert arabic.gain == pytest.approx(100 * (2 + 1 / 3) / 40)
    assert (arabic.adapters, arabic.cells) == (3, 6)
    assert (arabic.trained_on, arabic.same_family, arabic.same_script) == (False, False, False)
    swahili = rows["swh_Latn"]
    assert (swahili.trained_on, swahili.same_family, swahili.same_script) == (False, False, True)
    assert swahili.word_fertility is swahili.byte_fertility is None
    assert swahili.replicates.mean() == pytest.approx(swahili.gain, abs=0.5)


def test_the_table_has_the_rows(observed: Observed) -> None:
    found = transfer_table.rows(observed, frame(PROMPTS, []))
    table = transfer_table.table(found)
    assert table["gain"].to_list() == [one.gain for one in found]
    assert table["word_fertility"].null_count() == 3
    assert transfer_table.table([]).height == 0


def test_fertility_is_relative_to_english_of_the_same_task(observed: Observed) -> None:
    prompts = frame(
        PROMPTS,
        [
            prompt("xcopa", "eng_Latn", 100, 100, 400),
            prompt("xcopa", "swh_Latn", 150, 100, 300),
            prompt("xquad", "eng_Latn", 100, 50, 400),
            prompt("xquad", "swh_Latn", 500, 100, 500),
            # Passages in another language than the questions tell of neither.
            prompt("xquad", "swh_Latn.arb_Arab", 9000, 100, 500),
            # No English beside it.
            prompt("belebele", "swh_Latn", 9000, 100, 500),
            prompt("belebele", "arb_Arab", 9000, 100, 500),
        ],
    )
    rows = {one.language: one for one in transfer_table.rows(observed, prompts)}
    assert rows["eng_Latn"].word_fertility == 1.0
    assert rows["swh_Latn"].word_fertility == pytest.approx((1.5 + 2.5) / 2)
    assert rows["swh_Latn"].byte_fertility == pytest.approx((2.0 + 4.0) / 2)
    assert rows["arb_Arab"].word_fertility is None


def test_adapters_from_elsewhere_and_studies_without_any(fake: Fake) -> None:
    found = results(fake.plan, blocks(fake.store, fake.plan))
    untuned = {name: cell for name, cell in fake.plan.train.items() if cell.method == "none"}
    alone = {name: cell for name, cell in fake.plan.evals.items() if cell.train_id in untuned}
    scores = {name: cell for name, cell in fake.plan.scores.items() if cell.eval_id in alone}
    plan = fake.plan.model_copy(update={"train": untuned, "evals": alone, "scores": scores})
    assert transfer_table.rows(Observed(plan, found), pl.DataFrame()) == []


def test_adapters_that_lack_different_units_are_not_averaged(fake: Fake) -> None:
    found = results(fake.plan, blocks(fake.store, fake.plan))
    means = Observed(fake.plan, found).gains_of_adapters(lambda one: True)
    assert means is not None
    # Two of four are whole: the others lack a unit each, and not the same.
    assert (len(means.adapters), means.units, means.left_out) == (2, 6, 2)
    some = Observed(fake.plan, found).gains_of_adapters(
        lambda one: (one.unit[0].task, one.unit[1]) != ("xcopa", "eng_Latn") and one.adapter[1] == 4
    )
    assert some is not None
    assert (len(some.adapters), some.units) == (1, 5)


def test_of_equally_large_sets_the_commonest_counts(tmp_path: Path) -> None:
    fake = filled(tmp_path, scorer, items=8)
    observed = Observed(fake.plan, results(fake.plan, blocks(fake.store, fake.plan)))
    lacking = [one for one in observed.compared() if one.adapter[1] == 16 and one.cell.r == 8]
    assert len(lacking) == 5
    kept = [one for one in observed.compared() if one.unit in {own.unit for own in lacking}]
    whole, left_out = complete(kept)
    assert {len(found) for found in whole.values()} == {5}
    assert (len(whole), left_out) == (3, 1)
