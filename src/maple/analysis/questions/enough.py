"""How much is enough: whether fewer bits do as well, and where more rank stops paying."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import polars as pl

from maple.analysis.effects import MARGIN
from maple.analysis.findings import Part
from maple.analysis.observed import HIGH, IN_ENGLISH, LOW, Means, Observation, arm
from maple.analysis.plateau import bend
from maple.analysis.questions.cases import DOUBLING, Case, known, parts
from maple.analysis.questions.evidence import Evidence
from maple.analysis.questions.matched import Beside, matched
from maple.analysis.significance import bonferroni

_ALL = "all languages"

_PAPERS_LAST = 128
"""The highest rank of the paper."""


def fewer_bits(evidence: Evidence) -> Iterator[Case]:
    """Whether fewer bits are as good as the most, for each precision."""
    bits = sorted({one.adapter[1] for one in evidence.ranked})
    for fewer in bits[:-1]:
        yield _equivalent(evidence, fewer, bits[-1])


def _equivalent(evidence: Evidence, fewer: int, most: int) -> Case:
    case = Case(
        f"{fewer} bits",
        f"{fewer} bits are within {MARGIN:g} point of {most}.",
        f"score in {fewer} bits minus score in {most}, adapters alike beside, mean over languages",
    )
    if evidence.no_bits:
        return dataclasses.replace(case, missing=evidence.no_bits)
    groups = (
        (_ALL, (LOW, HIGH, IN_ENGLISH)),
        (LOW, (LOW,)),
        (HIGH, (HIGH,)),
        (IN_ENGLISH, (IN_ENGLISH,)),
    )
    effects = known(
        (
            name,
            matched(
                evidence.observed,
                [one for one in evidence.whole if one.group in wanted],
                lambda cell: cell.train_bits == fewer,
                lambda cell: cell.train_bits == most,
                _beside_bits,
            ),
        )
        for name, wanted in groups
    )
    effect = dict(effects).get(_ALL)
    if effect is None:
        return dataclasses.replace(
            case, missing="no adapters differ in their bits and nothing else"
        )
    return dataclasses.replace(
        case,
        effect=effect,
        right=effect.within(),
        wrong=bonferroni(min(effect.above(MARGIN), effect.below(-MARGIN))),
        parts=parts(effects),
    )


def plateau(evidence: Evidence) -> Case:
    """Where more rank stops paying, in studies that go beyond the paper's ranks."""
    case = Case(
        "plateau",
        f"Beyond r = {_PAPERS_LAST} gains in low-resource languages level off or reverse.",
        "slope over r behind the bend of a line with one bend, low-resource languages",
        DOUBLING,
    )
    means = evidence.observed.gains_of_adapters(lambda one: one.group == LOW and bool(one.cell.r))
    if means is None:
        asked = "no low-resource language was asked"
        return dataclasses.replace(case, missing=evidence.no_base or asked)
    losses = tuple(_held_out_losses(evidence.held_out, means))
    found = bend(means)
    if isinstance(found, str):
        return dataclasses.replace(case, missing=found, parts=losses)
    slopes = (
        (f"before r = {found.at}", found.before),
        (f"behind r = {found.at}", found.after),
    )
    case = dataclasses.replace(
        case,
        effect=found.after,
        parts=(*parts(slopes, DOUBLING), *losses),
        note=f"The bend is at r = {found.at}, between {found.low} and {found.high} in 95 %.",
    )
    if found.ranks[-1] <= _PAPERS_LAST:
        return dataclasses.replace(case, missing=f"no adapter has a rank beyond {_PAPERS_LAST}")
    margin = float(MARGIN / np.log2(found.ranks[-1] / found.at))
    return dataclasses.replace(
        case,
        right=bonferroni(found.after.below(margin)),
        wrong=bonferroni(found.after.above()),
        note=f"{case.note} Levelling off: below {margin:.2g} a doubling, which is {MARGIN:g} point "
        "over the ranks behind the bend.",
    )


def _held_out_losses(held_out: pl.DataFrame | None, means: Means) -> Iterator[Part]:
    """Held-out loss in the languages trained on, by rank, beside what they gained."""
    if held_out is None or held_out.is_empty():
        return
    names = [name for name, _ in means.adapters]
    own = held_out.filter(pl.col("train_id").is_in(names) & pl.col("trained_on"))
    each = own.group_by("r").agg(pl.col("after").mean()).sort("r")
    for r, loss in each.iter_rows():
        yield Part(f"held-out loss, r = {r}", loss, None, None, None, "nats a labelled token")


def _beside_bits(one: Observation) -> Beside:
    return Beside(one.cell.r, None, arm(one.cell), one.cell.seed)
