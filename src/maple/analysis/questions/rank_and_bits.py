"""H1 to H3 and families: what a doubling of the rank, or of the bits, does to whom."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from maple.analysis.effects import MARGIN, Effect
from maple.analysis.findings import Part
from maple.analysis.observed import IN_ENGLISH, LOW, Observation
from maple.analysis.questions.cases import DOUBLING, SELECTED, Case, part, parts
from maple.analysis.questions.evidence import Evidence
from maple.analysis.significance import adjusted, bonferroni
from maple.analysis.slopes import BITS, RANK, ItemSlopes, Slopes, item_slopes, slopes


def low_resource(evidence: Evidence) -> Iterator[Case]:
    """H1 and H2: what rank and bits do for low-resource languages."""
    by_rank = slopes(evidence.observed, evidence.ranked, _not_english)
    of_items = _from_items(evidence, evidence.ranked, by_rank)
    by_bits, of_items_too = by_rank, of_items
    # Both questions are answered by one fit, unless a base says nothing about bits.
    if evidence.quantised:
        by_bits = evidence.slopes_of_bits(_not_english)
        of_items_too = _from_items(evidence, evidence.whole, by_bits)
    case = Case(
        "H1",
        "A higher rank helps low-resource languages.",
        "score a doubling of r, low-resource languages (classes 0 to 3)",
        DOUBLING,
    )
    case = _rising(case, by_rank, of_items, RANK)
    # Without lora_alpha a slope over r is half understood.
    yield case if case.missing else dataclasses.replace(case, note=case.note + _alpha(evidence))
    case = Case(
        "H2",
        "More bits help low-resource languages.",
        "score a doubling of the bits, low-resource languages (classes 0 to 3)",
        DOUBLING,
    )
    yield _rising(case, by_bits, of_items_too, BITS)


def english(evidence: Evidence) -> Case:
    """H3: both preserve English."""
    case = Case(
        "H3",
        "A higher rank and more bits preserve English.",
        "score in English a doubling of r; both slopes must rise",
        DOUBLING,
        note="English instruction following (AlpacaEval) is not among the tasks yet.",
    )

    def group(one: Observation) -> str | None:
        return IN_ENGLISH if one.group == IN_ENGLISH else None

    tried = (
        (RANK, slopes(evidence.observed, evidence.ranked, group, languages_vary=False)),
        (BITS, evidence.slopes_of_bits(group, languages_vary=False)),
    )
    lacking = [why for axis, found in tried if (why := _no_slope(found, axis, IN_ENGLISH))]
    shown = [
        (axis, found, found.effects[axis, IN_ENGLISH])
        for axis, found in tried
        if not isinstance(found, str) and (axis, IN_ENGLISH) in found.effects
    ]
    case = dataclasses.replace(
        case,
        effect=shown[0][2] if shown else None,
        parts=parts(((f"{axis}, English", effect) for axis, _, effect in shown), DOUBLING),
    )
    if lacking:
        return dataclasses.replace(case, missing="; ".join(dict.fromkeys(lacking)))
    rights = [bonferroni(effect.above()) for _, _, effect in shown]
    wrongs = [bonferroni(effect.below(_margin(found, axis))) for axis, found, effect in shown]
    # One part that is wrong is enough, so that either may be tried, at a price.
    return dataclasses.replace(case, right=max(rights), wrong=bonferroni(min(wrongs), len(wrongs)))


def families(evidence: Evidence) -> Case:
    """Whether families differ in their slopes over r."""
    case = Case(
        "families",
        "Language families differ in what a higher rank gives them.",
        "the largest slope over r of a family minus the smallest",
        DOUBLING,
    )
    found = slopes(evidence.observed, evidence.ranked, _family)
    missing = _no_slope(found, RANK, None)
    if missing or isinstance(found, str):
        return dataclasses.replace(case, missing=missing)
    by_family = _along(found, RANK)
    if len(by_family) < 2:
        return dataclasses.replace(case, missing="all languages asked are of one family")
    precise = evidence.slopes_of_bits(_family)
    of_bits = {} if isinstance(precise, str) else _along(precise, BITS)
    shown = [(f"rank, {name}", one) for name, one in by_family.items()]
    shown += [(f"bits, {name}", one) for name, one in of_bits.items()]
    pairs = [_difference(a, b) for a, b in combinations(by_family.values(), 2)]
    largest = max(pairs, key=lambda one: abs(one.value))
    return dataclasses.replace(
        case,
        effect=dataclasses.replace(largest, value=abs(largest.value)),
        right=min(adjusted([one.differs() for one in pairs], "holm")),
        parts=parts(sorted(shown, key=lambda one: (one[0][:4], -one[1].value)), DOUBLING),
        note="Families of one language stand on that language alone. Each is compared over the "
        f"tasks that it was asked in. {SELECTED}",
    )


def _rising(case: Case, found: Slopes | str, of_items: ItemSlopes | str, axis: str) -> Case:
    """A claim that the slope of low-resource languages is above 0."""
    missing = _no_slope(found, axis, LOW)
    if missing or isinstance(found, str):
        return dataclasses.replace(case, missing=missing)
    effect, margin = found.effects[axis, LOW], _margin(found, axis)
    shown = [(f"{axis}, {group}", one) for group, one in _along(found, axis).items()]
    return dataclasses.replace(
        case,
        effect=effect,
        right=bonferroni(effect.above()),
        wrong=bonferroni(effect.below(margin)),
        parts=(*parts(shown, DOUBLING), *_beside(of_items, axis)),
        note=(
            f"Counts as wrong below {margin:.2g} a doubling, which is "
            f"{MARGIN:g} point over the whole range ({_range(found, axis)}). "
            f"Adapters: {found.adapters}; languages: {found.languages}."
        ),
    )


def _from_items(
    evidence: Evidence, wanted: Sequence[Observation], found: Slopes | str
) -> ItemSlopes | str:
    """The slopes from single answers, where there are slopes and scores of items are at hand."""
    if isinstance(found, str) or not evidence.scored:
        return "nothing to fit"
    return item_slopes(evidence.observed, wanted, _not_english, evidence.scored)


def _beside(of_items: ItemSlopes | str, axis: str) -> Iterator[Part]:
    if isinstance(of_items, ItemSlopes) and (axis, LOW) in of_items.slopes.effects:
        yield part(
            f"{axis}, {LOW}, model of {of_items.answers:,} single answers (the first "
            f"{of_items.items} items of {of_items.subsets} subsets)",
            of_items.slopes.effects[axis, LOW],
            DOUBLING,
        )


def _alpha(evidence: Evidence) -> str:
    """How lora_alpha goes with r."""
    ratios = {
        one.cell.lora_alpha / one.cell.r
        for one in evidence.ranked
        if one.cell.lora_alpha and one.cell.r
    }
    if len(ratios) == 1:
        return f" lora_alpha = {ratios.pop():g}r."
    return " lora_alpha is no fixed multiple of r: the step size changes with the rank."


def _not_english(one: Observation) -> str | None:
    return None if one.group == IN_ENGLISH else one.group


def _family(one: Observation) -> str | None:
    return None if one.group == IN_ENGLISH or not one.natural else one.language.family


def _along(found: Slopes, axis: str) -> dict[str, Effect]:
    """The slopes over one axis, by group."""
    return {group: one for (name, group), one in found.effects.items() if name == axis}


def _difference(first: Effect, second: Effect) -> Effect:
    """Taken as independent, which is rather too wide than too narrow."""
    return Effect(
        first.value - second.value, (*first.variances, *second.variances), first.n + second.n
    )


def _no_slope(found: Slopes | str, axis: str, group: str | None) -> str:
    """Why there is no slope; "" where there is one."""
    if isinstance(found, str):
        return found
    if not _along(found, axis):
        return f"the study has one {'rank' if axis == RANK else 'precision'}"
    if group is not None and (axis, group) not in found.effects:
        return (
            f"no {group} language was asked"
            if group != LOW
            else "no low-resource language was asked"
        )
    return ""


def _levels(found: Slopes, axis: str) -> tuple[int, ...]:
    return found.ranks if axis == RANK else found.bits


def _margin(found: Slopes, axis: str) -> float:
    levels = _levels(found, axis)
    return float(MARGIN / np.log2(levels[-1] / levels[0]))


def _range(found: Slopes, axis: str) -> str:
    levels = _levels(found, axis)
    return f"{'r' if axis == RANK else 'bits'} {levels[0]} to {levels[-1]}"
