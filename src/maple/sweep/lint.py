"""The prompt linter and the self-test of metrics, on what a study uses or on all that ships."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from maple.data.pulled import Pulled, is_pulled, load
from maple.data.reading import reading
from maple.data.release import NoFilesError
from maple.errors import DataError, MapleError, ModelError, NoExemplarsError
from maple.evaluate.extra import PMI
from maple.evaluate.fitting import fit
from maple.evaluate.responses import Asked as Rendered
from maple.evaluate.responses import exemplars_of, neutral_prompt, put
from maple.models.window import Window
from maple.protocols import Task
from maple.records import BaseModel, ChoiceResponse, Example, Frame, GenerateResponse
from maple.study.config import FOREIGN, EvaluateSection
from maple.study.prompts import prompts_of
from maple.sweep.asked import Asked, asked_of, bound, fixed_order
from maple.sweep.datacheck import wanted
from maple.tasks import OWN_TASKS
from maple.tasks.harness import Harness
from maple.tasks.native import NativeTask

_PACKAGED = "mini"
_GOLDS = 100
"""Items of a subset on which a right answer must get full marks."""

_ODD = 0.1
"""Share of items that a metric may leave without full marks because of their own texts, and a plan
then says so: a summary of one word has no ROUGE-2. More than that is the metric's fault."""

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Linted:
    """One subset of a task under one prompt.

    Attributes:
        items: read and looked at, exemplars not counted.
        problems: violations, a line each.
        shortened: by name of a base, how many items leave out exemplars or text to fit it.
        asked: what was read; None where it could not be read, and for what only ships.
        error: why it could not be read.
    """

    task: str
    dataset: str
    subset: str
    prompt: str
    n_shot: int | None
    items: int
    problems: tuple[str, ...] = ()
    shortened: Mapping[str, int] = field(default_factory=dict)
    asked: Asked | None = None
    error: MapleError | None = None

    def as_json(self) -> dict[str, Any]:
        """JSON-ready; what could not be read is a problem, too."""
        problems = list(self.problems) if self.error is None else [str(self.error)]
        names = ("task", "dataset", "subset", "prompt", "n_shot", "items")
        return {
            **{name: getattr(self, name) for name in names},
            "shortened": dict(self.shortened),
            "problems": problems,
        }


def of_study(
    evaluate: EvaluateSection,
    folder: Path | None,
    windows: Sequence[tuple[BaseModel, Window]],
    frames: Mapping[tuple[str, str], Frame],
) -> list[Linted]:
    """Read and look at everything that a study asks.

    Args:
        evaluate: of the study, canonicalised.
        folder: release files; None for the hub, or what stands in for it.
        windows: the study's base models.
        frames: of training templates, by identity of the base and name; those that are not there
            cannot be used, which is said elsewhere.
    """
    harness = Harness([Path(name) for name in evaluate.lm_eval_include])
    prompts = prompts_of(evaluate)
    found: list[Linted] = []
    for section in evaluate.task:
        try:
            task, own = bound(section, evaluate.exemplar_seed, harness, prompts)
        except MapleError as error:
            found.append(Linted(section.name, "", "", section.prompt, 0, 0, error=error))
            continue
        for name in own.subsets:
            try:
                made = asked_of(task, own, name, folder)
                found.append(_of_asked(made, evaluate.exemplar_seed, windows, frames))
            except MapleError as error:
                named = error.what.startswith(f"{own.name}/")
                what = error.what if named else f"{own.name}/{name}: {error.what}"
                where = MapleError(what, error.hint)
                cell = (own.name, own.dataset, name, own.prompt, own.n_shot)
                found.append(Linted(*cell, 0, error=where))
    return found


def of_all(folder: Path | None, on_step: OnStep) -> list[Linted]:
    """Look at every task of this package, with its subsets and prompts, in `mini` and a folder.

    Args:
        folder: release files, or what `maple data pull` made; subsets that it lacks are left out,
            and so are prompts in a language that has no words for them.
        on_step: is told what is read next.
    """
    found: list[Linted] = []
    for task in OWN_TASKS.values():
        for subset in task.subsets(_PACKAGED):
            found += _of_prompts(task, _PACKAGED, subset, None, on_step)
    if folder is None:
        return found
    if not folder.is_dir():
        raise DataError(f"--data {folder}: no such folder")
    pulled: Pulled | None = load(folder) if is_pulled(folder) else None
    with reading(mirror=pulled):
        for task, dataset, subsets in wanted(pulled, OWN_TASKS):
            for subset in subsets:
                source = folder if pulled is None else None
                found += _of_prompts(task, dataset, subset, source, on_step)
    return found


def violations(
    task: Task,
    subset: str,
    prompt: str,
    items: Sequence[Example],
    shots: Sequence[Example],
    source: str,
) -> tuple[list[str], list[str]]:
    """What is wrong with the prompts, exemplars and metrics of a subset, a line each.

    And what is odd about single items, which a plan says and which stops nothing.

    Args:
        task: asks and scores the items.
        items: the scored items.
        shots: what may stand before them, of the subset `source`.
    """
    found = [
        f"exemplar {shot.example_id} shares its passage with a scored item"
        for shot in _leaking(task, items, shots)
    ]
    if source == subset:
        found += task.lint([*shots, *items], subset, prompt)
    else:
        found += [*task.lint(shots, source, prompt), *task.lint(items, subset, prompt)]
    found += task.self_test(items, subset)
    odd: list[str] = []
    for metric, low in _unrewarded(task, items, subset, prompt).items():
        if _is_fault(low, items):
            found.append(f"{_named(low)}: {metric} gives less than 1 to the right answer")
        elif low:
            odd.append(f"{_named(low)}: the right answer gets less than 1 by {metric}")
    return found, odd


def right_answer(task: Task, item: Example) -> ChoiceResponse | GenerateResponse:
    """What a model answers that knows the answer."""
    if task.max_new_tokens is not None:
        return GenerateResponse(f" {item.golds[0]}", "stop", 1, 1, (), ())
    count = len(item.choices)
    logprobs = tuple(-1.0 if index == item.target else -1e6 for index in range(count))
    return ChoiceResponse(logprobs, (1,) * count, (False,) * count, 1, (), ())


def _of_asked(
    made: Asked,
    seed: int,
    windows: Sequence[tuple[BaseModel, Window]],
    frames: Mapping[tuple[str, str], Frame],
) -> Linted:
    task, subset = made.task, made.subset
    pool = None if subset.pool is None else made.pool
    source = subset.exemplar_subset or subset.subset
    shots = exemplars_of(subset.task, source, subset.n_shot, seed, pool)
    found, odd = violations(task, subset.subset, subset.prompt, made.items, shots, source)
    shortened: dict[str, int] = {}
    if not found:
        asked = (task, subset.subset, subset.prompt, made.items, shots, source)
        rendered = put(*asked)
        if any(metric.name == PMI for metric in subset.metrics):
            found += _without_label(rendered)
        for base, window in windows:
            try:
                if subset.template is not None:
                    frame = frames.get((base.identity, subset.template))
                    if frame is None:
                        continue
                    rendered = put(*asked, frame)
                    window.lengths(rendered.requests[:1])  # a template may spell BOS out
                fitted = fit(window.lengths, window.max_context, rendered)
            except ModelError as error:
                found.append(f"{base.name}: {error.what}")
                continue
            if fitted.shortened:
                shortened[base.name] = len(fitted.shortened)
            found += _too_long(fitted.too_long, base.name, window.max_context)
        made = replace(made, remarks=(*made.remarks, *odd))
    where = (subset.task, subset.dataset, subset.subset, subset.prompt, subset.n_shot)
    return Linted(*where, len(made.items), tuple(found), shortened, made)


def _of_prompts(
    task: Task, dataset: str, subset: str, folder: Path | None, on_step: OnStep
) -> Iterator[Linted]:
    on_step(f"{task.name}/{subset} ({dataset})")
    try:
        items = fixed_order(task.examples(dataset, subset, folder))
        pool: Sequence[Example] = ()
        lender = task.lent_by(dataset, subset, folder) if isinstance(task, NativeTask) else subset
        with suppress(NoFilesError, NoExemplarsError):
            pool = fixed_order(task.exemplar_pool(dataset, lender, folder) or ())
    except NoFilesError:
        return
    except DataError as error:
        yield Linted(task.name, dataset, subset, "", None, 0, error=error)
        return
    for prompt in task.prompts:
        try:
            for worded in (subset, lender):
                task.prompt_text(worded, prompt)
        except DataError:
            continue  # no words in this language; a study that asks for it is told so
        found = tuple(violations(task, subset, prompt, items, pool, lender)[0])
        yield Linted(task.name, dataset, subset, prompt, None, len(items), found)


def _leaking(task: Task, items: Sequence[Example], shots: Sequence[Example]) -> Iterator[Example]:
    """Exemplars that are scored, or share a passage (or all texts) with what is scored."""
    names = {item.cluster_id for item in items} | {item.example_id for item in items}
    alike = task.alike if isinstance(task, NativeTask) else None
    texts = {alike(item) for item in items} if alike else set()
    for shot in shots:
        if {shot.cluster_id, shot.example_id} & names or (alike and alike(shot) in texts):
            yield shot


def _unrewarded(
    task: Task, items: Sequence[Example], subset: str, prompt: str
) -> dict[str, list[str]]:
    """Ids of items whose right answer a metric does not give full marks, by metric."""
    if task.name.startswith(FOREIGN):
        return {}
    return {
        metric: [
            item.example_id
            for item in items[:_GOLDS]
            if task.score(item, right_answer(task, item), metric, subset, prompt) < 1.0
        ]
        for metric in task.metrics
    }


def _is_fault(low: Sequence[str], items: Sequence[Example]) -> bool:
    """Whether it is the metric's fault and not that of an item's own text."""
    return len(low) > max(1, _ODD * len(items[:_GOLDS]))


def _without_label(rendered: Rendered) -> Iterator[str]:
    """Why there is no neutral prompt for `PMI`; of the first item that has none."""
    for example, item in zip(rendered.examples, rendered.prompted, strict=True):
        try:
            neutral_prompt(example, item)
        except DataError as error:
            yield error.what
            return


def _too_long(found: Mapping[str, int], base: str, context: int) -> Iterator[str]:
    if found:
        yield (
            f"{_named(list(found))}: the prompt is too long: {max(found.values())} tokens without "
            f"exemplars, {base} reads {context}"
        )


def _named(items: Sequence[str]) -> str:
    return items[0] + (f" and {len(items) - 1} more" if len(items) > 1 else "")
