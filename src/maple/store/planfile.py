"""plan.json: what a sweep set out to do, every name resolved. Written by sweep, read by all."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel as Section
from pydantic import ConfigDict, ValidationError

from maple.errors import StoreError
from maple.records import BaseModel, EvalCell, ScoreCell, TrainCell
from maple.store.files import first_problem
from maple.study.grid import TrainingData


class PlanFile(Section):
    """A plan as it is on disk.

    Attributes:
        maple: version of the program that made the plan.
        created: UTC, ISO 8601.
        study: the study, canonicalised.
        bases: base models, resolved.
        locks: identity by name of every base, and of every hub dataset
            ("dataset:<repo>@<revision>"), that this folder's plans have resolved: what a hub name
            stood for stays what it stands for.
        limit: items a subset; None for all.
        train, evals, scores: every cell by id, in working order.
        checks: score cells that describe answers instead of grading them: their language.
        rescored: by task, metrics that `maple rescore` has added to those of the study.
        prompts: names of the prompts that an eval cell stands for, where they are several with
            the same words: "native" and "english" in English.
        languages: by "task/subset", the key of the language it is asked in.
        data: what is trained on; empty in plans of earlier versions.
        notes: what the reader of the results should know, in plain sentences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    identity_version: int
    maple: str
    created: str
    study: dict[str, Any]
    bases: tuple[BaseModel, ...]
    locks: dict[str, str] = {}
    limit: int | None
    train: dict[str, TrainCell]
    evals: dict[str, EvalCell]
    scores: dict[str, ScoreCell]
    checks: dict[str, ScoreCell] = {}
    rescored: dict[str, tuple[str, ...]] = {}
    prompts: dict[str, tuple[str, ...]] = {}
    primary_metrics: dict[str, str]
    languages: dict[str, str]
    data: tuple[TrainingData, ...] = ()
    notes: tuple[str, ...]

    def prompts_of(self, eval_id: str) -> tuple[str, ...]:
        """Names of all prompts that an eval cell stands for."""
        return self.prompts.get(eval_id, (self.evals[eval_id].prompt,))

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, one key a line."""
        return self.model_dump_json(indent=1).encode() + b"\n"


def parse(content: bytes, where: str) -> PlanFile:
    """The plan in `content`.

    Raises:
        StoreError: not a plan of this version; `where` names its file.
    """
    try:
        return PlanFile.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(
            f"{where}: not a plan of this version of maple: {first_problem(error)}",
            "choose another --out, or delete the file: finished cells are kept",
        ) from error
