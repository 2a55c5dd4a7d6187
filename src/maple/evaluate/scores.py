"""Scoring stored responses: no model runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maple.errors import DataError
from maple.evaluate.extra import EXTRAS
from maple.metrics import identify
from maple.protocols import Task
from maple.records import ChoiceResponse, EvalCell, Example, GenerateResponse


def score(
    task: Task,
    cell: EvalCell,
    metric: str,
    examples: Mapping[str, Example],
    rows: Sequence[Mapping[str, object]],
) -> Sequence[float | None]:
    """One score a response, in the order of `rows`.

    Args:
        task: the cell's task.
        cell: where the responses come from.
        metric: one of the task's metrics, or of `extra.EXTRAS`, or `identify.LANGUAGE`, which
            gives None where the language of an answer cannot be told.
        examples: the subset's items by id.
        rows: the stored responses (schemas CHOICE_RESPONSES or GENERATE_RESPONSES).

    Raises:
        DataError: a response belongs to no item, or lacks what the metric needs.
    """
    scores: list[float] = []
    extra = None if metric in task.metrics else EXTRAS.get(metric)
    language = task.answer_language(cell.subset)
    if metric == identify.LANGUAGE:
        return [identify.probability(str(row["text"]), language) for row in rows]
    for row in rows:
        example = examples.get(str(row["example_id"]))
        if example is None:
            raise DataError(
                f"{cell.task}/{cell.subset}: a response to {row['example_id']!r}, "
                "which is not among the items"
            )
        response = _response(row)
        scores.append(
            task.score(example, response, metric, cell.subset, cell.prompt)
            if extra is None
            else extra.score(example, response, language, task.name)
        )
    return scores


def _response(row: Mapping[str, object]) -> ChoiceResponse | GenerateResponse:
    kind = ChoiceResponse if "logprobs" in row else GenerateResponse
    names = kind.__dataclass_fields__
    values = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in row.items()
        if name in names
    }
    return kind(**values)  # type: ignore[arg-type]  # columns are held to the schema on reading
