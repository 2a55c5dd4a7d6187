"""What decides a language's gain, and where rank stops paying: planted, and found again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from generated_store import generate
from maple.analysis.blocks import Block, blocks
from maple.analysis.mixed import independent
from maple.analysis.observed import HIGH, LOW, Means, Observed
from maple.analysis.plateau import Bend, bend
from maple.analysis.results import results
from maple.analysis.slopes import RANK, ItemSlopes, Slopes, item_slopes, slopes
from maple.analysis.transfer import FAMILY, FERTILITY, SCRIPT, TRAINED, Transfer, transfer
from maple.records import TrainCell
from planted import Effects

LANGUAGES = (
    *("eng_Latn", "deu_Latn", "fra_Latn", "spa_Latn", "ita_Latn", "fin_Latn", "hun_Latn"),
    *("est_Latn", "rus_Cyrl", "ukr_Cyrl", "arb_Arab", "heb_Hebr", "amh_Ethi", "som_Latn"),
    *("swh_Latn", "yor_Latn", "zul_Latn", "ind_Latn", "tgl_Latn", "tam_Taml", "tel_Telu"),
)
SOURCES = {
    "west": ("deu_Latn", "fra_Latn", "swh_Latn"),
    "east": ("rus_Cyrl", "arb_Arab", "ind_Latn"),
}


def studied(
    root: Path, effects: Effects, items: int, tasks: tuple[str, ...] = ("xcopa",)
) -> tuple[Observed, tuple[Block, ...]]:
    """Eight adapters: two training sets, two ranks, two seeds."""
    store = generate(
        root,
        bases=("base-a",),
        sources=SOURCES,
        ranks=(8, 64),
        bits=(16,),
        seeds=(0, 1),
        tasks=tasks,
        languages=LANGUAGES,
        items=items,
        effects=effects,
    )
    plan = store.plan()
    assert plan is not None
    scored = blocks(store, plan)
    return Observed(plan, results(plan, scored, resamples=200)), scored


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Observed:
    effects = Effects(english=-4.0, trained=9.0, untrained=1.0, same_family=4.0)
    return studied(tmp_path_factory.mktemp("transfer"), effects, 300)[0]


def prompts(observed: Observed, tokens: dict[str, int]) -> pl.DataFrame:
    tokenizer = observed.all[0].cell.tokenizer
    rows = [
        {"tokenizer": tokenizer, "task": "xcopa", "prompt": "native", "language": key}
        | {"items": 10, "tokens": tokens.get(key, 200)}
        for key in LANGUAGES
    ]
    return pl.DataFrame(rows)


def test_planted_transfer_is_recovered(observed: Observed) -> None:
    found = transfer(observed, None)
    assert isinstance(found, Transfer)
    assert (found.adapters, found.languages) == (8, 20)
    planted = {TRAINED: 8.0, FAMILY: 4.0, SCRIPT: 0.0}
    assert found.effects.keys() == planted.keys()
    for name, truth in planted.items():
        low, high = found.effects[name].interval()
        assert low < truth < high
        assert high - low < 6


def test_tokens_are_a_covariate_where_they_are_known(observed: Observed) -> None:
    found = transfer(
        observed, prompts(observed, {"amh_Ethi": 900, "tam_Taml": 500, "eng_Latn": 100})
    )
    assert isinstance(found, Transfer)
    low, high = found.effects[FERTILITY].interval()
    assert low < 0 < high
    # The same number in every language tells nothing.
    level = transfer(observed, prompts(observed, {}))
    assert isinstance(level, Transfer)
    assert FERTILITY not in level.effects


def test_what_a_study_cannot_tell_is_left_out(observed: Observed) -> None:
    base = observed.all
    observed_few = object.__new__(Observed)
    observed_few.plan, observed_few.panel = observed.plan, observed.panel
    observed_few.all = tuple(one for one in base if one.language.key in {"deu_Latn", "fra_Latn"})
    assert "too few" in str(transfer(observed_few, None))
    observed_few.all = ()
    assert "no adapter" in str(transfer(observed_few, None))


def test_columns_that_others_determine_are_told() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=12), rng.normal(size=12)
    strata = ["a", "b"] * 6
    of_stratum = np.array([1.0, 3.0] * 6)
    columns = np.column_stack([of_stratum, first, second, 2 * first - second + of_stratum])
    assert independent(columns, strata) == [1, 2]


def line(ranks: tuple[int, ...], gains: dict[int, float], noise: float, seeds: int = 4) -> Means:
    rng = np.random.default_rng(1)
    cells = [
        TrainCell("base", "b", "t", "lora", source="s", r=r, train_bits=16, seed=seed)
        for r in ranks
        for seed in range(seeds)
    ]
    values = np.array([gains[cell.r or 0] for cell in cells]) + rng.normal(0, noise, len(cells))
    drawn = values[:, None] + rng.normal(0, 0.1, (1, 400))
    return Means(
        tuple((f"{cell.r}-{cell.seed}", 16) for cell in cells),
        tuple(cells),
        values,
        drawn.astype(np.float32),
        100.0,
        1,
        0,
    )


def test_a_bend_is_found_with_its_slopes() -> None:
    ranks = (8, 16, 32, 64, 128, 256, 512)
    gains = {8: 0.0, 16: 1.0, 32: 2.0, 64: 3.0, 128: 4.0, 256: 3.0, 512: 2.0}
    found = bend(line(ranks, gains, 0.2))
    assert isinstance(found, Bend)
    assert found.at == 128
    assert (found.low, found.high) == (128, 128)
    assert found.before.value == pytest.approx(1.0, abs=0.1)
    assert found.after.value == pytest.approx(-1.0, abs=0.15)
    assert found.after.interval()[1] < 0


def test_a_straight_line_has_no_bend_to_speak_of() -> None:
    ranks = (8, 16, 32, 64, 128, 256)
    found = bend(line(ranks, {r: float(np.log2(r)) for r in ranks}, 0.5))
    assert isinstance(found, Bend)
    low, high = found.after.interval()
    assert low < 1.0 < high
    assert low > 0
    assert found.low < found.high


def test_few_ranks_or_adapters_have_no_bend() -> None:
    assert "four ranks" in str(bend(line((8, 16, 32), {8: 0, 16: 1, 32: 2}, 0.1)))
    flat = {8: 0.0, 16: 1.0, 32: 2.0, 64: 3.0}
    assert "too few adapters" in str(bend(line((8, 16, 32, 64), flat, 0.1, seeds=1)))


def test_gains_of_adapters_are_over_the_same_units(observed: Observed) -> None:
    means = observed.gains_of_adapters(lambda one: one.group == LOW)
    assert means is not None
    assert len(means.adapters) == 8
    assert means.left_out == 0
    hidden = observed.all
    try:
        victim = hidden[-1].adapter
        observed.all = tuple(
            one for one in hidden if one.adapter != victim or one.language.key != "swh_Latn"
        )
        fewer = observed.gains_of_adapters(lambda one: one.group == LOW)
        assert fewer is not None
        assert (len(fewer.adapters), fewer.left_out) == (7, 1)
    finally:
        observed.all = hidden


def test_where_nothing_was_asked_there_is_no_mean(observed: Observed) -> None:
    assert observed.gains_of_adapters(lambda one: one.language.key == "xxx") is None


def test_single_answers_tell_the_slope_of_cell_means(tmp_path: Path) -> None:
    found, scored = studied(tmp_path, Effects(rank_low=3.0), 100)
    single = item_slopes(found, found.all, lambda one: one.group, scored)
    assert isinstance(single, ItemSlopes)
    # 21 languages: 300 items are 14 of each, of 8 adapters.
    assert (single.answers, single.items, single.subsets) == (8 * 21 * 14, 14, 21)
    means = slopes(found, found.all, lambda one: one.group)
    assert isinstance(means, Slopes)
    # The same slope: fewer items, so a wider interval, which holds the other and what was planted.
    own, other = single.slopes.effects[RANK, LOW], means.effects[RANK, LOW]
    low, high = own.interval()
    assert low < other.value < high
    assert low < 3.0 < high
    assert own.error > other.error


def test_a_task_of_other_languages_leaves_a_groups_slope_alone(tmp_path: Path) -> None:
    found, _ = studied(tmp_path, Effects(), 40, ("xcopa", "xquad"))
    # XQuAD in high-resource languages alone, as its release has it but for a few.
    kept = [one for one in found.all if one.unit[0].task == "xcopa" or one.group != LOW]
    alone = slopes(found, [one for one in kept if one.group == LOW], lambda one: one.group)
    before = slopes(found, kept, lambda one: one.group)
    for one in kept:
        if one.unit[0].task == "xquad":
            found.panel.values[one.row] -= 0.05 * np.log2(one.cell.r or 1)
    after = slopes(found, kept, lambda one: one.group)
    assert isinstance(alone, Slopes)
    assert isinstance(before, Slopes)
    assert isinstance(after, Slopes)
    low, high = (RANK, LOW), (RANK, HIGH)
    assert after.effects[low].value == pytest.approx(before.effects[low].value, abs=0.05)
    assert after.effects[low].value == pytest.approx(alone.effects[low].value, abs=0.2)
    # Half of the high-resource languages' tasks fell by 5 points a doubling.
    moved = after.effects[high].value - before.effects[high].value
    assert moved == pytest.approx(-2.5, abs=0.05)
