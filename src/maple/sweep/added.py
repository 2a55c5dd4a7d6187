"""Score cells of metrics beside the tasks' own, which `maple rescore` adds to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from maple.evaluate.extra import extras
from maple.records import EvalCell, ScoreCell
from maple.study.identity import score_id
from maple.tasks import TASKS


def beside(
    evals: Mapping[str, EvalCell],
    languages: Mapping[str, str],
    names: Mapping[str, Sequence[str]],
) -> tuple[dict[str, ScoreCell], tuple[str, ...]]:
    """Score cells of metrics beside the tasks' own.

    Args:
        evals: eval cells by id.
        languages: by "task/subset", the key of its language.
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
        where = f"{cell.task}/{cell.subset}"
        for extra in extras(names[cell.task], TASKS[cell.task].metrics, cell.task):
            if not extra.knows(languages[where]):
                left_out[f"{where}: {extra.name} has no rules for {languages[where]}"] = None
                continue
            score = ScoreCell(eval_id, extra.name, extra.version, extra.protocol)
            cells[score_id(score)] = score
    return cells, tuple(left_out)
