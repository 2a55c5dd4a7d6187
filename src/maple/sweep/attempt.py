"""Attempts at a cell, and the records they leave."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from maple import provenance
from maple.errors import MapleError
from maple.records import EvalCell, Failure, TrainCell
from maple.store import Record


class Attempt:
    """One attempt at a cell: what its record says whichever way it ends."""

    def __init__(self, kind: str, cell_id: str, cell: TrainCell | EvalCell) -> None:
        self._common: dict[str, Any] = {
            "kind": kind,
            "id": cell_id,
            "cell": cell,
            "started": provenance.utc_now(),
            "provenance": provenance.provenance(),
        }

    def done(self, **fields: Any) -> Record:
        return Record(**self._common, **fields, status="done", finished=provenance.utc_now())

    def failed(self, error: Exception, earlier: Record | None = None) -> Record:
        known = isinstance(error, MapleError)
        message = str(error) if known else f"{type(error).__name__}: {error}"
        detail = "" if known else "".join(traceback.format_exception(error))
        return failed_record(self._common, Failure(message, detail), earlier)


def failed_record(common: Mapping[str, Any], failure: Failure, earlier: Record | None) -> Record:
    """The record of a failed attempt.

    Args:
        earlier: the record it replaces. Where that stands for answers, they are still there: more
            items were asked for, and failed.
    """
    kept = ("n", "cost", "proof", "noise", "exemplar_ids", "shortened")
    answers = {name: getattr(earlier, name) for name in kept} if earlier and earlier.n else {}
    finished = provenance.utc_now()
    return Record(**common, **answers, status="failed", finished=finished, failure=failure)


def death_record(
    kind: str,
    cell_id: str,
    cell: TrainCell | EvalCell,
    started: str,
    failure: Failure,
    earlier: Record | None,
) -> Record:
    """The record of a cell whose process died without writing one; `earlier` as there."""
    common = {
        "kind": kind,
        "id": cell_id,
        "cell": cell,
        "started": started,
        "provenance": provenance.provenance(),
    }
    return failed_record(common, failure, earlier)
