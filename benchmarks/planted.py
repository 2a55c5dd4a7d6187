"""Scores with effects that somebody planted: what an analysis should find, and nothing else.

The model. A cell k has a level p[k], the expected score of an item: the untuned base's level in
that language plus what was planted for the adapter (`Effects`), its own luck included. An item's
luck is a standard normal number, the sum of its difficulty (the same in all languages and cells),
its passage's, its translation's (the same in all cells), its own with each base, and chance, with
the variances of `SHARES`. Choices are right where the luck is below the quantile of p[k]. Written
answers turn the luck into a uniform number u by the normal distribution function and score

    most * clip((1.5 q - u) / q, 0, 1),   q = p[k] / most

which is `most` for a share q / 2 of the items, 0 for a share 1 - 1.5 q, evenly spread between.
Either way the expected score is p[k] over all items that could have been drawn: exactly for
choices, within 1e-8 for written answers (the distribution function is interpolated). No level is
clipped; those at which this would not hold are refused. Shared luck makes scores correlate.

Letters in shapes: n items, k cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from maple.languages import ENGLISH, LANGUAGES
from maple.records import TrainCell

Floats = npt.NDArray[np.float64]

SHARES = {"item": 0.30, "passage": 0.15, "translation": 0.15, "base": 0.10, "chance": 0.30}
"""Variance of an item's luck by where it comes from; they sum to 1."""

_LOW_CLASSES = range(4)
_BEST_LEVEL = 0.98
_GRID = np.linspace(-8.0, 8.0, 40001)
_CDF = np.array([NormalDist().cdf(value) for value in _GRID])


@dataclass(frozen=True, slots=True)
class Effects:
    """What is planted, in points (hundredths of a score); all 0 for a study without any effect.

    The untuned base has none of them. An adapter's expected delta to it is the sum of what applies:

    Attributes:
        english: in English, whether trained on or not.
        trained: in other languages that were trained on.
        untrained: in languages that were not.
        same_family, same_script: on top of `untrained` where a language that was trained on is of
            the same family, or in the same script.
        rank_low, rank_high: per doubling of r, in languages of resource classes 0 to 3 and 4 to 5,
            English among these. Counted from the mean of the logarithms of the study's ranks, so
            that they add nothing to the mean over them.
        bits_low, bits_high: likewise, per doubling of bits.
        sources: by training source.
        adapter_sd: standard deviation of an adapter's own luck, the same in all tasks and
            languages: what another seed would change.
        language_sd: standard deviation of an adapter's luck with each task and language.
    """

    english: float = 0.0
    trained: float = 0.0
    untrained: float = 0.0
    same_family: float = 0.0
    same_script: float = 0.0
    rank_low: float = 0.0
    rank_high: float = 0.0
    bits_low: float = 0.0
    bits_high: float = 0.0
    sources: Mapping[str, float] = field(default_factory=dict)
    adapter_sd: float = 0.0
    language_sd: float = 0.0

    def delta(self, cell: TrainCell, key: str, ranks: Sequence[int], bits: Sequence[int]) -> float:
        """Expected delta of an adapter to its untuned base in a language, points; its luck apart.

        Args:
            cell: of the adapter; 0 for the untuned base.
            key: of the language.
            ranks, bits: all of the study.
        """
        if cell.method == "none":
            return 0.0
        spoken = LANGUAGES[key]
        is_low = spoken.resource_class in _LOW_CLASSES
        rank = self.rank_low if is_low else self.rank_high
        precision = self.bits_low if is_low else self.bits_high
        return (
            self._transfer(key, cell.languages or ())
            + self.sources.get(cell.source or "", 0.0)
            + rank * _doublings(cell.r, ranks)
            + precision * _doublings(cell.train_bits, bits)
        )

    def _transfer(self, key: str, trained: Sequence[str]) -> float:
        if key == ENGLISH:
            return self.english
        if key in trained:
            return self.trained
        spoken, others = LANGUAGES[key], [LANGUAGES[other] for other in trained]
        delta = self.untrained
        if any(other.family == spoken.family for other in others):
            delta += self.same_family
        if any(other.script == spoken.script for other in others):
            delta += self.same_script
        return delta


@dataclass(frozen=True, slots=True)
class Luck:
    """Standard normal numbers that the cells of a task share, [n] each, by `SHARES`."""

    item: Floats
    passage: Floats


def scores(
    levels: Floats,
    bases: Sequence[int],
    luck: Luck,
    generator: np.random.Generator,
    most: float | None,
) -> Floats:
    """Scores of the items of one language.

    Args:
        levels: expected score of each cell, [k].
        bases: number of each cell's base, k of them.
        luck: of the items in every language.
        generator: of what is this language's and these cells' own.
        most: highest score of a written answer; None for choices.

    Returns:
        Shape [k, n], 0 to 1.

    Raises:
        ValueError: a level at which the expected score would not be that level.
    """
    highest = _BEST_LEVEL if most is None else most * 2 / 3
    if not (levels.min() > 1 - _BEST_LEVEL and levels.max() < highest):
        raise ValueError(
            f"levels: got {levels.min():.3f} to {levels.max():.3f}, expected above "
            f"{1 - _BEST_LEVEL:.2f} and below {highest:.3f}: the effects are too large"
        )
    items = len(luck.item)
    part = {name: math.sqrt(share) for name, share in SHARES.items()}
    shared = part["item"] * luck.item + part["passage"] * luck.passage
    shared += part["translation"] * generator.standard_normal(items)
    own = part["base"] * generator.standard_normal((max(bases) + 1, items))
    drawn = part["chance"] * generator.standard_normal((len(levels), items))
    drawn += shared + own[list(bases)]
    if most is None:
        quantile = NormalDist().inv_cdf
        return (drawn < np.array([[quantile(level)] for level in levels])).astype(np.float64)
    uniform = np.interp(drawn, _GRID, _CDF)
    q = levels[:, None] / most
    return most * np.clip((1.5 * q - uniform) / q, 0.0, 1.0)


def _doublings(value: int | None, values: Sequence[int]) -> float:
    """How many doublings lie between the middle of `values` and `value`."""
    middle = sum(map(math.log2, values)) / len(values)
    return math.log2(value) - middle if value is not None else 0.0
