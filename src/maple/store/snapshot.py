"""A results folder as it was when it was looked at."""

from __future__ import annotations

from pathlib import Path

from maple.records import EvalCell, ScoreCell
from maple.store.record import Record
from maple.store.store import Store


class Snapshot(Store):
    """A store that reads the record of each cell once.

    So that tables that are made one after the other agree about a sweep that goes on meanwhile, and
    because reading 23,000 records takes two seconds. Everything else is read as ever.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._known: dict[str, Record | None] = {}

    def train_record(self, train_id: str) -> Record | None:
        """As it was when it was first asked for."""
        if train_id not in self._known:
            self._known[train_id] = super().train_record(train_id)
        return self._known[train_id]

    def eval_record(self, eval_id: str, cell: EvalCell) -> Record | None:
        """As it was when it was first asked for."""
        if eval_id not in self._known:
            self._known[eval_id] = super().eval_record(eval_id, cell)
        return self._known[eval_id]

    def score_record(self, score_id: str, cell: ScoreCell) -> Record | None:
        """As it was when it was first asked for."""
        if score_id not in self._known:
            self._known[score_id] = super().score_record(score_id, cell)
        return self._known[score_id]
