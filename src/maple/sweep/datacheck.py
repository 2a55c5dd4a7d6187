"""Looking through a data folder: everything that is wrong with it, and what is in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from maple.data.pulled import Pulled, is_pulled, load
from maple.data.reading import Reading, reading
from maple.data.release import NoFilesError, read_any
from maple.data.sizes import known
from maple.data.sources import SOURCES
from maple.errors import DataError, NoExemplarsError
from maple.languages import ENGLISH
from maple.protocols import Parallel, Task
from maple.records import Example
from maple.tasks import TASKS

_PACKAGED = "mini"
_NAMED = 5
"""Items that a contradiction names; the others are counted."""

OnStep = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Held:
    """One subset of a task, or language of a training source, that a folder has.

    Attributes:
        name: of the task or source.
        dataset: "release", ...; sources have that one.
        items: rows of it, sound ones; None where none could be read.
        items_known: in the whole release; None if unknown.
        exemplars: in the pool; None where the folder or the task has none.
        exemplars_known: as `items_known`.
        remarks: what a report will say about these data.
    """

    name: str
    dataset: str
    subset: str
    items: int | None
    items_known: int | None
    exemplars: int | None
    exemplars_known: int | None
    remarks: tuple[str, ...]

    @property
    def state(self) -> str:
        """How it compares with its release, in a word or two."""
        if self.items is None:
            return "broken"
        if self.items_known is None:
            return "size of the release unknown"
        if self.items > self.items_known:
            return "more than the release"
        short = self.exemplars is not None and self.exemplars < (self.exemplars_known or 0)
        return "a part" if short or self.items < self.items_known else "whole"


@dataclass(slots=True)
class Found:
    """What `check` found.

    Attributes:
        held: what the folder has, by task, dataset and subset.
        problems: everything that is wrong, each once.
        unread: files that no task and no source reads, by path from the folder; they were only
            looked at for damage.
    """

    held: list[Held] = field(default_factory=list)
    problems: list[DataError] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def check(folder: Path, on_step: OnStep) -> Found:
    """Read everything in a folder of release files, or one that was pulled.

    Files that are there only in part are no problem; `Held.state` says so.

    Args:
        folder: as `--data` names it.
        on_step: is told what is read next.

    Raises:
        DataError: no such folder, or it cannot be looked into; nothing in it that a task or a
            source could read.
    """
    pulled = load(folder) if is_pulled(folder) else None
    found = Found()
    tasks, unsound = TASKS.loadable()
    found.problems += [DataError(problem.what, problem.hint) for problem in unsound]
    with reading(mirror=pulled, collect=True) as read:
        look = _Look(None if pulled else folder, found, read, on_step)
        for task, dataset, subsets in wanted(pulled, tasks):
            look.task(task, dataset, subsets)
        for source, languages in _parts(pulled).items():
            for language in languages:
                look.source(source, language)
        if pulled is None:
            found.unread = _unread(folder, read.files)
            for name in found.unread:
                look.file(folder / name)
        problems = [*(pulled.problems() if pulled else ()), *read.problems.values()]
        every = {problem.what: problem for problem in [*problems, *found.problems]}
        found.problems = list(every.values())
    if not found.held and not found.problems:
        raise DataError(
            f"{folder}: no task and no training source finds files of its own here",
            "the layout of each release is described in docs/guides/data.md",
        )
    return found


class _Look:
    """Reads subset after subset and notes what it finds."""

    def __init__(self, folder: Path | None, found: Found, read: Reading, on_step: OnStep) -> None:
        self._folder = folder
        self._found = found
        self._read = read
        self._on_step = on_step

    def task(self, task: Task, dataset: str, subsets: Mapping[str, bool]) -> None:
        """Subsets of a task, each with whether its exemplars are to be there, and all together."""
        items: dict[str, list[Example]] = {}
        pools: dict[str, list[Example]] = {}
        for subset, with_pool in subsets.items():
            self._on_step(f"{task.name}/{subset}")
            before = len(self._read.problems)
            try:
                examples = self._tried(task.examples, dataset, subset)
            except NoFilesError:
                continue
            pool = None
            if with_pool:
                with suppress(NoFilesError):
                    pool = self._tried(task.exemplar_pool, dataset, subset)
            # Where a row is left out, items that are named by their place get other names.
            if len(self._read.problems) == before:
                items[subset] = examples or []
                pools[subset] = pool or []
            size = known(task.name, dataset, subset)
            held = Held(
                task.name,
                dataset,
                subset,
                len(examples) if examples else None,
                size.items,
                len(pool) if pool else None,
                size.exemplars,
                tuple(task.remarks(examples or ())),
            )
            self._note(held)
        where = f"{task.name} ({dataset})"
        for parallel in (items, pools):
            for what in contradictions(task, parallel):
                self._problem(DataError(f"{where}: {what}", _parallel_hint(task)))

    def source(self, name: str, language: str) -> None:
        """A language of a training source."""
        self._on_step(f"{name}/{language}")
        count: int | None = None
        remarks: tuple[str, ...] = ()
        try:
            loaded = SOURCES[name].load(language, self._folder)
            count = len(loaded.rows) + loaded.empty
            if loaded.remark:
                remarks = (loaded.remark,)
            if loaded.empty:
                remarks = (*remarks, f"{loaded.empty} rows without an output are left out")
        except NoFilesError:
            return
        except DataError as error:
            self._problem(error)
        size = known(name, "release", language)
        self._note(Held(name, "release", language, count, size.items, None, None, remarks))

    def file(self, path: Path) -> None:
        """A file that no task and no source reads: at least it should not be cut off."""
        try:
            read_any(path)
        except DataError as error:
            self._problem(error)

    def _tried(
        self,
        read: Callable[[str, str, Path | None], list[Example] | None],
        dataset: str,
        subset: str,
    ) -> list[Example] | None:
        """What a task reads; None if it fails, which is noted, or has no such items."""
        try:
            return read(dataset, subset, self._folder)
        except NoFilesError:
            raise
        except NoExemplarsError:
            return None
        except DataError as error:
            self._problem(error)
            return None

    def _note(self, held: Held) -> None:
        self._found.held.append(held)
        if held.state == "more than the release":
            self._problem(
                DataError(
                    f"{held.name} ({held.dataset}), {held.subset}: {held.items} items, the release "
                    f"has {held.items_known}",
                    "rows of another split or language may have got into the file",
                )
            )

    def _problem(self, problem: DataError) -> None:
        self._found.problems.append(problem)


def contradictions(task: Task, parallel: Mapping[str, Sequence[Example]]) -> list[str]:
    """Where items that are translations of each other differ in what is not translated.

    That is the right choice, and what `protocols.Parallel` names, as released. The English item
    is right where there is one, else what most languages say.

    Args:
        task: of the items.
        parallel: items by subset; those of one id are translations of each other.

    Returns:
        A line for each subset and value that differs from the others.
    """
    names = task.untranslated if isinstance(task, Parallel) else ()
    values: dict[str, dict[str, dict[str, str]]] = {}
    for subset, examples in parallel.items():
        for example in examples:
            for name, value in _untranslated(example, names):
                values.setdefault(name, {}).setdefault(example.example_id, {})[subset] = value
    found: dict[str, list[str]] = {}
    for name, by_item in values.items():
        for item, by_subset in by_item.items():
            for difference in _differences(name, by_subset):
                found.setdefault(difference, []).append(item)
    return [f"{difference} in {_listed(items)}" for difference, items in sorted(found.items())]


def _untranslated(example: Example, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    if example.target is not None:
        yield "label", str(example.target)
    for name in names:
        # What a task has mended itself is no contradiction any more; its remarks tell of it.
        if f"released_{name}" not in example.fields:
            yield name, example.fields[name]


def _differences(name: str, by_subset: Mapping[str, str]) -> Iterator[str]:
    """What is to be said of one item: whose value differs from whose."""
    ranked = Counter(by_subset.values()).most_common(2)
    if len(ranked) < 2:
        return
    if ENGLISH in by_subset:
        right, whose = by_subset[ENGLISH], "the English item"
    elif ranked[0][1] > ranked[1][1]:
        right, whose = ranked[0][0], "most languages"
    else:  # nobody can say which is wrong
        yield f"{name!r} differs between " + " and ".join(sorted(by_subset))
        return
    for subset, value in by_subset.items():
        if value != right:
            yield f"{subset}: {name!r} differs from {whose}"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - _NAMED} more" if len(items) > _NAMED else ""
    return f"{len(items)} items: " + ", ".join(items[:_NAMED]) + more


def _parallel_hint(task: Task) -> str:
    return task.mended_by if isinstance(task, Parallel) else "compare the file with its release"


def wanted(
    pulled: Pulled | None, tasks: Mapping[str, Task]
) -> Iterator[tuple[Task, str, dict[str, bool]]]:
    """Those tasks with their subsets: what was pulled, or everything that there is."""
    if pulled is not None:
        chosen: dict[tuple[str, str], dict[str, bool]] = {}
        for one in pulled.manifest.tasks:
            if one.dataset != _PACKAGED and one.task in tasks:
                subsets = chosen.setdefault((one.task, one.dataset), {})
                subsets[one.subset] = subsets.get(one.subset, False) or one.pool
        for (name, dataset), subsets in sorted(chosen.items()):
            yield tasks[name], dataset, dict(sorted(subsets.items()))
        return
    for task in tasks.values():
        for dataset in task.datasets:
            if dataset != _PACKAGED:
                yield task, dataset, dict.fromkeys(task.subsets(dataset), True)


def _parts(pulled: Pulled | None) -> dict[str, list[str]]:
    """Training sources with their languages, as `wanted`."""
    if pulled is None:
        return {
            name: list(source.languages)
            for name, source in SOURCES.items()
            if name != _PACKAGED and source.part_of is None
        }
    chosen: dict[str, list[str]] = {}
    for one in pulled.manifest.sources:
        if one.source != _PACKAGED and one.source in SOURCES:
            chosen.setdefault(one.source, []).append(one.language)
    return chosen


def _unread(folder: Path, read: set[Path]) -> list[str]:
    """Files that nothing reads, but for notes and hidden ones."""
    known_files = {path.resolve() for path in read}
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and path.suffix != ".md"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.resolve() not in known_files
    )
