"""The item scores of single cells, for what needs few of them, or one after another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maple.analysis.asked import Items, answered, items_of
from maple.analysis.blocks import block
from maple.analysis.estimates import Floats
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
    """Reads score cells as blocks of one. Keeps the items it has met, which many cells share."""

    def __init__(self, store: Store, plan: PlanFile) -> None:
        self._store = store
        self._plan = plan
        self._items: dict[tuple[str, str, str], Items] = {}

    def read(self, score_id: str) -> ItemScores | None:
        """What a score cell holds within the plan's limit; None before it was scored.

        Raises:
            StoreError: as `blocks.blocks`.
        """
        score = self._plan.scores[score_id]
        cell = self._plan.evals[score.eval_id]
        if not answered(self._store, {score.eval_id: cell}):
            return None
        key = cell.task, cell.subset, cell.items
        if key not in self._items:
            self._items[key] = items_of(self._store, cell)
        found = block(self._store, self._plan, {score_id: score}, self._items[key])
        if found is None or not found.eval_ids:
            return None
        given = np.flatnonzero(~np.isnan(found.scores[0]))
        return ItemScores(
            tuple(found.example_ids[item] for item in given),
            tuple(found.cluster_ids[item] for item in given),
            found.scores[0, given],
        )
