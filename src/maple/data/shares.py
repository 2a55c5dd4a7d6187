"""How a number of rows is divided among languages by their shares.

Sainte-Laguë's method: the next row goes to the language with the largest share / (2 n + 1), where n
is what it has; of equal ones to the first by key. No language has fewer rows of a larger total, so
a larger sample can contain a smaller one; rounding shares of the total does not promise that. Of
equal shares the first languages get what is left over. Shares are exact fractions, so that no
machine divides otherwise.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from maple.errors import DataError
from maple.languages import ENGLISH, language
from maple.records import Mixture


def shares(mixture: Mixture, available: Mapping[str, int]) -> dict[str, Fraction]:
    """The share of each language, together 1.

    Args:
        mixture: what the study says.
        available: rows by language, at least one each.

    Raises:
        DataError: a language that no class of the mixture has, or a class without languages.
    """
    keys = sorted(available)
    found: dict[str, Fraction] = {}
    rest = Fraction(1)
    if mixture.english is not None:
        keys = [key for key in keys if key != ENGLISH]
        found[ENGLISH] = Fraction(str(mixture.english))
        rest -= found[ENGLISH]
    for share, members in _classes(mixture, keys):
        weights = {key: _weight(mixture, available[key]) for key in members}
        total = sum(weights.values())
        found |= {key: rest * share * weight / total for key, weight in weights.items()}
    return {key: share for key, share in found.items() if share}


def divide(shared: Mapping[str, Fraction], total: int) -> dict[str, int]:
    """Rows by language, together `total`."""
    # Below the total by as many rows as rounding could be wrong, then one by one.
    spread = max(0, total - len(shared))
    rows = {key: (2 * share * spread + 1) // 2 for key, share in shared.items()}
    heap = [(-share / (2 * rows[key] + 1), key) for key, share in shared.items()]
    heapq.heapify(heap)
    for _ in range(total - sum(rows.values())):
        _, key = heap[0]
        rows[key] += 1
        heapq.heapreplace(heap, (-shared[key] / (2 * rows[key] + 1), key))
    return rows


def most(shared: Mapping[str, Fraction], available: Mapping[str, int]) -> int:
    """The largest total that `divide` fills without asking for more than is available."""
    missing = {key: share / (2 * available[key] + 1) for key, share in shared.items()}
    first = min(missing, key=lambda key: (-missing[key], key))
    return _before(shared, first, missing[first])


def least(shared: Mapping[str, Fraction]) -> int:
    """The smallest total of which every language gets a row."""
    last = max(shared, key=lambda key: (-shared[key], key))
    return _before(shared, last, shared[last]) + 1


def _before(shared: Mapping[str, Fraction], last: str, quotient: Fraction) -> int:
    """How many rows are given away before `last` gets the one that it has this quotient for."""
    total = 0
    for key, share in shared.items():
        equal = (share / quotient - 1) / 2  # the n with share / (2 n + 1) = quotient
        total += max(0, math.ceil(equal))
        total += equal >= 0 and equal.denominator == 1 and key < last
    return total


def _classes(mixture: Mixture, keys: Sequence[str]) -> list[tuple[Fraction, list[str]]]:
    """The share of each group of languages with its members; one group where none is stated."""
    if not mixture.classes:
        return [(Fraction(1), list(keys))]
    members: dict[tuple[int, ...], list[str]] = {classes: [] for classes in mixture.classes}
    for key in keys:
        resource = language(key).resource_class
        found = next((classes for classes in members if resource in classes), None)
        if found is None:
            known = "unknown" if resource is None else str(resource)
            raise DataError(
                f"{key} has resource class {known}, which the mixture gives no share",
                "name its class in classes, or leave the language out",
            )
        members[found].append(key)
    for classes, group in members.items():
        if not group:
            raise DataError(
                f"no language to train on has resource class {' or '.join(map(str, classes))}",
                "leave the class out, or name a language that has it",
            )
    return [(Fraction(str(mixture.classes[name])), group) for name, group in members.items()]


def _weight(mixture: Mixture, rows: int) -> Fraction:
    if mixture.weights == "uniform":
        return Fraction(1)
    if mixture.temperature is None:
        return Fraction(rows)
    # Rounded, so that the last bit of a machine's power function moves no row.
    return Fraction(round(rows ** (1 / mixture.temperature), 6))
