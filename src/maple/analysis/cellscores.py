"""The item scores of single cells, for what needs few of them, or one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maple.analysis.asked import answered, items_of
from maple.analysis.estimates import Floats
from maple.errors import StoreError
from maple.records import EvalCell
from maple.store import PlanFile, Store


@dataclass(frozen=True, slots=True)
class ItemScores:
    """Scores of one eval cell under one metric, n items in item order.

    Attributes:
        ids: example ids, n.
        clusters: cluster of each item, n.
        scores: 0 to 1, shape [n].
    """

    ids: tuple[str, ...]
    clusters: tuple[str, ...]
    scores: Floats


class ScoreReader:
    """Reads score cells. Keeps the clusters of the items it has met, which many cells share."""

    def __init__(self, store: Store, plan: PlanFile) -> None:
        self._store = store
        self._plan = plan
        self._clusters: dict[tuple[str, str, str], dict[str, str]] = {}

    def read(self, score_id: str) -> ItemScores | None:
        """What a score cell holds within the plan's limit; None before it was scored.

        Raises:
            StoreError: a file cannot be read, or a score belongs to no stored item.
        """
        score = self._plan.scores[score_id]
        cell = self._plan.evals[score.eval_id]
        if not answered(self._store, {score.eval_id: cell}):
            return None
        table = self._store.scores(score_id, score)
        if table is None or len(table) == 0:
            return None
        table = table.slice(0, self._plan.limit)
        ids = tuple(table["example_id"].to_pylist())
        known = self._of_items(cell)
        stray = next((name for name in ids if name not in known), None)
        if stray is not None:
            raise StoreError(
                f"{self._store.score_path(score_id, score)}: scores item {stray!r}, which is not "
                f"among the items of {cell.task}/{cell.subset}",
                "delete the file and score again",
            )
        scores = np.asarray(table["score"].to_numpy(), dtype=np.float64)
        return ItemScores(ids, tuple(known[name] for name in ids), scores)

    def _of_items(self, cell: EvalCell) -> dict[str, str]:
        key = (cell.task, cell.subset, cell.items)
        if key not in self._clusters:
            items = items_of(self._store, cell)
            self._clusters[key] = dict(zip(items.example_ids, items.cluster_ids, strict=True))
        return self._clusters[key]
