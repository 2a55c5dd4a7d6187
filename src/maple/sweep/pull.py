"""Fetching everything that a study reads from the hub, ahead of its run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from maple.data.pulled import Manifest, Part, Pulled, Subset, filling
from maple.data.reading import reading
from maple.data.sources import SOURCES, Source
from maple.errors import MapleError, StudyError
from maple.protocols import Task
from maple.study.config import FOREIGN, Study, TaskSection
from maple.study.prompts import prompts_of
from maple.sweep.asked import asked_of, exemplar_subset
from maple.sweep.check import dataset_pins
from maple.sweep.drawing import reads
from maple.tasks import TASKS, with_prompts

OnStep = Callable[[str], None]


def pull(study: Study, folder: Path, locks: Mapping[str, str], on_step: OnStep) -> Manifest:
    """Copy what a study needs of the hub into a folder, which then serves as `--data`.

    What is in the folder already is not fetched again, and datasets stay at the commits that it
    has: an interrupted pull is gone on with.

    Args:
        study: canonicalised by `study.load`.
        folder: new, empty, or pulled before.
        locks: of the results folder: commits that an earlier plan has fixed.
        on_step: is told what is read next.

    Returns:
        What the folder holds now.

    Raises:
        DataError: the folder cannot be used.
        StudyError: everything that could not be fetched or read, at once; the rest is kept.
    """
    problems: list[MapleError] = []
    prompts = prompts_of(study.evaluate)
    with (
        filling(folder, study.name) as pulled,
        reading(pins=dataset_pins(locks), mirror=pulled),
    ):
        for section in study.evaluate.task if study.evaluate else ():
            if not section.name.startswith(FOREIGN):
                task = with_prompts(TASKS[section.name], prompts)
                _task(task, section, pulled, on_step, problems)
        if study.train is not None:
            for source, language in reads(study.train):
                _source(source, language, pulled, on_step, problems)
        if problems:
            raise StudyError.of(problems)
        pulled.manifest.unfinished.remove(study.name)
        pulled.save()
    return pulled.manifest


def left_out(study: Study) -> list[str]:
    """Names of the tasks of a study that read their data themselves, from elsewhere."""
    tasks = study.evaluate.task if study.evaluate else ()
    return [section.name for section in tasks if section.name.startswith(FOREIGN)]


def _task(
    task: Task, section: TaskSection, pulled: Pulled, on_step: OnStep, problems: list[MapleError]
) -> None:
    for name in section.subsets:
        on_step(f"{section.name}/{name}")
        try:
            asked_of(task, section, name, None)
            source = exemplar_subset(task, section, name, None)
        except MapleError as error:
            problems.append(MapleError(f"{section.name}/{name}: {error.what}", error.hint))
            continue
        # Translated items are in a folder of the user's.
        subsets = {} if section.setup == "translate-test" else {name: bool(section.n_shot)}
        if source is not None:
            subsets = dict.fromkeys(subsets, False) | ({source: True} if section.n_shot else {})
        for subset, pool in subsets.items():
            read = Subset(task=section.name, dataset=section.dataset, subset=subset, pool=pool)
            if read not in pulled.manifest.tasks:
                pulled.manifest.tasks.append(read)
                pulled.save()


def _source(
    source: Source,
    language: str,
    pulled: Pulled,
    on_step: OnStep,
    problems: list[MapleError],
) -> None:
    on_step(f"{source.name}/{language}")
    try:
        source.load(language, None)
    except MapleError as error:
        problems.append(MapleError(f"{source.name}/{language}: {error.what}", error.hint))
        return
    name = source.part_of or source.name
    read = Part(source=name, language=language)
    # How a study's own source is to be read only the study says.
    if name in SOURCES and read not in pulled.manifest.sources:
        pulled.manifest.sources.append(read)
        pulled.save()
