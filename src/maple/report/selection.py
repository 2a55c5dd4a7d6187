"""Intervals of means over a selection of languages and cells, from the intervals of each.

The store's estimates resample items; a page without the items cannot. What it has are intervals,
and one number a table that says how much languages rise and fall together: items are translations
of each other, so the errors of two languages are correlated. `js/02-estimates.js` computes the
same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Z = 1.96
"""Half the width of a 95 % interval, in standard errors."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A value and its interval, in any unit; no interval where an end is None."""

    value: float
    low: float | None
    high: float | None

    @property
    def error(self) -> float | None:
        """Its standard error; None without an interval."""
        if self.low is None or self.high is None:
            return None
        return (self.high - self.low) / (2 * Z)


def mean_of_languages(parts: Sequence[Spread], rho: float) -> Spread | None:
    """The mean over languages, each weighing the same.

    With k languages, errors s_i and the mean correlation rho between them, the squared error of
    the mean is ((1 - rho) * sum(s_i^2) + rho * (sum(s_i))^2) / k^2.

    Returns:
        No interval where a part has none; None for no part.
    """
    if not parts:
        return None
    value = sum(part.value for part in parts) / len(parts)
    errors = [part.error for part in parts]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return Spread(value, None, None)
    squares, total = sum(error**2 for error in known), sum(known)
    reach = Z * math.sqrt((1 - rho) * squares + rho * total**2) / len(parts)
    return Spread(value, value - reach, value + reach)


def mean_of_cells(parts: Sequence[Spread]) -> Spread | None:
    """The mean over cells that share a place in a figure: seeds, training sets.

    Its error is the mean of theirs, as if they all erred together: they answer the same items, so
    the interval is never narrower than that of a single cell. One cell keeps its own interval.
    """
    if len(parts) < 2:
        return parts[0] if parts else None
    value = sum(part.value for part in parts) / len(parts)
    errors = [part.error for part in parts]
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return Spread(value, None, None)
    reach = Z * sum(known) / len(known)
    return Spread(value, value - reach, value + reach)


def correlation(rows: Iterable[tuple[Spread, Sequence[Spread]]]) -> float:
    """The rho with which `mean_of_languages` gives the intervals of means that are known.

    Solved for all rows together, so that a row with a small error does not decide.

    Args:
        rows: of each cell its mean over languages, as resampling gave it, and its languages.

    Returns:
        From 0 to 1; 0 where nothing tells.
    """
    above = below = 0.0
    for mean, parts in rows:
        errors = [part.error for part in parts]
        known = [error for error in errors if error is not None]
        if mean.error is None or len(known) < len(errors) or len(known) < 2:
            continue
        squares, total = sum(error**2 for error in known), sum(known)
        above += (len(known) * mean.error) ** 2 - squares
        below += total**2 - squares
    return min(1.0, max(0.0, above / below)) if below > 0 else 0.0
