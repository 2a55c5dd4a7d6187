"""Names of cells: a hash of what changes the numbers and of nothing else.

The recipe, version 1: the cell's fields without the descriptive ones and without those that are
None, as canonical JSON (keys sorted, no spaces, non-ASCII escaped), prefixed with the kind and the
version, SHA-256, first 16 hexadecimal digits. Since None is left out, a field that a later version
adds renames no cell that does not use it. A change of the recipe bumps IDENTITY_VERSION; golden
tests keep the ids that each version gives to a cell whose every field is off its default.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

from maple.records import EvalCell, ScoreCell, TrainCell

IDENTITY_VERSION = 1

# Fields that only describe. What they stand for is hashed through another field: the data's
# content instead of its source's name, the prompt's text instead of its name.
DESCRIPTIVE = {
    "train": frozenset({"base_name", "source", "mixture", "languages", "rows", "template_name"}),
    "eval": frozenset({"dataset", "prompt", "template_name"}),
    "score": frozenset[str](),
}


def train_id(cell: TrainCell) -> str:
    """Id of a train cell: 16 hexadecimal digits."""
    return _digest("train", cell)


def eval_id(cell: EvalCell) -> str:
    """Id of an eval cell: 16 hexadecimal digits."""
    return _digest("eval", cell)


def score_id(cell: ScoreCell) -> str:
    """Id of a score cell: 16 hexadecimal digits."""
    return _digest("score", cell)


def content_hash(value: object) -> str:
    """SHA-256 of a JSON-ready value in canonical form, as "sha256:<hex>"."""
    return "sha256:" + hashlib.sha256(_canonical(value).encode("ascii")).hexdigest()


def _digest(kind: str, cell: TrainCell | EvalCell | ScoreCell) -> str:
    fields = {
        name: value
        for name, value in dataclasses.asdict(cell).items()
        if name not in DESCRIPTIVE[kind] and value is not None
    }
    text = f"maple-{kind}-v{IDENTITY_VERSION}:{_canonical(fields)}"
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _canonical(value: object) -> str:
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
