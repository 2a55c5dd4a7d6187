"""H6, H7 and H9: how much it matters what the instructions were made of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import numpy as np

from maple.analysis.effects import MARGIN, Effect, Variance, average
from maple.analysis.estimates import LEVEL, Floats
from maple.analysis.observed import complete, intended
from maple.analysis.questions.cases import SELECTED, Case, known, parts
from maple.analysis.questions.evidence import Evidence
from maple.analysis.questions.matched import (
    beside_data,
    data_of,
    left_out,
    matched,
    trained_here,
    trained_on,
)
from maple.analysis.significance import adjusted, bonferroni
from maple.languages import language


def sets_alike(evidence: Evidence) -> Case:
    """H6: whether training sets differ in any language."""
    case = Case(
        "H6",
        "The training sets perform alike, language by language.",
        "the largest difference between two training sets in one language",
    )
    compared = known(_pairs_of_sets(evidence))
    if not compared:
        return dataclasses.replace(
            case, missing="no two training sets share adapters that differ in nothing else"
        )
    ordered = sorted(compared, key=lambda one: -abs(one[1].value))
    label, largest = ordered[0]
    differing = adjusted([one.differs() for _, one in compared], "holm")
    number = sum(p < 1 - LEVEL for p in differing)
    return dataclasses.replace(
        case,
        effect=largest,
        right=max(one.within() for _, one in compared),
        wrong=min(differing),
        parts=parts(ordered),
        note=(
            f"The effect is {label}. Contrasts: {len(compared)}, of which {number} differ "
            f"after Holm's correction over them. Alike means within {MARGIN:g} point. "
            f"{SELECTED}"
        ),
    )


def more_languages(evidence: Evidence) -> Case:
    """H7: whether more languages in a training set of the same size help."""
    case = Case(
        "H7",
        "Twenty-two languages instead of eleven, at the same size, bring nothing.",
        "the training set of more languages minus the one of fewer, mean over languages",
    )
    compared = known(_nested_sets(evidence))
    if not compared:
        return dataclasses.replace(
            case,
            missing="no two training sets of about the same size where one has all languages "
            "of the other and more",
        )
    largest = max(compared, key=lambda one: one[1].value)
    gaining = adjusted([one.above() for _, one in compared], "holm")
    return dataclasses.replace(
        case,
        effect=largest[1],
        right=bonferroni(max(one.below(MARGIN) for _, one in compared)),
        wrong=bonferroni(min(gaining)),
        parts=parts(compared),
        note=f"The effect is {largest[0]}. Nothing means less than {MARGIN:g} point; a loss is "
        "nothing gained, too. Sets may differ in more than languages: who wrote or translated "
        "the instructions.",
    )


def base_matters_more(evidence: Evidence) -> Case:
    """H9: whether bases spread more than training sets."""
    case = Case(
        "H9",
        "The base model matters more than how the instructions were made.",
        "how far two bases are apart in the mean score minus how far two training sets are, "
        "mean over pairs",
    )
    observed = evidence.observed
    wanted = [one for one in trained_here(observed.all) if one.group is not None]
    bases = list(dict.fromkeys(one.cell.base_name for one in wanted))
    names = list(dict.fromkeys(data_of(one.cell) for one in wanted))
    if len(bases) < 2 or len(names) < 2:
        return dataclasses.replace(
            case, missing="it takes adapters of two base models and of two training sets"
        )
    kept, unfinished = complete(wanted)
    cells = [found[0].cell for found in kept.values()]
    scored = [observed.mean_points(found) for found in kept.values()]
    scores, drawn = np.array([own for own, _ in scored]), np.stack([own for _, own in scored])
    by_base = [[cell.base_name == base for cell in cells] for base in bases]
    by_data = [[data_of(cell) == name for cell in cells] for name in names]
    if not all(map(any, (*by_base, *by_data))):
        return dataclasses.replace(case, missing="a base or a training set is not finished")
    columns = intended(cells, [cell.train_bits for cell in cells])
    adapter = average(scores, drawn, observed.groups(wanted), columns).source("adapters")
    if adapter is None:
        return dataclasses.replace(case, missing="no adapter to spare to tell chance by")
    generator = np.random.default_rng(0)
    spread = (adapter.value * len(scores)) ** 0.5
    moved = drawn + generator.normal(0.0, spread, drawn.shape)
    seen = _apart(scores[:, None], by_base) - _apart(scores[:, None], by_data)
    resampled = _apart(moved, by_base) - _apart(moved, by_data)
    effect = Effect(
        float(seen[0]),
        (Variance("items and adapters", float(resampled.var(ddof=1)), adapter.freedom),),
        len(scores),
    )
    return dataclasses.replace(
        case,
        effect=effect,
        right=bonferroni(effect.above()),
        wrong=bonferroni(effect.below()),
        note=(
            f"{len(bases)} bases, {len(names)} training sets: these very ones, no others."
            f"{left_out(unfinished)}"
        ),
    )


def _pairs_of_sets(evidence: Evidence) -> Iterator[tuple[str, Effect | None]]:
    """Differences of two training sets, language by language, over matched adapters."""
    seen = trained_here(evidence.observed.all)
    names = dict.fromkeys(data_of(one.cell) for one in seen)
    keys = list(dict.fromkeys(one.language.key for one in seen))
    for first, second in combinations(names, 2):
        for key in keys:
            own = [one for one in seen if one.language.key == key]
            kinds = trained_on(first), trained_on(second)
            effect = matched(evidence.observed, own, *kinds, beside_data)
            yield f"{first} minus {second}, {language(key).name}", effect


def _nested_sets(evidence: Evidence) -> Iterator[tuple[str, Effect | None]]:
    """Differences of two training sets of one size, one of which has all languages of the other."""
    sets = {}
    for one in evidence.observed.all:
        if one.cell.languages:
            sets[data_of(one.cell)] = frozenset(one.cell.languages), one.cell.rows
    grouped = [one for one in evidence.observed.all if one.group is not None]
    for more, less in permutations(sets, 2):
        (many, size), (few, size_of_few) = sets[more], sets[less]
        if few < many and _same_size(size, size_of_few):
            kinds = trained_on(more), trained_on(less)
            effect = matched(evidence.observed, grouped, *kinds, beside_data)
            yield f"{more} ({len(many)} languages) minus {less} ({len(few)} languages)", effect


def _same_size(first: int | None, second: int | None) -> bool:
    """Within a twentieth of each other."""
    return (
        first is not None
        and second is not None
        and abs(first - second) <= 0.05 * max(first, second)
    )


def _apart(values: Floats, groups: Sequence[Sequence[bool]]) -> Floats:
    """How far the means of two groups are apart, mean over all pairs of groups, [b].

    Unlike their range, it does not grow with the number of groups.
    """
    means = [values[np.array(members)].mean(axis=0) for members in groups]
    gaps = np.stack([abs(one - other) for one, other in combinations(means, 2)])
    return np.asarray(gaps.mean(axis=0))
