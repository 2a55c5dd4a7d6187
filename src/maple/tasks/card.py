"""What is known about a benchmark besides its items."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    """Facts about a benchmark, for its documentation and for reports.

    Attributes:
        title: as its authors write it.
        hub: repositories of the datasets that it is read from, exemplars included.
        licence: of each of them, in the same order.
        citation: of each of them, in the same order: authors, year, title, venue, DOI or URL.
        scored: the split that is scored.
        pool: the split that exemplars come from.
        chance: expected score of a guess, 0 to 1; None where it is not meaningful.
    """

    title: str
    hub: tuple[str, ...]
    licence: tuple[str, ...]
    citation: tuple[str, ...]
    scored: str
    pool: str
    chance: float | None
