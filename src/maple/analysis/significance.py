"""Tests of differences, and corrections for many of them.

The test of a paired difference flips signs: were two models alike, each cluster's difference would
be as likely with the other sign (Fisher's randomisation test on cluster sums; Davison & Hinkley
1997, section 4.4). It assumes nothing about the scores' distribution and works with few clusters,
where its smallest p-value says how little can be told: 2 / 2^c.

Letters in shapes: c clusters, f flips, k differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import false_discovery_control

from maple.analysis.estimates import Floats, Integers

FLIPS = 9999
"""Random sign flips of a test; the smallest p-value is 1 / (FLIPS + 1)."""

# Elements of signs held in memory at a time: 40 MB.
_SIGNS_AT_ONCE = 10_000_000
_ROUNDING = 1e-6


def flip_test(totals: Floats, seed: int, flips: int = FLIPS) -> Floats:
    """Two-sided p-values of paired differences, the same flips for all of them.

    Args:
        totals: sum of each cluster's differences, [k, c]; 0 where a difference lacks the cluster.
        seed: of the signs.
        flips: how many random sign vectors, beside the one that was seen.

    Returns:
        p-values, [k]: the share of sign vectors, the seen one among them, whose sum is at least as
        far from 0 as the one that was seen.
    """
    at_least: Integers = np.ones(len(totals), dtype=np.int64)
    seen = np.abs(totals.sum(axis=1))
    # Sums that tie with the seen one must count whatever the order of additions.
    border = (seen * (1 - _ROUNDING) - _ROUNDING)[:, None].astype(np.float32)
    small = totals.astype(np.float32)
    for signs in _signs(totals.shape[1], flips, seed):
        at_least += (np.abs(small @ signs) >= border).sum(axis=1)
    return at_least / (flips + 1)


def adjusted(p_values: Sequence[float], method: Literal["holm", "bh"]) -> list[float]:
    """p-values corrected for being many: Holm's (family-wise) or Benjamini-Hochberg's (rate).

    Args:
        p_values: of one declared family, in any order.

    Returns:
        Corrected ones in that order; compare each with the level.
    """
    if not p_values:
        return []
    if method == "bh":
        return [float(p) for p in false_discovery_control(p_values)]
    values = np.array(p_values)
    order = np.argsort(values, kind="stable")
    steps = (len(values) - np.arange(len(values))) * values[order]
    found = np.empty_like(values)
    found[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return [float(p) for p in found]


def bonferroni(p: float, tests: int = 2) -> float:
    """A p-value corrected for the choice that there was.

    Args:
        tests: how many could have been taken; two are those for and against one claim.
    """
    return min(1.0, tests * p)


def _signs(clusters: int, flips: int, seed: int) -> Iterator[npt.NDArray[np.float32]]:
    """Columns of -1 and 1, [c, some of f]."""
    generator = np.random.default_rng((seed, 1))
    at_once = max(1, _SIGNS_AT_ONCE // clusters)
    for start in range(0, flips, at_once):
        number = min(at_once, flips - start)
        bits = np.frombuffer(generator.bytes(-(-clusters * number // 8)), dtype=np.uint8)
        flat = np.unpackbits(bits, count=clusters * number).astype(np.float32)
        yield (2 * flat - 1).reshape(clusters, number)
