"""Coverage of the intervals and error rates of the corrected tests, by simulation on this design.

Items share passages of 1 to 8 questions, right or wrong by a latent normal number whose variance
is 0.3 the passage's. Each simulation draws new passages; their sizes are fixed, as a benchmark's
are. All simulations of a case share one matrix of weights, as the cells of a benchmark do.

The truth. A score is 1 where its latent number, standard normal, is below a border, so that the
mean over all items that could be drawn is the normal distribution function of the border: of the
mean, of either side of a difference, and of each language of a macro mean. An F1-like score is
clip(1.5 u', 0, 1) of the number's distribution value u', uniform: its mean is 2/3, by integration
of 1.5 u over u < 2/3 (1/3) plus 1/3 at 1.

Letters in shapes: s simulations, n items, c clusters, b resamples, k languages.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import norm

from maple.analysis.blocks import Block
from maple.analysis.estimates import (
    DIFFERENCE,
    SCORE,
    Floats,
    draw,
    effective,
    intervals,
    mean,
    paired_difference,
)
from maple.analysis.resampling import macro
from maple.analysis.results import Results, results
from maple.records import BaseModel, EvalCell, ScoreCell, TrainCell
from maple.store import PlanFile
from maple.study.identity import eval_id, score_id, train_id

PASSAGE = 0.3
"""Share of the variance of an item's luck that its passage has."""

LANGUAGES = ("deu_Latn", "fra_Latn", "spa_Latn", "ita_Latn", "por_Latn")

Rng = np.random.Generator
Totals = Callable[[Rng, int, "Design"], Floats]


class Design:
    """Passages of a benchmark: c of 1 to 8 questions each, always the same."""

    def __init__(self, clusters: int) -> None:
        self.count = clusters
        self.sizes = np.arange(clusters) % 8 + 1
        self.positions = np.repeat(np.arange(clusters), self.sizes)
        self.names = [f"p{place:03d}" for place in self.positions]

    def luck(self, rng: Rng, simulations: int) -> Floats:
        """Standard normal numbers that share what a passage has, [s, n]."""
        shared = rng.standard_normal((simulations, self.count))[:, self.positions]
        own = rng.standard_normal(shared.shape)
        return np.asarray(PASSAGE**0.5 * shared + (1 - PASSAGE) ** 0.5 * own)


def right(rng: Rng, simulations: int, design: Design) -> Floats:
    """Right or wrong, half of them right."""
    return (design.luck(rng, simulations) < 0).astype(np.float64)


def pairs(rng: Rng, simulations: int, design: Design) -> tuple[Floats, Floats]:
    """A tuned model and its base that share 0.6 of an item's luck; 0.55 and 0.5 are right."""
    shared = design.luck(rng, simulations)
    sides = [0.6**0.5 * shared + 0.4**0.5 * rng.standard_normal(shared.shape) for _ in range(2)]
    tuned, base = sides[0] < norm.ppf(0.55), sides[1] < 0
    return tuned.astype(np.float64), base.astype(np.float64)


def difference(rng: Rng, simulations: int, design: Design) -> Floats:
    tuned, base = pairs(rng, simulations, design)
    return tuned - base


def f1(rng: Rng, simulations: int, design: Design) -> Floats:
    return np.asarray(np.clip(1.5 * norm.cdf(design.luck(rng, simulations)), 0, 1))


def languages(rng: Rng, simulations: int, design: Design) -> Floats:
    """Five languages that share passages and half of their luck; 0.4 to 0.6 right, [s, n, k]."""
    shared = design.luck(rng, simulations)[:, :, None]
    own = rng.standard_normal((*shared.shape[:2], len(LANGUAGES)))
    luck = 0.5**0.5 * shared + 0.5**0.5 * own
    return (luck < norm.ppf([0.4, 0.45, 0.5, 0.55, 0.6])).astype(np.float64)


def five(rng: Rng, simulations: int, design: Design) -> Floats:
    """The mean over the languages, whose items are the same number in each passage."""
    return np.asarray(languages(rng, simulations, design).mean(axis=2))


CASES: dict[str, tuple[Callable[[Rng, int, Design], Floats], float, tuple[float, float]]] = {
    "right-or-wrong": (right, 0.5, SCORE),
    "difference": (difference, 0.05, DIFFERENCE),
    "f1": (f1, 2 / 3, SCORE),
    "macro": (five, 0.5, SCORE),
}


def ends(scores: Floats, design: Design, resamples: int, bounds: tuple[float, float]) -> Floats:
    """Low and high ends of the means of many simulations, [2, s]."""
    totals = np.add.reduceat(scores, np.flatnonzero(np.diff(design.positions, prepend=-1)), axis=1)
    weights = draw(design.count, resamples, 0).astype(np.float32)
    sizes = design.sizes.astype(np.float64)
    drawn = (totals.astype(np.float32) @ weights.T) / (weights @ sizes.astype(np.float32))
    groups = np.full(len(scores), effective(sizes))
    return np.stack(intervals(scores.mean(axis=1), drawn, groups, bounds=bounds))


def coverage(case: str, clusters: int, simulations: int, resamples: int) -> float:
    drawn, truth, bounds = CASES[case]
    design, rng = Design(clusters), np.random.default_rng([clusters, len(case)])
    covered, at_once = 0, 500
    for _ in range(simulations // at_once):
        low, high = ends(drawn(rng, at_once, design), design, resamples, bounds)
        covered += int(((low <= truth) & (truth <= high)).sum())
    return covered / simulations


@pytest.mark.parametrize("clusters", [10, 20, 48])
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_what_they_claim(case: str, clusters: int) -> None:
    # Monte Carlo error 0.5 %: four of them to either border.
    assert 0.93 <= coverage(case, clusters, 2000, 400) <= 0.97


@pytest.mark.full
@pytest.mark.parametrize("clusters", [10, 20, 48, 240])
@pytest.mark.parametrize("case", CASES)
def test_intervals_cover_what_they_claim_with_all_resamples(case: str, clusters: int) -> None:
    assert 0.93 <= coverage(case, clusters, 8000, 2000) <= 0.97


def planned(adapters: int, keys: tuple[str, ...]) -> PlanFile:
    """An untuned base and adapters that differ in their seed, asked XQuAD."""
    cells = [TrainCell("tiny", "sha256:aa", "sha256:bb", "none")]
    cells += [
        dataclasses.replace(cells[0], method="lora", source="mini", r=8, train_bits=16, seed=seed)
        for seed in range(adapters)
    ]
    train = {train_id(cell): cell for cell in cells}
    asked = [
        EvalCell(
            train_id=name,
            eval_bits=16,
            engine="builtin",
            compute_dtype="bfloat16",
            task="xquad",
            dataset="mini",
            subset=key,
            items=f"sha256:{key}",
            prompt="native",
            prompt_hash="sha256:cc",
            n_shot=0,
            exemplar_pool=None,
            exemplar_seed=None,
            decoding="greedy",
            max_new_tokens=32,
            truncation="refuse",
        )
        for key in keys
        for name in train
    ]
    evals = {eval_id(cell): cell for cell in asked}
    scored = [ScoreCell(name, "f1", 1, "") for name in evals]
    return PlanFile(
        identity_version=1,
        maple="0.1.0",
        created="2025-11-03T09:00:00Z",
        study={},
        bases=(BaseModel("tiny", "sha256:aa", "sha256:bb", None, ""),),
        limit=None,
        train=train,
        evals=evals,
        scores={score_id(cell): cell for cell in scored},
        primary_metrics={"xquad": "f1"},
        languages={f"xquad/{key}": key for key in keys},
        notes=(),
    )


def estimated(plan: PlanFile, scores: Floats, design: Design, resamples: int) -> Results:
    """The study's results.

    Args:
        scores: of the untuned base and the adapters, each language after the other, [k, a + 1, n].
    """
    cells = iter(plan.evals.items())
    found = []
    for of_language in scores:
        asked = [next(cells) for _ in of_language]
        items = len(design.names)
        found.append(
            Block(
                task="xquad",
                subset=asked[0][1].subset,
                items=asked[0][1].items,
                metric="f1",
                version=1,
                eval_ids=tuple(name for name, _ in asked),
                example_ids=tuple(f"q{item}" for item in range(items)),
                cluster_ids=tuple(design.names),
                n_choices=np.zeros(items, dtype=np.int64),
                scores=of_language,
                answered=np.full(len(of_language), items),
            )
        )
    return results(plan, found, resamples)


def test_the_functions_of_one_quantity_give_the_same_intervals() -> None:
    design, rng = Design(20), np.random.default_rng(1)
    for case, (drawn, _, bounds) in CASES.items():
        scores = drawn(rng, 3, design)
        low, high = ends(scores, design, 300, bounds)
        for place, own in enumerate(scores):
            one = mean(own, design.names, resamples=300, bounds=bounds)
            assert (one.low, one.high) == pytest.approx((low[place], high[place]), abs=1e-6), case
    tuned, base = (side[0] for side in pairs(rng, 1, design))
    low, high = ends((tuned - base)[None], design, 300, DIFFERENCE)
    one = paired_difference(tuned, base, design.names, resamples=300)
    assert (one.low, one.high) == pytest.approx((low[0], high[0]), abs=1e-6)
    each = languages(rng, 1, design)[0].T
    low, high = ends(each.mean(axis=0)[None], design, 300, SCORE)
    one = macro([(own, design.names) for own in each], resamples=300)
    assert (one.low, one.high) == pytest.approx((low[0], high[0]), abs=1e-6)


def test_results_of_a_study_give_the_same_intervals() -> None:
    design, rng = Design(20), np.random.default_rng(2)
    each = languages(rng, 3, design).transpose(2, 0, 1)
    plan = planned(2, LANGUAGES)
    found = estimated(plan, each, design, 300)
    cells = iter(found.cells.values())
    for of_language in each:
        low, high = ends(of_language, design, 300, SCORE)
        for place in range(3):
            score = next(cells).score
            assert (score.low, score.high) == pytest.approx((low[place], high[place]), abs=1e-6)
    low, high = ends(each.mean(axis=0), design, 300, SCORE)
    deltas = (each[:, 1:] - each[:, :1]).mean(axis=0)
    low_delta, high_delta = ends(deltas, design, 300, DIFFERENCE)
    for place, row in enumerate(found.macros):
        assert (row.score.low, row.score.high) == pytest.approx((low[place], high[place]), abs=1e-6)
        if row.delta is not None:
            known = low_delta[place - 1], high_delta[place - 1]
            assert (row.delta.low, row.delta.high) == pytest.approx(known, abs=1e-6)
    assert [row.delta is None for row in found.macros] == [True, False, False]


def answered(rng: Rng, design: Design, shares: Floats) -> Floats:
    """Right or wrong by the shares expected, [k, a + 1]; all share half of an item's luck."""
    shared = design.luck(rng, 1)
    own = rng.standard_normal((*shares.shape, shared.shape[1]))
    return ((0.5**0.5 * (shared + own)) < norm.ppf(shares)[:, :, None]).astype(np.float64)


@pytest.mark.full
def test_the_family_of_adapters_errs_as_a_whole_in_one_study_of_twenty() -> None:
    """Twelve adapters, none of which differs from its base."""
    design, rng, studies, wrong = Design(30), np.random.default_rng(3), 600, 0
    plan = planned(12, LANGUAGES[:3])
    for _ in range(studies):
        found = estimated(plan, answered(rng, design, np.full((3, 13), 0.5)), design, 50)
        corrected = [row.adjusted for row in found.macros if row.adjusted is not None]
        assert len(corrected) == 12
        wrong += min(corrected) < 0.05
    assert 0.005 < wrong / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


@pytest.mark.full
def test_one_in_twenty_discoveries_in_languages_is_false() -> None:
    """Twelve adapters in three languages; a third of the differences are there, 20 points."""
    design, rng, studies = Design(30), np.random.default_rng(4), 300
    plan = planned(12, LANGUAGES[:3])
    true = np.zeros((3, 13), dtype=bool)
    true[:, 1:5] = True
    rates, discovered = [], 0
    for _ in range(studies):
        scores = answered(rng, design, np.where(true, 0.7, 0.5))
        found = estimated(plan, scores, design, 50)
        corrected = [one.adjusted for one in found.cells.values()]
        # Cells come in the plan's order: language by language, the untuned base first.
        seen = np.array([p is not None and p < 0.05 for p in corrected]).reshape(3, 13)
        rates.append((seen & ~true).sum() / max(1, seen.sum()))
        discovered += int((seen & true).sum())
    error = np.std(rates) / studies**0.5
    assert np.mean(rates) <= 0.05 + 2 * error
    assert discovered > 0.5 * studies * true.sum()
