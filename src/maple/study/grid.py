"""The cells that a study spans: a pure function of the study and of what its names resolve to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType

from maple.records import BaseModel, EvalCell, LanguageRows, ScoreCell, TrainCell
from maple.study.config import Study, TrainSection
from maple.study.identity import eval_id, score_id, train_id
from maple.study.methods import METHODS, Method

REFUSE, SHORTEN = "refuse", "shorten"
"""Truncation of an eval cell. Where every prompt fits whole nothing needs to be left out, and
"refuse" is what such cells have always said. Else exemplars go, then text that may be cut."""


@dataclass(frozen=True, slots=True)
class TrainingData:
    """A training source as the study draws from it, by one mixture.

    Attributes:
        content: hash of the rows to train on.
        mixture: its name; None where the study describes none.
        table: what there is of each language.
        validation: hash of the rows held out, of all languages; None without any.
        english: hash of the English rows held out, to measure forgetting with.
    """

    source: str
    languages: tuple[str, ...]
    rows: int
    content: str
    mixture: str | None = None
    table: tuple[LanguageRows, ...] = ()
    validation: str | None = None
    english: str | None = None


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a task with the version and language rules that apply to one subset."""

    name: str
    version: int
    rules: str


@dataclass(frozen=True, slots=True)
class Subset:
    """One evaluation set under one prompt, resolved to contents.

    Attributes:
        items: hash of the scored items in their fixed order.
        pool: hash of the exemplar pool; None without exemplars.
        max_new_tokens: None for choice tasks.
        exemplar_subset: where the exemplars are from; None for the subset itself.
        template: name of the training template that the requests stand in; None for none.
    """

    task: str
    dataset: str
    subset: str
    items: str
    prompt: str
    prompt_hash: str
    n_shot: int
    pool: str | None
    max_new_tokens: int | None
    metrics: tuple[Metric, ...]
    exemplar_subset: str | None = None
    template: str | None = None


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine that evaluates a base at given bits.

    Attributes:
        server_model: the base's name on a server; None for other engines, and where not stated.
    """

    name: str
    compute_dtype: str
    server_model: str | None = None


@dataclass(frozen=True, slots=True)
class Grid:
    """All cells of a study by id, in the order in which they are worked on.

    Attributes:
        prompts: names of an eval cell's prompts, where several have the same words.
    """

    train: Mapping[str, TrainCell]
    evals: Mapping[str, EvalCell]
    scores: Mapping[str, ScoreCell]
    prompts: Mapping[str, tuple[str, ...]]


def train_cells(
    study: Study,
    bases: Sequence[BaseModel],
    data: Sequence[TrainingData],
    templates: Mapping[tuple[str, str], str],
) -> dict[str, TrainCell]:
    """Everything the study trains and, where it evaluates, the untuned base (`method = "none"`).

    Args:
        study: the study, canonicalised.
        bases: its base models, resolved.
        data: its training data, one entry a source and mixture.
        templates: hash of each training template by (identity of the base, name).
    """
    cells: dict[str, TrainCell] = {}
    for base in bases:
        if study.evaluate is not None:
            untuned = TrainCell(base.name, base.identity, base.tokenizer, "none")
            cells[train_id(untuned)] = untuned
        if study.train is None:
            continue
        train = study.train
        for source, template, name in product(data, train.templates, train.methods):
            for r, bits, rate, seed in product(
                train.ranks(name), train.bits(name), train.rates(name), study.seeds
            ):
                cell = _tuned(train, base, source, METHODS[name], r, bits, rate, seed)
                hashed = templates[base.identity, template]
                cell = replace(cell, template=hashed, template_name=template)
                cells[train_id(cell)] = cell
    return cells


def grid(
    study: Study,
    trained: Mapping[str, TrainCell],
    subsets: Sequence[Subset],
    engines: Mapping[tuple[str, int], Engine],
    shortened: Collection[tuple[str, Subset]] = (),
    templates: Mapping[tuple[str, str], str] = MappingProxyType({}),
) -> Grid:
    """Eval and score cells over `trained`.

    Args:
        study: the study, canonicalised.
        trained: train cells by id.
        subsets: every subset to evaluate.
        engines: by (identity of the base, eval bits).
        shortened: (identity of a base, subset) where some prompt must leave something out to fit.
        templates: as in `train_cells`, of those that requests stand in.
    """
    evals: dict[str, EvalCell] = {}
    scores: dict[str, ScoreCell] = {}
    prompts: dict[str, tuple[str, ...]] = {}
    if study.evaluate is not None:
        for name, cell in trained.items():
            for bits, subset in product(eval_bits(study, cell), subsets):
                made = _eval_cell(study, name, bits, subset, engines[cell.base, bits])
                if (cell.base, subset) in shortened:
                    made = replace(made, truncation=SHORTEN)
                if subset.template is not None:
                    hashed = templates[cell.base, subset.template]
                    made = replace(made, template=hashed, template_name=subset.template)
                cell_id = eval_id(made)
                if cell_id in evals:
                    named = prompts.get(cell_id, (evals[cell_id].prompt,))
                    if subset.prompt not in named:
                        prompts[cell_id] = (*named, subset.prompt)
                else:
                    evals[cell_id] = made
                for metric in subset.metrics:
                    score = ScoreCell(cell_id, metric.name, metric.version, metric.rules)
                    scores[score_id(score)] = score
    return Grid(trained, evals, scores, prompts)


def eval_bits(study: Study, cell: TrainCell) -> tuple[int, ...]:
    """Precisions a train cell is evaluated at; the untuned base at every one that occurs."""
    if study.evaluate is None:
        return ()
    if study.evaluate.eval_bits != "as trained":
        return tuple(study.evaluate.eval_bits)
    if cell.train_bits is not None:
        return (cell.train_bits,)
    return tuple(study.train.all_bits()) if study.train else ()


def _tuned(
    train: TrainSection,
    base: BaseModel,
    data: TrainingData,
    method: Method,
    r: int | None,
    bits: int,
    rate: float,
    seed: int,
) -> TrainCell:
    """A cell in canonical form: what its method does not use is None."""
    targets = train.target_modules
    stops = train.validation if train.validation and train.validation.patience else None
    named = targets if isinstance(targets, str) else tuple(sorted(targets))
    stated = train.options.get(method.name, {})
    return TrainCell(
        base_name=base.name,
        base=base.identity,
        tokenizer=base.tokenizer,
        method=method.name,
        source=data.source,
        languages=data.languages,
        rows=data.rows,
        data=data.content,
        r=r,
        lora_alpha=train.alpha(r) if r is not None and method.uses("lora_alpha") else None,
        lora_dropout=train.lora_dropout if method.uses("lora_dropout") else None,
        target_modules=named if method.uses("target_modules") else None,
        train_bits=bits,
        epochs=train.epochs,
        batch_size=train.batch_size,
        learning_rate=rate,
        scheduler=train.scheduler,
        warmup_ratio=train.warmup_ratio,
        weight_decay=train.weight_decay,
        max_grad_norm=train.max_grad_norm,
        max_tokens=train.max_tokens,
        seed=seed,
        mixture=data.mixture,
        patience=stops.patience if stops else None,
        validation=data.validation if stops else None,
        validate_every=stops.every if stops else None,
        options=tuple(sorted(stated.items())) or None,
    )


def _eval_cell(study: Study, trained: str, bits: int, subset: Subset, engine: Engine) -> EvalCell:
    assert study.evaluate is not None  # noqa: S101  grid() asks only then
    shots = subset.n_shot > 0
    return EvalCell(
        train_id=trained,
        eval_bits=bits,
        engine=engine.name,
        compute_dtype=engine.compute_dtype,
        task=subset.task,
        dataset=subset.dataset,
        subset=subset.subset,
        items=subset.items,
        prompt=subset.prompt,
        prompt_hash=subset.prompt_hash,
        n_shot=subset.n_shot,
        exemplar_pool=subset.pool if shots else None,
        exemplar_seed=study.evaluate.exemplar_seed if shots else None,
        decoding="choices" if subset.max_new_tokens is None else "greedy",
        max_new_tokens=subset.max_new_tokens,
        truncation=REFUSE,
        deterministic=study.evaluate.deterministic or None,
        server_model=engine.server_model,
        exemplar_subset=subset.exemplar_subset if shots else None,
    )
