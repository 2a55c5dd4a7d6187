"""Reading a study file: every mistake in it at once, each with its key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maple.errors import MapleError, StudyError, nearest
from maple.languages import ENGLISH, language
from maple.study import templates
from maple.study.config import FOREIGN, PromptSection, Study, TaskSection, TrainSection
from maple.study.parsing import parsed, read_toml
from maple.study.prompts import KnownTask, bind
from maple.study.sources import bind as bind_sources
from maple.study.sources import lenders
from maple.study.training import bind_methods, unanswerable

_NOT_FOREIGN = ("dataset", "metrics", "prompt", "subsets", "setup", "translations", "translated_by")
"""Keys that tasks of lm-evaluation-harness do not take."""

_NAMED = 8
"""Subsets that a message names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The names a study can refer to. Handed in, because tasks and data are built above study."""

    tasks: Mapping[str, KnownTask]
    sources: Mapping[str, Sequence[str]]
    templates: Sequence[str] = ()


def load(path: Path, catalogue: Catalogue) -> Study:
    """Read, validate and canonicalise a study file.

    Args:
        path: a TOML file.
        catalogue: names that tasks, subsets, prompts, sources and languages may have.

    Returns:
        The study with every language written as its key, every "all" of a task spelled out and
        every folder as an absolute path. "all" languages to train on stays: sources differ in them.

    Raises:
        StudyError: all problems of the file at once, each with file and key.
    """
    content = read_toml(path, "study file", "`maple init` writes one to start from")
    return validate(content, catalogue, where=str(path), folder=path.parent)


def validate(
    content: Mapping[str, Any], catalogue: Catalogue, where: str, folder: Path | None = None
) -> Study:
    """As `load`, for content that is already parsed.

    Args:
        content: of the file.
        catalogue: as there.
        where: names the content's origin in messages.
        folder: what the study's relative paths start from; the working directory by default.
    """
    study = parsed(Study, content, where)
    names = _Names(where, folder or Path())
    train = names.train(study.train, catalogue) if study.train else None
    templates.check(study, catalogue.templates, where, names.problems)
    evaluate = study.evaluate
    if train is not None and evaluate is not None:
        names.problems += unanswerable(train, evaluate, where)
    if evaluate is not None:
        prompts = bind(evaluate, catalogue.tasks, where, names.start, names.problems)
        tasks = [
            names.task(task, f"evaluate.task[{index}]", catalogue, prompts)
            for index, task in enumerate(evaluate.task)
        ]
        include = [
            names.folder(name, f"evaluate.lm_eval_include[{index}]")
            for index, name in enumerate(evaluate.lm_eval_include)
        ]
        found = {"task": tasks, "lm_eval_include": include, "prompt": prompts}
        evaluate = evaluate.model_copy(update=found)
    if names.problems:
        raise StudyError.of(names.problems)
    return study.model_copy(update={"train": train, "evaluate": evaluate})


class _Names:
    """Binds names to what exists, collecting every problem on the way."""

    def __init__(self, where: str, start: Path) -> None:
        self.where = where
        self.start = start
        self.problems: list[MapleError] = []

    def train(self, train: TrainSection, catalogue: Catalogue) -> TrainSection:
        own = bind_sources(train, catalogue.sources, self.where, self.start, self.problems)
        known = {**catalogue.sources, **{one.name: sorted(one.languages) for one in own}}
        lenders(train, known, self.where, self.problems)
        available: set[str] | None = None
        for index, source in enumerate(train.sources):
            if source not in known:
                self._unknown(f"train.sources[{index}]", "training source", source, known)
                continue
            has = set(known[source])
            available = has if available is None else available & has
        found: dict[str, object] = {"source": own}
        if train.languages != "all" and available is not None:
            found["languages"] = self._languages(
                train.languages, "train.languages", available, ", ".join(train.sources)
            )
        train, wrong = bind_methods(train, self.where)
        self.problems += wrong
        return train.model_copy(update=found)

    def folder(self, name: str, key: str) -> str:
        found = self.start.joinpath(Path(name).expanduser()).resolve()
        if not found.is_dir():
            self._add(f"{key}: {found}: no such folder", "")
        return str(found)

    def task(
        self,
        task: TaskSection,
        key: str,
        catalogue: Catalogue,
        prompts: Sequence[PromptSection],
    ) -> TaskSection:
        if task.name.startswith(FOREIGN):
            return self._foreign(task, key)
        if task.language is not None:
            self._add(
                f"{key}.language: {task.name} knows the languages of its subsets",
                f"only tasks named {FOREIGN}NAME take one",
            )
        try:
            known = catalogue.tasks.get(task.name)
        except MapleError as error:
            self._add(f"{key}.name: {error.what}", error.hint)
            return task
        if known is None:
            self._unknown(f"{key}.name", "task", task.name, catalogue.tasks)
            return task
        named = [*known.prompts, *(one.name for one in prompts if one.task == task.name)]
        if task.prompt not in named:
            self._unknown(f"{key}.prompt", f"prompt of {task.name}", task.prompt, named)
        self._metrics(task, key, known)
        if task.dataset not in known.datasets:
            self._unknown(f"{key}.dataset", f"dataset of {task.name}", task.dataset, known.datasets)
            return task
        if task.n_shot and task.dataset in known.poolless:
            self._add(
                f"{key}.n_shot: {task.name} ({task.dataset}) has no exemplars: all its items are "
                f"scored; got n_shot = {task.n_shot}",
                "set n_shot = 0",
            )
        subsets = sorted(known.datasets[task.dataset])
        if task.subsets != "all":
            subsets = self._languages(
                task.subsets, f"{key}.subsets", set(subsets), f"{task.name} ({task.dataset})"
            )
        if task.setup == "translate-test":
            return self._translated(task, key, subsets)
        if task.prompt in known.prompts:
            self._words(task, key, known, subsets)
        return task.model_copy(update={"subsets": subsets})

    def _metrics(self, task: TaskSection, key: str, known: KnownTask) -> None:
        for index, name in enumerate(task.metrics):
            if name not in known.metrics:
                what = f"metric to ask of {task.name} beside its own"
                self._unknown(f"{key}.metrics[{index}]", what, name, known.metrics)

    def _translated(self, task: TaskSection, key: str, subsets: Sequence[str]) -> TaskSection:
        others = [subset for subset in subsets if subset.partition(".")[0] != ENGLISH]
        if task.dataset == "mini":
            self._add(f"{key}.dataset: nobody has translated mini", "translate a release")
        if task.subsets != "all" and len(others) < len(subsets):
            self._add(f"{key}.subsets: {ENGLISH} needs no translation to English", "leave it out")
        folder = self.folder(task.translations or "", f"{key}.translations")
        return task.model_copy(update={"subsets": others, "translations": folder})

    def _words(self, task: TaskSection, key: str, known: KnownTask, subsets: Sequence[str]) -> None:
        lacking = [subset for subset in subsets if not known.asks(subset, task.prompt)]
        if lacking:
            others = [prompt for prompt in known.prompts if known.asks(lacking[0], prompt)]
            named = lacking[:_NAMED] + ["..."] * (len(lacking) > _NAMED)
            self._add(
                f"{key}.prompt: {task.prompt!r} of {task.name} has no words for "
                f"{len(lacking)} of {len(subsets)} subsets: {', '.join(named)}",
                "ask them with " + " or ".join(f'prompt = "{prompt}"' for prompt in others),
            )

    def _foreign(self, task: TaskSection, key: str) -> TaskSection:
        for name in sorted({*_NOT_FOREIGN} & task.model_fields_set):
            self._add(f"{key}.{name}: {task.name} has one of its own", "leave it out")
        if task.language is None:
            return task
        try:
            return task.model_copy(update={"language": language(task.language).key})
        except MapleError as error:
            self._add(f"{key}.language: {error.what}", error.hint)
            return task

    def _languages(
        self, tags: Sequence[str], key: str, available: set[str], owner: str
    ) -> list[str]:
        found: list[str] = []
        for index, tag in enumerate(tags):
            try:
                # A subset may be a pair of languages: "de.en".
                name = ".".join(language(part).key for part in tag.split("."))
            except MapleError as error:
                self._add(f"{key}[{index}]: {error.what}", error.hint)
                continue
            if name not in available:
                self._add(
                    f"{key}[{index}]: {owner} has no {name}"
                    + (f" ({tag!r})" if tag != name else ""),
                    "it has: " + ", ".join(sorted(available)),
                )
            elif name in found:
                self._add(f"{key}[{index}]: {name} is listed twice", "")
            else:
                found.append(name)
        return found

    def _unknown(
        self, key: str, kind: str, name: str, known: Mapping[str, Any] | Sequence[str]
    ) -> None:
        self._add(f"{key}: unknown {kind} {name!r}", nearest(name, known))

    def _add(self, what: str, hint: str) -> None:
        self.problems.append(MapleError(f"{self.where}: {what}", hint))
