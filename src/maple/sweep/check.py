"""Everything that can be wrong with a study, found before anything costs or is written."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from maple.data.mixtures import characters
from maple.data.pulled import opened
from maple.data.reading import Reading
from maple.errors import (
    DataError,
    MapleError,
    ModelError,
    OutOfReachError,
    StoreError,
    StudyError,
    nearest,
)
from maple.models import architecture, files
from maple.models.adapter_files import module_shapes
from maple.models.window import Window, window
from maple.records import BaseModel, EvalCell, TrainCell
from maple.study.config import (
    FOREIGN,
    ServerSection,
    Study,
    TrainSection,
)
from maple.study.grid import Engine, Subset
from maple.study.methods import METHODS
from maple.sweep.asked import Asked
from maple.sweep.costs import BYTES_PER_ANSWER, BYTES_PER_CELL
from maple.sweep.drawing import Drawn, draw
from maple.sweep.lint import Linted, of_study
from maple.sweep.sizes import targeted, trained_size
from maple.sweep.templates import bind, frames, unwritable

_REPORT_BYTES = 2_000_000

_DATASET = "dataset:"
"""Prefix of the names of hub datasets among the locks, which hold base models, too."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A study with everything it names found, read and found sound.

    Attributes:
        datasets: which commits of hub datasets were read, as `PlanFile.locks` keeps them.
        shortened: by base and subset, how many items leave out exemplars or text to fit.
        templates: hashes of training templates, by base and name.
    """

    study: Study
    bases: tuple[BaseModel, ...]
    drawn: tuple[Drawn, ...]
    asked: tuple[Asked, ...]
    datasets: Mapping[str, str]
    shortened: Mapping[tuple[str, Subset], int]
    templates: Mapping[tuple[str, str], str]


class NotAtHandError(StudyError):
    """Nothing is wrong with a study, as far as it could be checked without what is out of reach.

    Attributes:
        reasons: what is out of reach and why, each once.
        bases, drawn, asked: what is at hand.
    """

    def __init__(
        self,
        problems: Sequence[MapleError],
        bases: Sequence[BaseModel],
        drawn: Sequence[Drawn],
        asked: Sequence[Asked],
    ) -> None:
        whole = StudyError.of(problems)
        super().__init__(whole.what, whole.hint)
        found = (one.reason for one in problems if isinstance(one, OutOfReachError))
        self.reasons = tuple(dict.fromkeys(found))
        self.bases, self.drawn, self.asked = tuple(bases), tuple(drawn), tuple(asked)


def check(
    study: Study, folder: Path | None, locks: Mapping[str, str], *, weights: bool = True
) -> Checked:
    """Resolve models, read data, lint prompts, self-test metrics.

    Args:
        study: canonicalised by `study.load`.
        folder: release files, or what `maple data pull` made; None to read from the hub.
        locks: identities of bases and commits of datasets, where an earlier plan has fixed them.
        weights: those of hub models are fetched, too.

    Raises:
        NotAtHandError: the only problems are things out of reach.
        StudyError: every problem found, at once.
    """
    problems: list[MapleError] = []
    bases = _bases(study, locks, problems, weights=weights)
    problems += _trackers(study)
    bound = bind(study, bases, problems)
    drawn: list[Drawn] = []
    linted: list[Linted] = []
    datasets: Mapping[str, str] = {}
    if folder is not None and not folder.is_dir():
        problems.append(DataError(f"--data {folder}: no such folder"))
    else:
        try:
            with opened(folder, dataset_pins(locks)) as (source, found):
                if study.train is not None:
                    drawn = draw(study.train, source, problems)
                    problems += unwritable(study.train, drawn, bound)
                if study.evaluate is not None:
                    windows = _windows(bases, study, problems)
                    linted = of_study(study.evaluate, source, windows, frames(bound))
            datasets = _dataset_locks(found)
        except DataError as error:
            problems.append(error)
    problems += _violations(linted)
    asked = tuple(one.asked for one in linted if one.asked is not None)
    problems += _unanswerable(bases, asked)
    if problems and all(isinstance(problem, OutOfReachError) for problem in problems):
        raise NotAtHandError(problems, bases, drawn, asked)
    if problems:
        raise StudyError.of(problems)
    identities = {base.name: base.identity for base in bases}
    shortened = {
        (identities[base], one.asked.subset): count
        for one in linted
        if one.asked is not None
        for base, count in one.shortened.items()
    }
    hashes = {key: template.hash for key, template in bound.items()}
    return Checked(study, tuple(bases), tuple(drawn), asked, datasets, shortened, hashes)


def lint(study: Study, folder: Path | None) -> list[Linted]:
    """The part of `check` that looks at prompts and metrics, finding by finding.

    Raises:
        StudyError: the study evaluates nothing, or a base model or the folder is not there.
    """
    if study.evaluate is None:
        raise StudyError(f"{study.name}: has no [evaluate], so there is no prompt to look at")
    problems: list[MapleError] = []
    bases = _bases(study, {}, problems, weights=False)
    bound = bind(study, bases, problems)
    windows = _windows(bases, study, problems)
    if folder is not None and not folder.is_dir():
        problems.append(DataError(f"--data {folder}: no such folder"))
    if problems:
        raise StudyError.of(problems)
    with opened(folder, {}) as (source, _):
        return of_study(study.evaluate, source, windows, frames(bound))


def _trackers(study: Study) -> Iterator[StudyError]:
    """Experiment trackers that are not installed here."""
    for name in study.train.report_to if study.train else ():
        if find_spec(name) is None:
            yield StudyError(
                f"{study.name}: [train] report_to: {name} is not installed", f"pip install {name}"
            )


def dataset_pins(locks: Mapping[str, str]) -> dict[tuple[str, str], str]:
    """Commits by repository and revision, of the locks of a plan that are of hub datasets."""
    pins: dict[tuple[str, str], str] = {}
    for name, identity in locks.items():
        if name.startswith(_DATASET):
            repo, _, revision = name.removeprefix(_DATASET).partition("@")
            pins[repo, revision] = identity.rpartition("@")[2]
    return pins


def _dataset_locks(found: Reading) -> dict[str, str]:
    return {
        f"{_DATASET}{repo}@{revision}": f"hub:{repo}@{snapshot.commit}"
        for (repo, revision), snapshot in sorted(found.snapshots.items())
        if snapshot.commit
    }


def engine_of(base: BaseModel, bits: int, server: ServerSection | None) -> Engine:
    """The engine that evaluates a base at given bits."""
    if base.name.startswith(files.SCRIPTED):
        return Engine("scripted", "none")
    dtype = "float32" if bits == 32 else "bfloat16"
    if server is not None:
        return Engine("server", server.compute_dtype or dtype, server.model)
    return Engine("builtin", dtype)


def check_server(base: BaseModel, study: Study) -> None:
    """Refuse a server for a base that has no tokenizer.

    Raises:
        ModelError: the study has one.
    """
    if study.evaluate is not None and study.evaluate.server is not None and not base.path:
        raise ModelError(
            f"{base.name}: makes its answers up and is asked on no server",
            "leave [evaluate.server] out, or choose another base model",
        )


def check_space(
    root: Path, train: Sequence[TrainCell], evals: Sequence[EvalCell], checked: Checked
) -> None:
    """Refuse a sweep whose results cannot be written or do not fit on the disk.

    Args:
        root: the results folder; it need not exist.
        train, evals: the cells still to be computed.
        checked: the study they come from.

    Raises:
        StoreError: not a folder, not writable, or fewer bytes free than a low estimate needs.
    """
    parent = root
    while not parent.exists():
        parent = parent.parent
    if not parent.is_dir():
        raise StoreError(f"{parent}: is a file, expected a folder", "choose another --out")
    effective = os.access in os.supports_effective_ids
    if not os.access(parent, os.W_OK | os.X_OK, effective_ids=effective):
        raise StoreError(f"{parent}: no permission to write", "choose another --out")
    paths = {base.identity: base.path for base in checked.bases}
    items = {asked.subset.items: len(asked.items) for asked in checked.asked}
    sizes = [trained_size(paths[cell.base], cell) for cell in train]
    needed = _REPORT_BYTES + sum(size.product for size in sizes)
    needed += max((size.checkpoints for size in sizes), default=0)
    for cell in evals:
        needed += BYTES_PER_CELL + BYTES_PER_ANSWER * items[cell.items]
    contents: list[Drawn | Asked] = [*checked.drawn, *checked.asked]
    needed += sum(map(_content_bytes, contents))
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise StoreError(
            f"{root}: the results need about {_megabytes(needed)}, "
            f"{_megabytes(free)} are free on its disk",
            "free some space or choose another --out",
        )


def _bases(
    study: Study, locks: Mapping[str, str], problems: list[MapleError], *, weights: bool
) -> list[BaseModel]:
    bases: list[BaseModel] = []
    for index, name in enumerate(study.base.models):
        try:
            base = _locked(name, _commit(locks.get(name)), weights=weights)
            _check_targets(base, study.train)
            check_server(base, study)
            bases.append(base)
        except MapleError as error:
            problems.append(error.at(f"base.models[{index}]"))
    return bases


def _check_targets(base: BaseModel, train: TrainSection | None) -> None:
    """Raises ModelError if a listed target module is in none of the base's layers, or one of them
    has fewer directions than a method takes from it."""
    if train is None or not base.path:
        return
    targets = train.target_modules
    modules = _modules(base)
    for target in targets if isinstance(targets, list) else ():
        if modules and not any(f".{module}".endswith(f".{target}") for module in modules):
            names = {module.split(".")[-1] for module in modules}
            raise ModelError(
                f"{base.name}: train.target_modules: no module {target!r}", nearest(target, names)
            )
    decomposing = [name for name in train.methods if METHODS[name].decomposition is not None]
    found = targeted(modules, targets if isinstance(targets, str) else tuple(targets))
    if decomposing and found:
        smallest, shape = min(found.items(), key=lambda item: min(item[1]))
        large = [r for r in train.r or () if r > min(shape)]
        if large:
            take = "take" if len(decomposing) > 1 else "takes"
            raise ModelError(
                f"{base.name}: train.r: {' and '.join(decomposing)} {take} r directions from each "
                f"layer, and {smallest} has only {min(shape)}; got r = {large[0]}",
                f"lower r to {min(shape)}, or leave the layer out of target_modules",
            )


def _modules(base: BaseModel) -> Mapping[str, tuple[int, int]]:
    """(outputs, inputs) of a base's modules by name, from its weights or, without them, of one
    layer, from its configuration."""
    found = module_shapes(Path(base.path))
    shape = None if found else architecture.of_base(base)
    return found if shape is None else {f"layers.{name}": s for name, s in shape.linears.items()}


def _locked(name: str, commit: str | None, *, weights: bool) -> BaseModel:
    """The base of a name, at the commit that an earlier plan found for it."""
    if commit is None:
        return files.resolve(name, weights=weights)
    at_commit = files.resolve(f"{name.partition('@')[0]}@{commit}", weights=weights)
    return dataclasses.replace(at_commit, name=name)


def _commit(identity: str | None) -> str | None:
    """The commit in a hub identity ("hub:<id>@<commit>"); local files have none to lock."""
    if identity is None or not identity.startswith("hub:"):
        return None
    return identity.rpartition("@")[2]


def _windows(
    bases: Sequence[BaseModel], study: Study, problems: list[MapleError]
) -> list[tuple[BaseModel, Window]]:
    found = []
    served = study.evaluate is not None and study.evaluate.server is not None
    for base in bases:
        try:
            found.append((base, window(base, served=served)))
        except ModelError as error:
            problems.append(error)
    return found


def _violations(linted: Sequence[Linted]) -> Iterator[MapleError]:
    for one in linted:
        if one.error is not None:
            yield one.error
        elif one.problems:
            shown = list(one.problems[:5])
            if len(one.problems) > 5:
                shown.append(f"... {len(one.problems) - 5} more")
            yield DataError(
                f"{one.task}/{one.subset}: {len(one.problems)} violations: {'; '.join(shown)}"
            )


def _unanswerable(bases: Sequence[BaseModel], asked: Sequence[Asked]) -> list[ModelError]:
    """Empty prompts, which some foreign tasks have, need a base whose texts start with BOS."""
    empty = sorted(
        {
            one.subset.task
            for one in asked
            if one.subset.task.startswith(FOREIGN)
            and one.subset.template is None
            and any(not one.task.render(item, "", one.subset.prompt).text for item in one.items)
        }
    )
    if not empty:
        return []
    from maple.models.encoding import load_tokenizer  # loads transformers, which takes seconds

    return [
        ModelError(
            f"{base.name}: {', '.join(empty)} has items with an empty context, and this base's "
            "texts start without BOS: nothing precedes the answer",
            "choose another base model, or leave the task out",
        )
        for base in bases
        if base.path and not load_tokenizer(base)("").input_ids
    ]


def _content_bytes(content: Drawn | Asked) -> int:
    """Upper bound of what rows or items take in the store: their text, uncompressed."""
    if isinstance(content, Drawn):
        kept = (*content.validation, *content.english)
        trained = sum(line.characters for line in content.data.table)
        return 3 * (trained + sum(map(characters, kept)))
    return sum(
        sum(map(len, (*item.fields.values(), *item.choices, *item.golds))) * 3
        for item in (*content.items, *content.pool)
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
