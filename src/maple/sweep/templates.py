"""The training templates of a study on its bases: what cannot be used is found before it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from maple.errors import DataError, MapleError, ModelError
from maple.models.templates import Template, Templates
from maple.records import BaseModel, Frame, InstructionRow
from maple.study.config import Study, TrainSection
from maple.study.templates import asked, templates_of
from maple.sweep.drawing import Drawn

Bound = Mapping[tuple[str, str], Template]
"""Templates by identity of the base and name."""


def bind(study: Study, bases: Sequence[BaseModel], problems: list[MapleError]) -> Bound:
    """Every template that a study asks for, on every base.

    Args:
        problems: receives the bases that a template cannot be used on, with its key.
    """
    templates = Templates(templates_of(study))
    bound: dict[tuple[str, str], Template] = {}
    for key, name in asked(study):
        for base in bases:
            try:
                bound[base.identity, name] = templates.of(name, base)
            except ModelError as error:
                problems.append(MapleError(f"{key}: {error.what}", error.hint))
    return bound


def frames(bound: Bound) -> Mapping[tuple[str, str], Frame]:
    """What templates put around requests, by identity of the base and name."""
    return {key: template.frame for key, template in bound.items()}


def unwritable(train: TrainSection, drawn: Sequence[Drawn], bound: Bound) -> Iterator[MapleError]:
    """Rows that a template of the study cannot write, an error a draw of a source and template.

    Rows differ in what a template can stumble over by their turns and by having an input: all
    conversations are tried, and the first other row of each kind.

    Args:
        drawn: the study's rows, those held out among them.
        bound: from `bind`.
    """
    for index, name in enumerate(train.templates):
        for one in drawn:
            rows = (*one.rows, *one.validation, *one.english)
            for template in (found for (_, called), found in bound.items() if called == name):
                errors = list(_errors(template, rows))
                if errors:
                    more = f"; and {len(errors) - 1} rows more" if len(errors) > 1 else ""
                    what = f"train.templates[{index}]: {one.data.source}: {errors[0].what}{more}"
                    yield MapleError(what, errors[0].hint)
                    break


def _errors(template: Template, rows: Sequence[InstructionRow]) -> Iterator[DataError]:
    tried: set[bool] = set()
    for row in rows:
        kind = bool(row.input.strip())
        if not row.turns and kind in tried:
            continue
        tried |= set() if row.turns else {kind}
        try:
            template.render(row)
        except DataError as error:
            yield error
