"""What `maple plan` says: a study's cells, if all that it names is at hand, and what it costs.

A study on gated models, on a machine without a network, still has a shape and a cost. What could
not be checked is said; what is wrong stays an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from maple.errors import StudyError, nearest
from maple.models.architecture import known
from maple.records import BaseModel, TrainCell
from maple.store import Store
from maple.study.config import Study
from maple.study.grid import train_cells
from maple.sweep.asked import Asked
from maple.sweep.check import NotAtHandError
from maple.sweep.drawing import Drawn
from maple.sweep.estimate import estimate
from maple.sweep.plan import describe, make
from maple.sweep.workload import base_of, items_of, rows_of

UNCHECKED = (
    "So cells have no ids yet, and nobody has looked whether these exist, and whether their "
    "prompts, metrics, modules and contexts fit. `maple run` checks all of it before anything "
    "starts."
)


def outlook(study: Study, folder: Path | None, limit: int | None, store: Store) -> dict[str, Any]:
    """A plan with its cost.

    Args:
        study, folder, limit, store: as for `plan.make`. No weights are fetched.

    Returns:
        JSON-ready: what `plan.describe` returns, with "cost" (`estimate.estimate`) and "unchecked",
        a line for each thing that is out of reach. Where there is any, "train" and "evaluate" are
        None: their cells have no ids without it.

    Raises:
        StudyError: everything that is wrong with the study, at once.
        StoreError: the store cannot hold the results.
    """
    try:
        plan = make(study, folder, limit, store, weights=False)
    except NotAtHandError as found:
        _check_targets(study, found.bases)
        return _without(study, limit, found)
    checked = plan.checked
    cost = _cost(study, limit, checked.bases, checked.drawn, checked.asked, dict(plan.grid.train))
    return {**describe(plan, store), "unchecked": [], "cost": cost}


def _without(study: Study, limit: int | None, found: NotAtHandError) -> dict[str, Any]:
    cost = _cost(study, limit, found.bases, found.drawn, found.asked, None)
    grid = cost["grid"]
    return {
        "notes": [],
        "unchecked": [*found.reasons, UNCHECKED],
        "bases": [asdict(base) for base in found.bases],
        "data": [],
        "train": None,
        "evaluate": None,
        "total": f"{grid['adapters']} adapters, {grid['baselines']} baselines, "
        f"{grid['eval cells']} eval cells",
        "cost": cost,
    }


def _cost(
    study: Study,
    limit: int | None,
    bases: Sequence[BaseModel],
    drawn: Sequence[Drawn],
    asked: Sequence[Asked],
    trained: dict[str, TrainCell] | None,
) -> dict[str, Any]:
    """The estimate over `trained`; over cells whose ids mean nothing, if it is None."""
    rows = rows_of(study, drawn)
    here = {base.name: base for base in bases}
    if trained is None:
        named = [
            here.get(name) or BaseModel(name, name, name, None, "") for name in study.base.models
        ]
        names = study.train.templates if study.train else []
        templates = {(base.identity, name): name for base in named for name in names}
        trained = train_cells(study, named, [one.data for one in rows], templates)
    shapes = [base_of(name, here.get(name)) for name in study.base.models]
    return estimate(study, trained, shapes, rows, items_of(study, asked, limit))


def _check_targets(study: Study, bases: Sequence[BaseModel]) -> None:
    """Raises StudyError if a listed target module is in no layer of a well-known base."""
    train = study.train
    if train is None or isinstance(train.target_modules, str):
        return
    here = {base.name for base in bases}
    for index, name in enumerate(study.base.models):
        shape = None if name in here else known(name)
        if shape is None:
            continue
        for target in train.target_modules:
            if target.rpartition(".")[2] not in shape.modules:
                raise StudyError(
                    f"base.models[{index}]: {name}: train.target_modules: no module {target!r}",
                    nearest(target, shape.modules),
                )
