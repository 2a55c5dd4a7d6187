"""The items of a study as they are read: the subsets of its tasks, each in its fixed order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maple.errors import DataError
from maple.evaluate.extra import extras
from maple.languages import ENGLISH
from maple.metrics.identify import ANOTHER, probability
from maple.protocols import Task
from maple.records import Example, UserPrompt
from maple.store import schemas
from maple.study.config import FOREIGN, TaskSection
from maple.study.grid import Metric, Subset
from maple.study.identity import content_hash
from maple.study.setups import translated
from maple.tasks import TASKS, with_prompts
from maple.tasks.foreign import OWN, ForeignTask
from maple.tasks.harness import Harness
from maple.tasks.native import NativeTask

_READ = 100
"""Translated items whose language is looked at."""

_ODD = 0.1
"""Share of them that may look like another language: names and quotations do."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The items and exemplar pool of one subset of a task, in their fixed order."""

    task: Task
    subset: Subset
    items: tuple[Example, ...]
    pool: tuple[Example, ...]
    remarks: tuple[str, ...]


def bound(
    section: TaskSection,
    seed: int,
    harness: Harness,
    prompts: Sequence[UserPrompt] = (),
) -> tuple[Task, TaskSection]:
    """The task that a section names, and the section with what a foreign task has of its own.

    Raises:
        DataError: a foreign task that cannot be found, read or asked.
    """
    if not section.name.startswith(FOREIGN):
        return with_prompts(TASKS[section.name], prompts), section
    task = ForeignTask(harness, section.name, section.language, section.n_shot, seed)
    own = {"dataset": OWN, "prompt": OWN, "subsets": list(task.subsets(OWN))}
    return task, section.model_copy(update=own)


def asked_of(task: Task, section: TaskSection, name: str, folder: Path | None) -> Asked:
    """Read one subset of a task.

    Raises:
        DataError: the data cannot be read.
    """
    source = exemplar_subset(task, section, name, folder)
    given, released = folder, name
    if section.setup == "translate-test":
        # Its exemplars are the release's own, in English; only the items are translated.
        given = Path(section.translations or "")
        name = translated(name, section.translated_by or "")
    items = fixed_order(task.examples(section.dataset, released, given))
    pool = None
    if section.n_shot:
        pool = task.exemplar_pool(section.dataset, source or released, folder)
    language = task.answer_language(name)
    asked = extras(section.metrics, task.metrics, task.name)
    metrics = [Metric(metric, *task.metric_identity(metric, name)) for metric in task.metrics]
    metrics += [Metric(one.name, one.version, one.protocol) for one in asked if one.knows(language)]
    unknown = [f"{one.name} has no rules for it" for one in asked if not one.knows(language)]
    # Exemplars of another subset have its words, where those are others.
    worded = [name] if source is None or pool is None else [name, source]
    texts = dict.fromkeys(task.prompt_text(one, section.prompt) for one in worded)
    subset = Subset(
        task=task.name,
        dataset=section.dataset,
        subset=name,
        items=_items_hash(items),
        prompt=section.prompt,
        prompt_hash=content_hash([*texts, list(task.stop)]),
        n_shot=section.n_shot,
        pool=None if pool is None else _items_hash(fixed_order(pool)),
        max_new_tokens=task.max_new_tokens,
        metrics=tuple(metrics),
        exemplar_subset=source,
        template=section.template,
    )
    candidates = tuple(fixed_order(pool or ()))
    borrowed = (
        [f"has no exemplars of its own here, takes those of {source}"]
        if source is not None and section.setup == "monolingual"
        else []
    )
    remarks = (
        *task.remarks(items),
        *_translation(section, task, items),
        *borrowed,
        *_of_pool(task, pool or ()),
        *_left_out(task, items, name, section.prompt),
        *unknown,
    )
    return Asked(task, subset, tuple(items), candidates, remarks)


def exemplar_subset(task: Task, section: TaskSection, name: str, folder: Path | None) -> str | None:
    """The subset that exemplars come from; None for the one that is asked.

    A monolingual study gets those of another language where a benchmark has none in the item's.

    Raises:
        DataError: the set-up wants English ones, and there are none.
    """
    if section.setup == "monolingual":
        if not section.n_shot or not isinstance(task, NativeTask):
            return None
        lender = task.lent_by(section.dataset, name, folder)
        return None if lender == name else lender
    if section.setup == "translate-test" and not isinstance(task, NativeTask):
        raise DataError(f"{task.name} does not know how to ask translated items")
    for subset in task.subsets(section.dataset):
        if task.language(subset) == task.answer_language(subset) == ENGLISH:
            return None if subset == name else subset
    raise DataError(
        f"{task.name} ({section.dataset}) has no subset in English, which {section.setup} takes "
        "exemplars from",
        'set setup = "monolingual"',
    )


def _of_pool(task: Task, pool: Sequence[Example]) -> Iterator[str]:
    if isinstance(task, NativeTask):
        yield from (f"exemplars: {remark}" for remark in task.pool_remark(pool))


def _left_out(task: Task, items: Sequence[Example], subset: str, prompt: str) -> Iterator[str]:
    if isinstance(task, NativeTask) and (names := task.left_out(items, subset, prompt)):
        yield f"prompt {prompt} does not show: {', '.join(names)}"


def _translation(section: TaskSection, task: Task, items: Sequence[Example]) -> Iterator[str]:
    if section.setup == "translate-test":
        yield f"translated to English by {section.translated_by}, asked and scored in English"
        texts = [" ".join(item.fields.values()) for item in items[:_READ]]
        read = [found for text in texts if (found := probability(text, ENGLISH)) is not None]
        other = sum(found < ANOTHER for found in read)
        if other > _ODD * len(read):
            yield f"{other} of the first {len(read)} do not read as English"
        if task.max_new_tokens is not None:
            yield "right answers are those of the translated files"


def fixed_order(examples: Sequence[Example]) -> list[Example]:
    """The order in which a subset is always answered: by hash of the example id.

    A limited run is a prefix of it: the same items in every language of a parallel set, spread
    over passages instead of taken from the first few.
    """
    return sorted(
        examples, key=lambda example: hashlib.sha256(example.example_id.encode()).digest()
    )


def _items_hash(examples: Sequence[Example]) -> str:
    return content_hash(schemas.items_table(examples).to_pylist())
