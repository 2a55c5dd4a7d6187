"""Effects that have several sources of variance: which items, which adapters, which languages.

Each source contributes a variance and the degrees of freedom it was estimated with; the sum's are
Satterthwaite's (1946). Items come from the bootstrap, adapters (seeds) and languages from how much
they differ.

Letters in shapes: a adapters, b resamples, p columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from maple.analysis.estimates import LEVEL, Floats, Replicates

MARGIN = 1.0
"""Points of 100 within which two things count as equal."""

# Squared points below which resamples are all the same but for rounding.
_STILL = 1e-9


@dataclass(frozen=True, slots=True)
class Variance:
    """One source of an effect's variance.

    Attributes:
        of: what varies: "items", "adapters", "languages".
        value: squared unit of the effect.
        freedom: degrees of freedom of the estimate of `value`.
    """

    of: str
    value: float
    freedom: float


@dataclass(frozen=True, slots=True)
class Effect:
    """An effect in points, with the variances that its interval adds up.

    Attributes:
        n: observations (cell means) behind it.
    """

    value: float
    variances: tuple[Variance, ...]
    n: int

    @property
    def error(self) -> float:
        """Standard error, points."""
        return float(sum(part.value for part in self.variances) ** 0.5)

    @property
    def freedom(self) -> float:
        """Satterthwaite's degrees of freedom of the squared standard error."""
        total = sum(part.value for part in self.variances)
        parts = sum(part.value**2 / part.freedom for part in self.variances)
        return float(total**2 / parts) if parts > 0 else float("inf")

    def source(self, of: str) -> Variance | None:
        """The variance of what `of` names; None where it is not in the effect."""
        return next((part for part in self.variances if part.of == of), None)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Student's interval around the value."""
        reach = self._quantile((1 + level) / 2) * self.error
        return self.value - reach, self.value + reach

    def above(self, border: float = 0.0) -> float:
        """One-sided p-value against "at most `border`"."""
        return self._tail(self.value - border)

    def below(self, border: float = 0.0) -> float:
        """One-sided p-value against "at least `border`"."""
        return self._tail(border - self.value)

    def differs(self) -> float:
        """Two-sided p-value against 0."""
        return min(1.0, 2 * min(self.above(), self.below()))

    def within(self, margin: float = MARGIN) -> float:
        """p-value of equivalence: of two one-sided tests the larger (Schuirmann 1987)."""
        return max(self.above(-margin), self.below(margin))

    def _quantile(self, at: float) -> float:
        return float(t.ppf(at, self.freedom)) if self.error > 0 else 0.0

    def _tail(self, distance: float) -> float:
        # What was not seen to vary proves nothing.
        if self.error == 0:
            return 1.0
        return float(t.sf(distance / self.error, self.freedom))


def items(replicates: Replicates | Floats, groups: float) -> Variance:
    """The share of the items in a variance, from the resamples of the effect.

    Args:
        replicates: the effect in each resample, [b]; NaN is left out.
        groups: effective number of clusters.

    Returns:
        Where no resample differs, items were not seen to vary, which is no proof that they do not:
        the variance is then the one whose interval has the width that `estimates.intervals` gives
        to what never varies.
    """
    spread = float(np.nanvar(replicates, ddof=1)) * groups / (groups - 1)
    if spread < _STILL:
        z = float(norm.ppf((1 + LEVEL) / 2))
        spread = (100 * z / (groups + z**2)) ** 2
    return Variance("items", spread, groups - 1)


def average(
    values: Floats, replicates: Replicates | Floats, groups: float, others: Floats | None = None
) -> Effect:
    """The mean over adapters, as one would see it with other seeds and other items.

    Args:
        values: of each adapter, [a], points.
        replicates: their resamples, [a, b].
        groups: effective number of clusters of items.
        others: what adapters differ in by design (rank, bits, source), [a, p], so that it does not
            count as chance. Columns that add nothing are ignored.

    Returns:
        The mean. Where the design leaves no adapter to spare, adapters have no variance in it: the
        effect is then one of these very adapters.
    """
    number = len(values)
    variances = [items(np.asarray(replicates).mean(axis=0), groups)]
    columns = np.ones((number, 1))
    if others is not None and others.shape[1]:
        columns = np.hstack([columns, others - others.mean(axis=0)])
    fitted, _, rank, _ = np.linalg.lstsq(columns, values, rcond=None)
    free = number - int(rank)
    if free > 0:
        left = float(((values - columns @ fitted) ** 2).sum()) / free
        variances.append(Variance("adapters", left / number, free))
    return Effect(float(values.mean()), tuple(variances), number)


def design(factors: Sequence[Sequence[object]]) -> Floats:
    """Columns of 0 and 1 for the levels of each factor but its first; numbers stay numbers.

    Args:
        factors: a sequence of values for each factor, each as long as there are adapters.

    Returns:
        [a, p].
    """
    columns: list[list[float]] = []
    for values in factors:
        numbers = [float(value) for value in values if isinstance(value, int | float)]
        if len(numbers) == len(values):
            if len(set(numbers)) > 1:
                columns.append(numbers)
            continue
        levels = list(dict.fromkeys(values))
        columns += [[float(value == level) for value in values] for level in levels[1:]]
    size = len(factors[0]) if factors else 0
    return np.array(columns, dtype=np.float64).reshape(len(columns), size).T
