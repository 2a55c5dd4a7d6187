"""The prompts that a study brings with it: read, checked, and bound to what there is."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maple.errors import MapleError, nearest
from maple.languages import language
from maple.records import UserPrompt
from maple.study.config import EvaluateSection, PromptFile, PromptSection
from maple.study.parsing import parsed, read_toml


@dataclass(frozen=True, slots=True)
class KnownTask:
    """What a study may say about a task: its datasets with their subsets, prompts and metrics.

    Attributes:
        metrics: names of those that are computed where a study asks for them.
        poolless: datasets without exemplars.
        asks: whether there are the words to ask a subset (the first argument) with a prompt.
        fields: what a user's prompt may show of its items; None where it takes no such prompts.
        places: names of the fields that the text of a prompt shows.
        choices: how many its items have; 0 where answers are written.
        labels: choices are labels of the release ("entailment"), which no prompt can show.
    """

    datasets: Mapping[str, Sequence[str]]
    prompts: Sequence[str]
    metrics: Sequence[str] = ()
    poolless: Sequence[str] = ()
    asks: Callable[[str, str], bool] = lambda _subset, _prompt: True
    fields: Sequence[str] | None = None
    places: Callable[[str], Sequence[str]] = lambda _text: ()
    choices: int = 0
    labels: bool = False


def bind(
    evaluate: EvaluateSection,
    tasks: Mapping[str, KnownTask],
    where: str,
    folder: Path,
    problems: list[MapleError],
) -> list[PromptSection]:
    """The prompts of a study and of the file it names, with languages as keys.

    Args:
        evaluate: as parsed.
        tasks: that there are.
        where: names the study in messages.
        folder: what the study's relative paths start from.
        problems: receives everything that is wrong, each with file and key.
    """
    listed = [
        (f"{where}: evaluate.prompt[{index}]", section)
        for index, section in enumerate(evaluate.prompt)
    ]
    if evaluate.prompts_from is not None:
        path = folder / Path(evaluate.prompts_from).expanduser()
        try:
            content = read_toml(path, "file of prompts", "evaluate.prompts_from names it")
            file = parsed(PromptFile, content, str(path))
            listed += [(f"{path}: prompt[{at}]", one) for at, one in enumerate(file.prompt)]
        except MapleError as error:
            problems.append(error)
    taken: dict[tuple[str, str, str], str] = {}
    return [_Bound(key, problems).prompt(section, tasks, taken) for key, section in listed]


def prompts_of(evaluate: EvaluateSection | None) -> tuple[UserPrompt, ...]:
    """The prompts of a study, one a language, as tasks and workers take them."""
    found: list[UserPrompt] = []
    for one in evaluate.prompt if evaluate is not None else ():
        where = f"prompt {one.name!r} of {one.task}"
        for key in ["all"] if one.languages == "all" else one.languages:
            words_in = one.words_in or key
            text = (one.text, tuple(one.answers), one.values, where)
            found.append(UserPrompt(one.name, one.task, key, words_in, *text))
    return tuple(found)


class _Bound:
    """Binds one prompt to what there is; `key` is its place in messages."""

    def __init__(self, key: str, problems: list[MapleError]) -> None:
        self._key = key
        self._problems = problems

    def prompt(
        self,
        section: PromptSection,
        tasks: Mapping[str, KnownTask],
        taken: dict[tuple[str, str, str], str],
    ) -> PromptSection:
        """The section with languages as keys.

        Args:
            taken: places of earlier prompts by task, name and language; receives this one's.
        """
        try:
            known = tasks.get(section.task)
            if known is None:
                self._add("task", f"unknown task {section.task!r}", nearest(section.task, tasks))
            else:
                self._against(section, known)
        except MapleError as error:
            self._add("task", error.what, error.hint)
        languages = section.languages
        if languages != "all":
            languages = self._languages(languages, "languages")
        elif section.words_in is None:
            self._add("words_in", "is missing: languages is 'all'", 'for example words_in = "en"')
        words_in = section.words_in
        if words_in is not None:
            words_in = (self._languages([words_in], "words_in") or [words_in])[0]
        for key in ["all"] if languages == "all" else languages:
            first = taken.setdefault((section.task, section.name, key), self._key)
            if first != self._key:
                self._add("name", f"{section.name!r} has a text for {key} in {first} already", "")
        return section.model_copy(update={"languages": languages, "words_in": words_in})

    def _against(self, section: PromptSection, known: KnownTask) -> None:
        if known.fields is None:
            self._add("task", f"{section.task} takes no prompts of a study", "")
            return
        if section.name in known.prompts:
            hint = "give it another name"
            self._add("name", f"{section.task} ships a prompt {section.name!r}", hint)
        shown = known.places(section.text)
        for name in dict.fromkeys(shown):
            if name not in known.fields:
                hint = nearest(name, known.fields)
                self._add("text", f"the items of {section.task} have no {name!r}", hint)
        rest = section.text
        for name in shown:
            rest = rest.replace(f"{{{name}}}", "")
        if stray := re.search(r"[{}][^{}\n]{0,20}", rest):
            hint = "a field stands as {name}, without spaces; other braces are not for a prompt"
            self._add("text", f"{stray[0]!r} is no field in braces", hint)
        if not shown:
            self._add("text", "shows nothing of an item", f"name a field: {{{known.fields[0]}}}")
        for name in section.values:
            if name not in shown:
                self._add(f"values.{name}", f"the text has no {{{name}}}", "")
        self._answers(section, known)

    def _answers(self, section: PromptSection, known: KnownTask) -> None:
        count = len(section.answers)
        if count and count != known.choices:
            expected = f"{known.choices}" if known.choices else "none: its answers are written"
            what = f"{count} answers, the items of {section.task} have {expected}"
            self._add("answers", what, "one answer a choice, in the choices' order")
        if known.labels and not count:
            hint = f"say what stands for each of the {known.choices} labels of the release"
            self._add("answers", "is missing", hint)
        if len({one.strip() for one in section.answers}) < count:
            self._add("answers", "two answers are alike", "")

    def _languages(self, tags: Sequence[str], name: str) -> list[str]:
        found: list[str] = []
        for tag in tags:
            try:
                key = language(tag).key
            except MapleError as error:
                self._add(name, error.what, error.hint)
                continue
            if key in found:
                self._add(name, f"{key} is listed twice", "")
            else:
                found.append(key)
        return found

    def _add(self, name: str, what: str, hint: str) -> None:
        self._problems.append(MapleError(f"{self._key}.{name}: {what}", hint))
