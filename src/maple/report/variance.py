"""How much seeds, exemplars and prompts move the means, beside items."""

from __future__ import annotations

from maple.report.gathered import Gathered
from maple.report.ledger import Grid

_COLUMNS = (
    *("task", "what varies", "groups", "levels", "seen between levels", "of it by items"),
    *("apart from items", "95 % interval, about", "degrees of freedom", "error by items alone"),
)
_MEANS = (
    "Standard deviations of means over languages, in points of 100, under each task's primary "
    "metric. Groups are means that are alike in all but what varies; only finished ones count."
)
_APART = (
    "Apart from items: how far a mean would move with another seed, other exemplars or another "
    "prompt, were all items there are asked; 0 where items explain what is seen. An interval of a "
    "score in this report is over items alone, whose standard error is in the last column: where "
    "the component is not much smaller, another seed or prompt may move a score by as much."
)
_ABOUT = (
    "The interval is approximate: by the chi-square distribution, with what items explain taken "
    "as known. Exemplar seeds and prompts are the same few in every group, so that more groups "
    "tell no more about them. A dash: levels differ by less than items would let them, so that "
    "nothing can be told apart from items."
)


def variance(gathered: Gathered) -> Grid | None:
    """A row for each task and factor; None where no factor varies."""
    found = gathered.variance
    if found.is_empty():
        return None
    rows = tuple(
        (
            row["task"],
            row["factor"],
            str(row["groups"]),
            str(row["levels"]),
            *(f"{row[name]:.2f}" for name in ("observed", "items", "component")),
            _interval(row["low"], row["high"]),
            str(row["freedom"]),
            f"{row['item_error']:.2f}",
        )
        for row in found.iter_rows(named=True)
    )
    caption = "How much do seeds, exemplars and prompts matter beside items?"
    return Grid(caption, _COLUMNS, rows, (_MEANS, _APART, _ABOUT))


def _interval(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"[{low:.2f}, {high:.2f}]"
