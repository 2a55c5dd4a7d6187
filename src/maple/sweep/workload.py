"""What a study does, in rows, items and tokens: from what was read, or from known sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maple.data.shares import divide, most, shares
from maple.data.sizes import known
from maple.data.sources import Source
from maple.errors import DataError
from maple.languages import ENGLISH
from maple.models import architecture, counting
from maple.models.architecture import Architecture
from maple.records import BaseModel, Example, InstructionRow, Mixture
from maple.study.config import FOREIGN, Study, TrainSection
from maple.study.grid import TrainingData
from maple.study.setups import translated
from maple.sweep import lengths
from maple.sweep.asked import Asked
from maple.sweep.drawing import Drawn, languages_of, sources_by_name
from maple.sweep.lengths import COUNTED, Counter, Length
from maple.tasks import TASKS

Texts = tuple[tuple[str, str], ...]
"""Prompts with their answers."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Training data of one source and mixture.

    Attributes:
        release: name of the source whose files these are.
        by_language: how many; None for a language whose size is unknown.
        read: they were drawn and counted; else these are the releases' sizes, rows without an
            output among them.
        texts: some of the rows of each language, where they were read.
    """

    data: TrainingData
    release: str
    by_language: Mapping[str, int | None]
    read: bool
    texts: Mapping[str, Texts]


@dataclass(frozen=True, slots=True)
class Items:
    """One subset of a task under one prompt.

    Attributes:
        items: asked under the limit; None where unknown.
        writes: answers are written; else choices are read.
        texts: some of the items, where they were read.
        clusters: cluster of each item asked; empty where they were not read.
    """

    task: str
    subset: str
    language: str
    items: int | None
    n_shot: int
    writes: bool
    texts: Texts
    clusters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Base:
    """A base model as far as its costs go.

    Attributes:
        shape: None where it is not known, or of another kind.
        count: its tokenizer, where that is here.
    """

    name: str
    shape: Architecture | None
    count: Counter | None

    def row(self, rows: Rows, language: str) -> Length:
        """Tokens of a row of a language."""
        if self.count is not None and rows.texts.get(language):
            return lengths.counted(self.count, rows.texts[language], template=True)
        return lengths.of_row(rows.release, language, self.tokenizer)

    def item(self, items: Items) -> Length | None:
        """Tokens of an item of a subset; None for tasks whose items nobody has measured."""
        if self.count is not None and items.texts:
            return lengths.counted(self.count, items.texts)
        return lengths.of_item(items.task, items.language, self.tokenizer)

    @property
    def tokenizer(self) -> str:
        """Name of its measured tokenizer; "" for none."""
        return "" if self.shape is None else self.shape.tokenizer


def base_of(name: str, found: BaseModel | None) -> Base:
    """A base of a study.

    Args:
        found: its files; None where they are not at hand.
    """
    if found is None:
        return Base(name, architecture.known(name), None)
    return Base(name, architecture.of_base(found), counting.counter(found))


def rows_of(study: Study, drawn: Sequence[Drawn]) -> list[Rows]:
    """All training data of a study, whether they could be drawn or not."""
    if study.train is None:
        return []
    sources = sources_by_name(study.train)
    read = {(one.data.source, one.data.mixture): one for one in drawn}
    found = []
    for name in study.train.sources:
        release = sources[name].part_of or name
        for mixture in study.train.mixtures():
            here = read.get((name, mixture.name))
            if here is not None:
                counts = {line.language: line.rows for line in here.data.table}
                found.append(Rows(here.data, release, counts, True, _row_texts(here.rows)))
                continue
            sizes = _expected(study.train, sources[name], mixture)
            total = sum(size or 0 for size in sizes.values())
            # Its content is not known: a name that no other data have stands for the hash.
            content = f"{name}/{mixture.name}"
            data = TrainingData(name, tuple(sizes), total, content, mixture.name)
            found.append(Rows(data, release, sizes, False, {}))
    return found


def items_of(study: Study, asked: Sequence[Asked], limit: int | None) -> list[Items]:
    """All subsets that a study asks, whether they could be read or not."""
    if study.evaluate is None:
        return []
    limit = limit or study.evaluate.limit
    read = {_key(one): one for one in asked}
    found = []
    for section in study.evaluate.task:
        if section.name.startswith(FOREIGN):
            here = [one for one in asked if one.subset.task == section.name]
            found += [_read(one, limit) for one in here]
            if not here:  # what it has is known only when it is read
                found.append(Items(section.name, "", ENGLISH, None, section.n_shot, False, ()))
            continue
        task = TASKS[section.name]
        for released in section.subsets:
            name = released
            if section.setup == "translate-test":
                name = translated(released, section.translated_by or "")
            key = (section.name, section.dataset, name, section.prompt, section.n_shot)
            if key in read:
                found.append(_read(read[key], limit))
                continue
            size = _least(known(section.name, section.dataset, released).items, limit)
            language = task.answer_language(name)
            writes = task.max_new_tokens is not None
            found.append(Items(task.name, name, language, size, section.n_shot, writes, ()))
    return found


def _read(one: Asked, limit: int | None) -> Items:
    subset, task = one.subset, one.task
    return Items(
        task=task.name,
        subset=subset.subset,
        language=task.answer_language(subset.subset),
        items=_least(len(one.items), limit),
        n_shot=subset.n_shot,
        writes=task.max_new_tokens is not None,
        texts=_item_texts(one),
        clusters=tuple(item.cluster_id for item in one.items[:limit]),
    )


def _least(items: int | None, limit: int | None) -> int | None:
    return items if items is None or limit is None else min(items, limit)


def _key(one: Asked) -> tuple[str, str, str, str, int]:
    subset = one.subset
    return subset.task, subset.dataset, subset.subset, subset.prompt, subset.n_shot


def _expected(train: TrainSection, source: Source, mixture: Mixture) -> dict[str, int | None]:
    """Rows by language as `data.mixtures.select` would divide what the release has."""
    keys = [key for key in languages_of(train, source) if mixture.english is None or key != ENGLISH]
    if mixture.english:
        keys.append(ENGLISH)
    release = source.part_of or source.name
    held_out = train.validation.rows if train.validation is not None else 0
    sizes = {key: known(release, "release", key).items for key in sorted(keys)}
    if mixture.english and ENGLISH not in source.languages:
        sizes[ENGLISH] = known(mixture.english_from or "", "release", ENGLISH).items
    available = {key: max(1, size - held_out) for key, size in sizes.items() if size is not None}
    total = mixture.rows
    if total is None and source.rows_each is not None:
        total = source.rows_each * len(keys)
    even = mixture.weights == "uniform" and not mixture.classes and not mixture.english
    if len(available) < len(sizes):
        if total is None or not even:
            return dict.fromkeys(sizes)
        available = dict.fromkeys(sizes, total)
    if total is None and even:
        return dict(available)
    try:
        shared = shares(mixture, available)
    except DataError:
        return dict.fromkeys(sizes)
    return dict(divide(shared, total or most(shared, available)))


def _row_texts(rows: Sequence[InstructionRow]) -> dict[str, Texts]:
    found: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        of_language = found.setdefault(row.language, [])
        if len(of_language) < COUNTED:
            earlier = [text for _, text in row.turns]
            of_language.append(("\n".join([*earlier, row.instruction, row.input]), row.output))
    return {language: tuple(texts) for language, texts in found.items()}


def _item_texts(one: Asked) -> Texts:
    return tuple(_texts(one, item) for item in one.items[:COUNTED])


def _texts(one: Asked, item: Example) -> tuple[str, str]:
    prompted = one.task.render(item, one.subset.subset, one.subset.prompt)
    if one.task.max_new_tokens is None:
        return prompted.text, "".join(prompted.answers)
    return prompted.text, item.golds[0] if item.golds else ""
