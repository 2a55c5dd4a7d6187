"""Reading a study file: every mistake in it at once, each with its key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from maple.errors import MapleError, StudyError, nearest
from maple.languages import language
from maple.study.config import FOREIGN, Study, TaskSection, TrainSection

_NAMED = 8
"""Subsets that a message names; the others are counted."""


@dataclass(frozen=True, slots=True)
class KnownTask:
    """What a study may say about a task: its datasets with their subsets, prompts and metrics.

    Attributes:
        metrics: names of those that are computed where a study asks for them.
        poolless: datasets without exemplars.
        asks: whether there are the words to ask a subset (the first argument) with a prompt.
    """

    datasets: Mapping[str, Sequence[str]]
    prompts: Sequence[str]
    metrics: Sequence[str] = ()
    poolless: Sequence[str] = ()
    asks: Callable[[str, str], bool] = lambda _subset, _prompt: True


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The names a study can refer to. Handed in, because tasks and data are built above study."""

    tasks: Mapping[str, KnownTask]
    sources: Mapping[str, Sequence[str]]


def load(path: Path, catalogue: Catalogue) -> Study:
    """Read, validate and canonicalise a study file.

    Args:
        path: a TOML file.
        catalogue: names that tasks, subsets, prompts, sources and languages may have.

    Returns:
        The study with every language written as its key, every "all" spelled out and every folder
        as an absolute path.

    Raises:
        StudyError: all problems of the file at once, each with file and key.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise StudyError(
            f"{path}: no such study file", "`maple init` writes one to start from"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read: {error}", "expected a TOML file") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError as error:
        raise StudyError(f"{path}: is not valid TOML: nested too deeply") from error
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
    try:
        study = Study.model_validate(content)
    except ValidationError as error:
        raise StudyError.of(_problems(where, error.errors())) from error
    names = _Names(where)
    train = names.train(study.train, catalogue) if study.train else None
    evaluate = study.evaluate
    if evaluate is not None:
        tasks = [
            names.task(task, f"evaluate.task[{index}]", catalogue)
            for index, task in enumerate(evaluate.task)
        ]
        include = names.folders(evaluate.lm_eval_include, folder or Path())
        evaluate = evaluate.model_copy(update={"task": tasks, "lm_eval_include": include})
    if names.problems:
        raise StudyError.of(names.problems)
    return study.model_copy(update={"train": train, "evaluate": evaluate})


class _Names:
    """Binds names to what exists, collecting every problem on the way."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.problems: list[MapleError] = []

    def train(self, train: TrainSection, catalogue: Catalogue) -> TrainSection:
        available: set[str] | None = None
        for index, source in enumerate(train.sources):
            if source not in catalogue.sources:
                self._unknown(
                    f"train.sources[{index}]", "training source", source, catalogue.sources
                )
                continue
            has = set(catalogue.sources[source])
            available = has if available is None else available & has
        if train.languages == "all" or available is None:
            languages = sorted(available or ())
        else:
            languages = self._languages(
                train.languages, "train.languages", available, ", ".join(train.sources)
            )
        return train.model_copy(update={"languages": languages})

    def folders(self, given: Sequence[str], start: Path) -> list[str]:
        found = [start.joinpath(Path(name).expanduser()).resolve() for name in given]
        for index, folder in enumerate(found):
            if not folder.is_dir():
                self._add(f"evaluate.lm_eval_include[{index}]: {folder}: no such folder", "")
        return [str(folder) for folder in found]

    def task(self, task: TaskSection, key: str, catalogue: Catalogue) -> TaskSection:
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
        if task.prompt not in known.prompts:
            self._unknown(f"{key}.prompt", f"prompt of {task.name}", task.prompt, known.prompts)
        for index, name in enumerate(task.metrics):
            if name not in known.metrics:
                what = f"metric to ask of {task.name} beside its own"
                self._unknown(f"{key}.metrics[{index}]", what, name, known.metrics)
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
        if task.prompt in known.prompts:
            self._words(task, key, known, subsets)
        return task.model_copy(update={"subsets": subsets})

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
        for name in sorted({"dataset", "metrics", "prompt", "subsets"} & task.model_fields_set):
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


def _problems(where: str, details: Sequence[ErrorDetails]) -> list[MapleError]:
    """Pydantic's findings in the project's words, one a key.

    Where a key may be one of several kinds of value, pydantic reports what each kind says: they
    are alternatives of one problem, and of no interest where an element inside is the problem.
    """
    by_key: dict[str, list[ErrorDetails]] = {}
    for detail in details:
        by_key.setdefault(_key(detail["loc"]), []).append(detail)
    return [
        _problem(where, key, found)
        for key, found in by_key.items()
        if not any(other.startswith((f"{key}[", f"{key}.")) for other in by_key)
    ]


def _problem(where: str, key: str, found: Sequence[ErrorDetails]) -> MapleError:
    first = found[0]
    if first["type"] == "extra_forbidden":
        *parents, name = first["loc"]
        return MapleError(
            f"{where}: {key}: unknown key", nearest(str(name), _keys_at(Study, parents))
        )
    if first["type"] == "missing":
        return MapleError(f"{where}: {key}: is missing", _expectation(first["loc"]))
    messages = []
    for detail in found:
        message = detail["msg"].removeprefix("Value error, ")
        messages.append(message[:1].lower() + message[1:])
    given = first["input"]
    hidden = isinstance(given, Mapping) or key in _UNSHOWN
    shown = "" if hidden else f"got {given!r}, "
    return MapleError(f"{where}: {key or 'the study'}: {shown}{' or '.join(messages)}")


_UNSHOWN = frozenset({"evaluate.server", "evaluate.server.url"})
"""Keys whose values are not repeated: an address may have a password in it."""

_EXPECTATIONS: Mapping[str, str] = {
    "lora_alpha": 'state a rule such as lora_alpha = "2r": with a constant alpha, '
    "a sweep over r is also a sweep over the learning rate",
    "n_shot": "number of exemplars, for example n_shot = 4",
    "models": 'for example models = ["demo:gemma-3-270m"]',
    "r": "ranks, for example r = [8, 64]",
    "train_bits": "precisions, for example train_bits = [4, 16]",
}


def _expectation(location: Sequence[int | str]) -> str:
    return _EXPECTATIONS.get(str(location[-1]), "") if location else ""


# Parts of pydantic's locations that name a branch of a union, not a key of the file.
_UNION_BRANCHES = ("literal", "list", "constrained", "function", "str", "float", "int")


def _key(location: Sequence[int | str]) -> str:
    key = ""
    for part in location:
        if isinstance(part, int):
            key += f"[{part}]"
        elif not (key and part.startswith(_UNION_BRANCHES) and not part.isidentifier()):
            if key and part in {"str", "float", "int"}:
                continue
            key += f".{part}" if key else part
    return key


def _keys_at(model: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the keys that the section at `location` may have."""
    current: type[BaseModel] = model
    for part in location:
        if isinstance(part, str) and part in current.model_fields:
            inner = next(_sections_in(current.model_fields[part].annotation), None)
            if inner is None:
                return []
            current = inner
    return list(current.model_fields)


def _sections_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _sections_in(argument)
