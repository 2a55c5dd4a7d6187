"""How small a difference a design can find, before anything runs.

A tuned model is compared with its untuned base on the same items, so what matters is how much the
difference of two answers varies from item to item. That is not known before the run: the figures
assumed here are stated with every result.

The formula is that of a paired t-test on cluster means (Card et al. 2020 on power in NLP; Kish's
design effect for clusters and for languages that share items).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from scipy.stats import t

LEVEL, POWER = 0.95, 0.8
"""Of the intervals, and the probability with which the effect shall be found."""

CHANGED = 0.2
"""Assumed share of items of choice tasks that one of two models gets right and the other wrong."""

SPREAD = 0.35
"""Assumed standard deviation of the difference of two F1 or ROUGE scores of one item, 0 to 1."""

WITHIN = 0.1
"""Assumed correlation of the differences of two items that share a passage."""

ACROSS = 0.1
"""Assumed correlation of the differences of one item in two languages."""

ASSUMED = (
    f"Detectable: the smallest true difference to the untuned base that an interval of "
    f"{100 * LEVEL:g} % would exclude 0 at with a probability of {100 * POWER:g} %. Assumed: "
    f"{100 * CHANGED:g} % of the items of choice tasks change between right and wrong, F1 and "
    f"ROUGE of an item change with a standard deviation of {100 * SPREAD:g} points, changes "
    f"correlate by {WITHIN:g} within a passage and by {ACROSS:g} between translations of an item. "
    "Items that were not read count on their own. Seeds vary besides: what one adapter shows, "
    "another seed may not."
)
"""What stands under the numbers."""


@dataclass(frozen=True, slots=True)
class Detectable:
    """Minimum detectable differences of a task, in points of 100.

    Attributes:
        one: in the language with the fewest clusters.
        mean: of the mean over all languages.
        corrected: of that mean, after Bonferroni's correction for all adapters (the first step of
            Holm's); None for one adapter.
    """

    one: float
    mean: float
    corrected: float | None


def detectable(
    subsets: Sequence[Sequence[str]], *, written: bool, adapters: int
) -> Detectable | None:
    """What a task can tell.

    Args:
        subsets: per language the cluster of each item asked.
        written: answers are written and scored from 0 to 1; else they are right or wrong.
        adapters: comparisons that are corrected for.

    Returns:
        None where a subset has fewer than two clusters, so that nothing could be told.
    """
    if not subsets or min(len(set(clusters)) for clusters in subsets) < 2:
        return None
    spread = SPREAD if written else CHANGED**0.5
    variances = [spread**2 * _inflation(clusters) / len(clusters) for clusters in subsets]
    clusters = min(len(set(one)) for one in subsets)
    number = len(subsets)
    # Every pair of languages correlates alike; equal shares of the mean.
    independent = sum(variances) / number**2
    together = (sum(variance**0.5 for variance in variances) / number) ** 2
    mean = (1 - ACROSS) * independent + ACROSS * together
    return Detectable(
        one=_smallest(max(variances), clusters, 1),
        mean=_smallest(mean, clusters, 1),
        corrected=_smallest(mean, clusters, adapters) if adapters > 1 else None,
    )


def _inflation(clusters: Sequence[str]) -> float:
    """Kish's design effect: how many times the variance that items on their own would have."""
    sizes = Counter(clusters).values()
    return 1 + WITHIN * (sum(size**2 for size in sizes) / len(clusters) - 1)


def _smallest(variance: float, clusters: int, comparisons: int) -> float:
    tail = (1 - LEVEL) / 2 / comparisons
    both = t.ppf(1 - tail, clusters - 1) + t.ppf(POWER, clusters - 1)
    return float(100 * both * variance**0.5)
