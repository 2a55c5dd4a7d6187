"""Scoring stored answers by more metrics: no model runs, and no release file is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from maple.errors import DataError, StoreError, StudyError, nearest
from maple.evaluate.extra import PMI, available, names_of_all
from maple.store import PlanFile, Store
from maple.study.config import FOREIGN
from maple.sweep.added import beside
from maple.sweep.run import score_cells
from maple.tasks import TASKS


@dataclass(frozen=True, slots=True)
class Rescored:
    """What `rescore` did.

    Attributes:
        cells: score cells that the metrics stand for; `scored` of them were written now.
        waiting: those whose answers are not there yet.
        left_out: "task/subset: metric" where a metric has no rules for the language.
        failed: message by id of those whose answers lack what the metric needs.
    """

    cells: int
    scored: int
    waiting: int
    left_out: tuple[str, ...]
    failed: Mapping[str, str] = field(hash=False)


def rescore(store: Store, names: Sequence[str]) -> Rescored:
    """Add metrics to a results folder's plan and score what is answered.

    What is scored already is left alone. The metrics stay in the plan when the study is run again.
    `PMI` takes answers of its own: a study must ask for it.

    Args:
        store: of a study that was planned.
        names: of metrics, or of their families.

    Raises:
        StudyError: names that there are not, or that are for none of the study's tasks.
        StoreError: no plan in the folder, or a file that cannot be read.
    """
    plan = store.plan()
    if plan is None:
        raise StoreError(f"{store.root}: has no plan.json, so there is nothing to score")
    asked = _by_task(plan, names)
    cells, unruled = beside(plan.evals, asked)
    absent = {cell.task for cell in plan.evals.values() if not _is_here(cell.task)}
    left_out = (*unruled, *(f"{task}: its package is not installed" for task in sorted(absent)))
    rescored = {
        task: tuple(dict.fromkeys((*plan.rescored.get(task, ()), *asked.get(task, ()))))
        for task in plan.rescored.keys() | asked.keys()
    }
    changed = plan.model_copy(
        update={
            "scores": {**plan.scores, **cells},
            "rescored": dict(sorted(rescored.items())),
        }
    )
    if changed != plan:
        store.put_plan(changed, (store.root / "study.toml").read_bytes())
    failed: dict[str, str] = {}
    scored = score_cells(store, plan.evals, cells, TASKS.__getitem__, failed)
    there = sum(store.scored(name, cell)[0] > 0 for name, cell in cells.items())
    return Rescored(len(cells), scored, len(cells) - there - len(failed), left_out, failed)


def _is_here(task: str) -> bool:
    """Whether a task's code is at hand; those of other programs are scored by their own rules."""
    return task.startswith(FOREIGN) or task in TASKS


def _by_task(plan: PlanFile, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Which of the metrics are for which task.

    Raises:
        StudyError: some are for none of them.
    """
    tasks = dict.fromkeys(cell.task for cell in plan.evals.values())
    known = {
        task: tuple(name for name in available(TASKS[task].metrics, task) if name != PMI)
        for task in tasks
        if task in TASKS and not task.startswith(FOREIGN)
    }
    every = {one for found in known.values() for one in found}
    problems = [_unknown(name, known) for name in names if name not in every]
    if problems:
        raise StudyError.of(problems)
    return {
        task: tuple(name for name in names if name in found)
        for task, found in known.items()
        if any(name in found for name in names)
    }


def _unknown(name: str, known: Mapping[str, Sequence[str]]) -> DataError:
    if name == PMI:
        return DataError(
            f"metric {PMI!r}: stored answers are not enough, it asks the choices once more",
            f'have the study ask for it: metrics = ["{PMI}"] in [[evaluate.task]], then '
            "`maple run` again; what is answered stays as it is",
        )
    listed = "; ".join(f"{task}: {', '.join(found) or 'none'}" for task, found in known.items())
    if name in names_of_all():
        return DataError(f"metric {name!r} is for none of {', '.join(known)}", f"known: {listed}")
    close = nearest(name, {one for found in known.values() for one in found})
    hint = f"{close} known: {listed}" if close.startswith("did you mean") else f"known: {listed}"
    return DataError(f"no metric {name!r}", hint)
