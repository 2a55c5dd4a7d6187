"""Score cells beside those of the tasks' own metrics: rescored ones, and the answers' language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maple.evaluate.extra import extras
from maple.metrics import identify
from maple.records import EvalCell, ScoreCell
from maple.study.identity import score_id
from maple.tasks import TASKS


def beside(
    evals: Mapping[str, EvalCell], names: Mapping[str, Sequence[str]]
) -> tuple[dict[str, ScoreCell], tuple[str, ...]]:
    """Score cells of metrics beside the tasks' own.

    Args:
        evals: eval cells by id.
        names: of metrics by task; tasks without any are left alone.

    Returns:
        The score cells by id, and what was left out for lack of rules, as in `Rescored`.

    Raises:
        DataError: a metric that is not for its task.
    """
    cells: dict[str, ScoreCell] = {}
    left_out: dict[str, None] = {}
    for eval_id, cell in evals.items():
        if not names.get(cell.task):
            continue
        task = TASKS[cell.task]
        language = task.answer_language(cell.subset)
        for extra in extras(names[cell.task], task.metrics, cell.task):
            if not extra.knows(language):
                where = f"{cell.task}/{cell.subset}"
                left_out[f"{where}: {extra.name} has no rules for {language}"] = None
                continue
            score = ScoreCell(eval_id, extra.name, extra.version, extra.protocol)
            cells[score_id(score)] = score
    return cells, tuple(left_out)


def language_checks(evals: Mapping[str, EvalCell]) -> dict[str, ScoreCell]:
    """Score cells that hold how probably each written answer is in its language, by id."""
    rules = identify.rules()
    cells = (
        ScoreCell(eval_id, identify.LANGUAGE, 1, rules)
        for eval_id, cell in evals.items()
        if cell.decoding != "choices"
    )
    return {score_id(cell): cell for cell in cells}
