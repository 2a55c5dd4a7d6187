"""The record of a cell: one JSON file, written when the cell is done or has failed."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from maple.errors import StoreError
from maple.records import (
    Cost,
    EvalCell,
    Failure,
    Noise,
    Proof,
    ScoreCell,
    Shortened,
    TrainCell,
    TrainOutcome,
)
from maple.store.files import first_problem
from maple.store.schemas import SCHEMA_VERSION


class Record(BaseModel):
    """What is known about one attempt at a cell, self-describing.

    Attributes:
        kind: "train", "eval", or "score" where scoring failed: a score that is there needs none.
        id: the cell's id.
        status: "done" or "failed". A cell that was done and failed when more items were asked for
            is "failed" and keeps what it had: n, cost, proof, noise, exemplar_ids, shortened.
        cell: the cell, resolved.
        started, finished: UTC, ISO 8601.
        provenance: versions, commit, machine.
        cost: of all attempts that contributed to the result, added up.
        outcome: what training reported; train cells only.
        proof: what was checked about the model; eval cells only.
        noise: of batching, measured on the first cell of its kind in the process that wrote this;
            eval cells only, None where items are asked alone.
        n: examples answered; eval cells only.
        exemplar_ids: in prompt order; eval cells only.
        shortened: by example id, what was left out of a prompt to fit the context; eval cells only.
        failure: why, where status is "failed".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2, 3, 4] = 4
    kind: Literal["train", "eval", "score"]
    id: str
    status: Literal["done", "failed"]
    cell: TrainCell | EvalCell | ScoreCell
    started: str
    finished: str
    provenance: dict[str, Any]
    cost: Cost | None = None
    outcome: TrainOutcome | None = None
    proof: Proof | None = None
    noise: Noise | None = None
    n: int | None = None
    exemplar_ids: tuple[str, ...] = ()
    shortened: dict[str, Shortened] = {}
    failure: Failure | None = None

    def to_bytes(self) -> bytes:
        """Indented UTF-8 JSON."""
        return self.model_dump_json(indent=2).encode() + b"\n"


def parse(content: bytes, where: str) -> Record:
    """The record in `content`.

    Raises:
        StoreError: not a record of this version; `where` names its file.
    """
    try:
        return Record.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(
            f"{where}: not a record of schema version {SCHEMA_VERSION}: {first_problem(error)}",
            "delete the file to have the cell computed again, or choose another --out",
        ) from error
