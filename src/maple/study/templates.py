"""The training templates that a study brings with it: checked, and by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from maple.errors import MapleError, nearest
from maple.records import TEMPLATE_FIELDS, TextTemplate
from maple.study.config import Study, TemplateSection

_PLACE = re.compile(r"\{(\w+)\}")
_OUTPUT = "{output}"


def check(study: Study, shipped: Sequence[str], where: str, problems: list[MapleError]) -> None:
    """Look at a study's own templates, and at the names by which templates are asked for.

    Args:
        study: as parsed.
        shipped: names of the templates that there are without it.
        where: names the study in messages.
        problems: receives everything that is wrong, each with file and key.
    """
    taken = dict.fromkeys(shipped, "one that ships")
    for key, section in _listed(study):
        if section.name in taken:
            problems.append(
                MapleError(
                    f"{where}: {key}.name: {section.name!r} is {taken[section.name]} already",
                    "give it another name",
                )
            )
        taken.setdefault(section.name, key)
        problems += [
            MapleError(f"{where}: {key}.{what}", hint) for what, hint in _mistakes(section)
        ]
    for key, name in asked(study):
        if name not in taken:
            problems.append(
                MapleError(
                    f"{where}: {key}: unknown training template {name!r}", nearest(name, taken)
                )
            )


def templates_of(study: Study) -> tuple[TextTemplate, ...]:
    """The templates of a study, as they are rendered."""
    return tuple(
        TextTemplate(one.name, one.text, one.with_input, one.turn) for _, one in _listed(study)
    )


def asked(study: Study) -> Iterator[tuple[str, str]]:
    """The name of every template that is asked for, with its key."""
    for index, name in enumerate(study.train.templates if study.train is not None else ()):
        yield f"train.templates[{index}]", name
    for index, task in enumerate(study.evaluate.task if study.evaluate is not None else ()):
        if task.template is not None:
            yield f"evaluate.task[{index}].template", task.template


def _listed(study: Study) -> Iterator[tuple[str, TemplateSection]]:
    """Every template of a study with its key."""
    for part, section in (("train", study.train), ("evaluate", study.evaluate)):
        for index, one in enumerate(section.template if section is not None else ()):
            yield f"{part}.template[{index}]", one


def _mistakes(section: TemplateSection) -> Iterator[tuple[str, str]]:
    """Key with what is wrong, and a hint."""
    texts = {"text": section.text, "with_input": section.with_input, "turn": section.turn}
    for key, text in texts.items():
        if text is not None:
            for what, hint in _wrong(text, last=key != "turn"):
                yield f"{key}: {what}", hint
    if section.with_input is not None and "input" not in _PLACE.findall(section.with_input):
        yield "with_input: shows no {input}", "it is for rows that have one"
    if section.turn is not None and "input" in _PLACE.findall(section.turn):
        yield "turn: shows {input}, which earlier turns do not have", "leave it out"


def _wrong(text: str, *, last: bool) -> Iterator[tuple[str, str]]:
    """What is wrong with one text, and a hint; `last`: it ends in the answer."""
    shown = _PLACE.findall(text)
    for name in dict.fromkeys(shown):
        if name not in TEMPLATE_FIELDS:
            yield f"rows have no {name!r}", nearest(name, TEMPLATE_FIELDS)
    if stray := re.search(r"[{}][^{}\n]{0,20}", _PLACE.sub("", text)):
        hint = "a field stands as {name}, without spaces; other braces are not for a template"
        yield f"{stray[0]!r} is no field in braces", hint
    for name in ("instruction", "output"):
        if shown.count(name) != 1:
            count = "no" if name not in shown else f"{shown.count(name)} times"
            yield f"shows {count} {{{name}}}", "expected it once"
    if last and _OUTPUT in text and not text.endswith(_OUTPUT):
        found = text.partition(_OUTPUT)[2]
        hint = "close the quotes right behind {output}: the end marker follows the answer"
        yield f"{found!r} follows {_OUTPUT}, which must come last", hint
    elif not last and 0 <= text.find(_OUTPUT) < text.find("{instruction}"):
        yield "shows {output} before {instruction}", "expected the question first"
