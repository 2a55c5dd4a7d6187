"""A finished study of any size in the real layout, with planted effects (`planted.py`).

No model was trained or asked: adapters have a record and a log but no weights, responses are made
up to fit the scores, and texts are placeholders. Files are what a `Store` writes, byte for byte
where it matters (tests/analysis/test_generated.py compares them), but written without waiting for
the disk and many at once: the paper's grid, 23,040 eval cells of 1,000 items, takes minutes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from maple.languages import ENGLISH, LANGUAGES
from maple.records import (
    BaseModel,
    ChoiceResponse,
    Cost,
    EvalCell,
    Example,
    GenerateResponse,
    LanguageRows,
    LanguageTokens,
    Noise,
    Proof,
    ScoreCell,
    TrainCell,
    TrainOutcome,
)
from maple.store import PlanFile, Record, Store, schemas
from maple.study.config import Study
from maple.study.grid import Engine, Metric, Subset, TrainingData, grid, train_cells
from maple.study.identity import IDENTITY_VERSION, content_hash
from maple.tasks import TASKS
from planted import Effects, Floats, Luck, scores

BASES = ("base-a", "base-b")
RANKS = (8, 16, 32, 64, 128)
BITS = (4, 8, 16)
SEEDS = (0,)
ITEMS = 1000

_ELEVEN = (
    *("arb_Arab", "deu_Latn", "fra_Latn", "ind_Latn", "jpn_Jpan", "kor_Hang", "por_Latn"),
    *("rus_Cyrl", "spa_Latn", "tha_Thai", "vie_Latn"),
)
_TWENTY_TWO = (
    *_ELEVEN,
    *("ben_Beng", "eng_Latn", "est_Latn", "hin_Deva", "ita_Latn", "swh_Latn", "tam_Taml"),
    *("tgl_Latn", "tur_Latn", "urd_Arab", "zho_Hans"),
)
SOURCES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "multialpaca": _ELEVEN,
        "bactrian-x-11": _ELEVEN,
        "bactrian-x-22": tuple(sorted(_TWENTY_TWO)),
    }
)
"""The paper's training sets and the languages trained on."""

LANGUAGE_KEYS = (
    *("eng_Latn", "deu_Latn", "fra_Latn", "spa_Latn", "jpn_Jpan", "zho_Hans", "arb_Arab"),
    *("por_Latn", "rus_Cyrl", "ita_Latn", "kor_Hang", "vie_Latn", "hin_Deva", "tur_Latn"),
    *("fin_Latn", "hun_Latn", "ind_Latn", "tha_Thai", "ben_Beng", "tam_Taml", "urd_Arab"),
    *("est_Latn", "tgl_Latn", "ell_Grek", "ukr_Cyrl", "heb_Hebr", "kat_Geor", "swh_Latn"),
    *("amh_Ethi", "yor_Latn", "hat_Latn", "zul_Latn", "tel_Telu", "mya_Mymr", "guj_Gujr"),
    *("khm_Khmr", "som_Latn", "kac_Latn", "shn_Mymr", "ban_Latn"),
)
"""Forty: seven of resource class 5, nine of 4, eleven of 3, five of 2, five of 1, three of 0."""


@dataclass(frozen=True, slots=True)
class _Task:
    """How a benchmark is made up.

    Attributes:
        choices: 0 for written answers.
        passages: fewest and most items that share a cluster.
        levels: expected score of the untuned base in languages of class 0 and of class 5.
        most: highest score of a written answer.
        own_passages: each language has cluster ids of its own, as in MLQA.
    """

    choices: int
    passages: tuple[int, int]
    levels: tuple[float, float]
    most: float | None = None
    own_passages: bool = False


_TASKS = {
    "xnli": _Task(3, (3, 3), (0.37, 0.50)),
    "xcopa": _Task(2, (1, 1), (0.54, 0.70)),
    "belebele": _Task(4, (1, 2), (0.30, 0.50)),
    "mlqa": _Task(0, (1, 4), (0.25, 0.45), 1.0, own_passages=True),
    "xquad": _Task(0, (2, 8), (0.25, 0.48), 1.0),
    "xlsum": _Task(0, (1, 1), (0.12, 0.20), 0.5),
}
TASK_NAMES = tuple(_TASKS)

_AHEAD = 0.03
"""Expected score of each untuned base minus that of the one before."""

_ROWS = 132_000
_TIME = "2025-11-03T09:00:00Z"
_PROVENANCE = {
    "versions": {
        "python": "3.11.2",
        "accelerate": "1.15.0",
        "bitsandbytes": "0.50.2",
        "maple": "0.1.0",
        "peft": "0.21.2",
        "polars": "2.1.0",
        "pyarrow": "26.0.1",
        "tokenizers": "0.23.3",
        "torch": "2.13.0",
        "transformers": "5.23.0",
    },
    "source": {"commit": "0" * 40, "dirty": False},
    "machine": {"host": "nowhere", "processor": "none", "cores": 1, "memory_bytes": 10**9},
}
_NO_ENERGY = "this machine exposes no energy counter"
_NOTE = "Generated: no model was trained or asked. Every number here was made up."
_PROMPT = (212, (2, 11, 12, 13, 14, 15, 16, 17), (21, 22, 23, 24, 25, 26, 27, 28))
_WORDS_PER_PROMPT = 60


def generate(
    root: Path,
    *,
    bases: Sequence[str] = BASES,
    sources: Mapping[str, Sequence[str]] = SOURCES,
    ranks: Sequence[int] = RANKS,
    bits: Sequence[int] = BITS,
    seeds: Sequence[int] = SEEDS,
    tasks: Sequence[str] = TASK_NAMES,
    languages: Sequence[str] = LANGUAGE_KEYS,
    items: int = ITEMS,
    effects: Effects = Effects(),  # noqa: B008  frozen
    seed: int = 0,
) -> Store:
    """Write the study and all its results; by default the paper's grid without any effect.

    The same arguments give the same files.

    Args:
        root: an empty folder, or a new one.
        bases: names, none of a real model's.
        sources: languages trained on by training source.
        bits: of training and evaluation alike; each untuned base is evaluated at all of them.
        tasks: among `TASK_NAMES`, each under its primary metric.
        languages: keys; every task is asked in every one.
        items: a task and language.
        seed: of everything drawn.
    """
    store = Store(root)
    text = _study(bases, sources, ranks, bits, seeds, tasks, languages)
    plan = _planned(Study.model_validate(tomllib.loads(text)), sources, tasks, languages, items)
    store.put_plan(plan, text.encode())
    for train_id, cell in plan.train.items():
        if cell.method != "none":
            _put_training(store, train_id, cell)
    draw = np.random.default_rng([seed, 0])
    adapter_luck = {name: effects.adapter_sd * float(draw.standard_normal()) for name in plan.train}
    scored = {score.eval_id: (name, score) for name, score in plan.scores.items()}
    by_subset: dict[tuple[str, str], list[str]] = {}
    for eval_id, asked in plan.evals.items():
        by_subset.setdefault((asked.task, asked.subset), []).append(eval_id)
    for number, task in enumerate(tasks):
        draw = np.random.default_rng([seed, 1, number])
        passages = _passages(task, items, draw)
        luck = Luck(draw.standard_normal(items), draw.standard_normal(items)[passages])
        for place, key in enumerate(languages):
            draw = np.random.default_rng([seed, 2, number, place])
            evals = by_subset[task, key]
            untuned = _level(task, key, draw)
            own = effects.language_sd * draw.standard_normal(len(evals))
            levels, base_numbers = np.zeros(len(evals)), []
            for at, eval_id in enumerate(evals):
                train_id = plan.evals[eval_id].train_id
                cell = plan.train[train_id]
                base_numbers.append(bases.index(cell.base_name))
                levels[at] = untuned + _AHEAD * base_numbers[-1]
                if cell.method != "none":
                    planted = effects.delta(cell, key, ranks, bits)
                    levels[at] += (planted + adapter_luck[train_id] + own[at]) / 100
            numbers = [
                bases.index(plan.train[plan.evals[name].train_id].base_name) for name in evals
            ]
            found = scores(levels, numbers, luck, draw, _TASKS[task].most)
            _put_subset(store, plan, evals, scored, _examples(task, key, passages), found)
    store.write_index()
    return store


def _study(
    bases: Sequence[str],
    sources: Mapping[str, Sequence[str]],
    ranks: Sequence[int],
    bits: Sequence[int],
    seeds: Sequence[int],
    tasks: Sequence[str],
    languages: Sequence[str],
) -> str:
    """study.toml; JSON's lists of strings and numbers are TOML's."""
    subsets = json.dumps(list(languages))
    asked = "".join(
        f'\n[[evaluate.task]]\nname = "{task}"\nn_shot = 4\nsubsets = {subsets}\n' for task in tasks
    )
    return (
        f'name = "generated"\nseeds = {json.dumps(list(seeds))}\n'
        f"\n[base]\nmodels = {json.dumps(list(bases))}\n"
        f'\n[train]\nsources = {json.dumps(list(sources))}\nmethods = ["lora"]\n'
        f'r = {json.dumps(list(ranks))}\nlora_alpha = "2r"\n'
        f"train_bits = {json.dumps(list(bits))}\nlearning_rate = 3e-4\n"
        "\n[train.validation]\nrows = 100\n"
        f'\n[evaluate]\neval_bits = "as trained"\n{asked}'
    )


def _planned(
    study: Study,
    sources: Mapping[str, Sequence[str]],
    tasks: Sequence[str],
    languages: Sequence[str],
    items: int,
) -> PlanFile:
    bases = [
        BaseModel(name, content_hash(["base", name]), content_hash(["tokenizer", name]), None, "")
        for name in study.base.models
    ]
    data = [_data(name, tuple(trained)) for name, trained in sources.items()]
    plain = content_hash("plain")
    trained = train_cells(study, bases, data, {(base.identity, "plain"): plain for base in bases})
    engines = {
        (base.identity, bits): Engine("builtin", "bfloat16")
        for base, bits in product(bases, (4, 8, 16, 32))
    }
    asked = [_subset(task, key, items) for task, key in product(tasks, languages)]
    cells = grid(study, trained, asked, engines)
    return PlanFile(
        identity_version=IDENTITY_VERSION,
        maple="0.1.0",
        created=_TIME,
        study=study.model_dump(mode="json"),
        bases=tuple(bases),
        locks={base.name: base.identity for base in bases},
        limit=None,
        train=dict(cells.train),
        evals=dict(cells.evals),
        scores=dict(cells.scores),
        primary_metrics={task: TASKS[task].primary_metric for task in sorted(tasks)},
        languages={f"{task}/{key}": key for task, key in product(tasks, languages)},
        data=tuple(data),
        notes=(_NOTE,),
    )


def _data(source: str, languages: tuple[str, ...]) -> TrainingData:
    rows = _ROWS // len(languages)
    table = tuple(LanguageRows(key, source, rows, 400 * rows, 0, 0, 100) for key in languages)
    named = [source, *languages]
    return TrainingData(
        source,
        languages,
        rows * len(languages),
        content_hash(["rows", *named]),
        table=table,
        validation=content_hash(["held out", *named]),
        english=content_hash(["english", *named]),
    )


def _subset(task: str, key: str, items: int) -> Subset:
    found = TASKS[task]
    version, rules = found.metric_identity(found.primary_metric, key)
    return Subset(
        task=task,
        dataset="release",
        subset=key,
        items=content_hash(["items", task, key, items]),
        prompt="native",
        prompt_hash=content_hash(["prompt", task, key]),
        n_shot=4,
        pool=content_hash(["pool", task, key]),
        max_new_tokens=None if _TASKS[task].choices else 64,
        metrics=(Metric(found.primary_metric, version, rules),),
    )


def _level(task: str, key: str, generator: np.random.Generator) -> float:
    """Expected score of the first untuned base: more where there is more data."""
    low, high = _TASKS[task].levels
    share = (LANGUAGES[key].resource_class or 0) / 5
    return low + (high - low) * share + 0.02 * float(generator.uniform(-1, 1))


def _passages(task: str, items: int, generator: np.random.Generator) -> list[int]:
    """Number of each item's passage."""
    fewest, most = _TASKS[task].passages
    sizes = generator.integers(fewest, most + 1, size=items)
    return np.repeat(np.arange(items), sizes)[:items].tolist()  # type: ignore[no-any-return]


def _examples(task: str, key: str, passages: Sequence[int]) -> list[Example]:
    made = _TASKS[task]
    word = LANGUAGES[key].autonym or LANGUAGES[key].name
    found = []
    for item, passage in enumerate(passages):
        cluster = f"{task}-{key}-p{passage}" if made.own_passages else f"{task}-p{passage}"
        fields = {"context": f"{word} {passage}.", "question": f"{word} {item}?"}
        choices = tuple(f"{word} {item}.{choice}" for choice in range(made.choices))
        found.append(
            Example(
                example_id=f"{task}-{item:04d}",
                cluster_id=cluster,
                fields=fields,
                choices=choices,
                target=item % made.choices if made.choices else None,
                golds=() if made.choices else (f"{word} {item}",),
            )
        )
    return found


@dataclass(frozen=True, slots=True)
class _Answers:
    """Every answer that the items of a subset can get: n wrong ones, n half right, n right.

    Attributes:
        rows: of the response schema, 3 n of them.
        texts: each row as it is hashed.
    """

    rows: pa.Table
    texts: tuple[str, ...]

    def given(self, scored: Floats) -> tuple[pa.Table, str]:
        """The answers that these scores stand for, and the hash of their content."""
        items = len(scored)
        kind = np.where(scored == 0, 0, np.where(scored == scored.max(initial=0), 2, 1))
        chosen = kind * items + np.arange(items)
        text = "[" + ",".join([self.texts[row] for row in chosen]) + "]"
        return self.rows.take(chosen), "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _answers(examples: Sequence[Example]) -> _Answers:
    rows = [
        _choice(item, kind) if item.choices else _written(item, at, kind)
        for kind in range(3)
        for at, item in enumerate(examples)
    ]
    schema = schemas.CHOICE_RESPONSES if examples[0].choices else schemas.GENERATE_RESPONSES
    # As `content_hash` writes JSON, less the column that stores leave out.
    texts = [
        json.dumps(
            {name: value for name, value in row.items() if name != "neutral_logprobs"},
            sort_keys=True,
            separators=(",", ":"),
        )
        for row in rows
    ]
    return _Answers(pa.Table.from_pylist(rows, schema=schema), tuple(texts))


def _choice(item: Example, kind: int) -> dict[str, object]:
    number = len(item.choices)
    best = ((item.target or 0) + (kind != 2)) % number
    logprobs = tuple(-2.5 if choice == best else -4.0 - choice for choice in range(number))
    greedy = tuple(choice == best for choice in range(number))
    response = ChoiceResponse(logprobs, (5,) * number, greedy, *_PROMPT)
    return schemas.choice_row(item, item.choices, response)


def _written(item: Example, at: int, kind: int) -> dict[str, object]:
    wrong = "" if at % 20 == 0 else "?"
    text = (wrong, f"{item.golds[0]} ?", item.golds[0])[kind]
    return schemas.generate_row(
        item, GenerateResponse(text, "eos" if text else "length", 8 if text else 64, *_PROMPT)
    )


def _put_subset(
    store: Store,
    plan: PlanFile,
    evals: Sequence[str],
    scored: Mapping[str, tuple[str, ScoreCell]],
    examples: Sequence[Example],
    found: Floats,
) -> None:
    """Items, sizes of their prompts, and all cells that ask them."""
    asked = plan.evals[evals[0]]
    about: dict[str, object] = {"task": asked.task, "subset": asked.subset, "content": asked.items}
    path = store.items_path(asked.task, asked.subset, asked.items)
    _write(path, schemas.items_table(examples), about)
    for number, base in enumerate(plan.bases):
        store.put_prompt_sizes(asked, base.tokenizer, _sizes(asked.subset, examples, number))
    ids = pa.array([item.example_id for item in examples])
    answers = _answers(examples)
    for eval_id, values in zip(evals, found, strict=True):
        cell = plan.evals[eval_id]
        table, content = answers.given(values)
        about = {"eval_id": eval_id, "cell": dataclasses.asdict(cell), "content": content}
        if cell.decoding == "choices":
            about["neutral"] = 0
        path = store.eval_path(eval_id, cell)
        _write(path, table, about)
        path.with_suffix(".json").write_bytes(_answered(plan, eval_id, cell, len(ids)).to_bytes())
        score_id, score = scored[eval_id]
        about = {"score_id": score_id, "cell": dataclasses.asdict(score), "content": content}
        table = pa.table([ids, pa.array(values)], schema=schemas.SCORES)
        _write(store.score_path(score_id, score), table, about)


def _write(path: Path, table: pa.Table, about: object) -> None:
    """As a store writes a table, without waiting for the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(schemas.with_metadata(table, about), path, compression="zstd")


def _sizes(key: str, examples: Sequence[Example], number: int) -> list[dict[str, object]]:
    """A prompt has as many words everywhere; languages with less data take more tokens a word."""
    fertility = 1.2 + 0.4 * (5 - (LANGUAGES[key].resource_class or 0)) + 0.1 * number
    width = len((LANGUAGES[key].autonym or LANGUAGES[key].name).encode())
    return [
        {
            "example_id": item.example_id,
            "n_tokens": round(fertility * _WORDS_PER_PROMPT),
            "n_words": _WORDS_PER_PROMPT,
            "n_chars": 6 * _WORDS_PER_PROMPT,
            "n_bytes": 6 * _WORDS_PER_PROMPT + width,
        }
        for item in examples
    ]


def _answered(plan: PlanFile, eval_id: str, cell: EvalCell, items: int) -> Record:
    tuned = plan.train[cell.train_id].method != "none"
    linear = {4: "Linear4bit", 8: "Linear8bitLt"}.get(cell.eval_bits, "Linear")
    return Record(
        kind="eval",
        id=eval_id,
        status="done",
        cell=cell,
        started=_TIME,
        finished=_TIME,
        provenance=_PROVENANCE,
        cost=Cost(0.05 * items, 0.0, 2 * 10**8, None, _NO_ENERGY),
        proof=Proof(0.5 if tuned else None, True, linear, cell.eval_bits, 1, 1),
        noise=Noise(16, 0.01, 0),
        n=items,
        exemplar_ids=tuple(f"{cell.task}-pool-{number}" for number in range(cell.n_shot)),
    )


def _put_training(store: Store, train_id: str, cell: TrainCell) -> None:
    """A training of ten steps: the larger the rank, the lower the loss and the higher the cost."""
    r, languages = cell.r or 1, cell.languages or ()
    gain = 0.3 + 0.02 * math.log2(r)
    before = {key: 2.0 + 0.1 * at for at, key in enumerate(sorted({*languages, ENGLISH}))}
    after = {key: loss - (gain if key in languages else 0.1) for key, loss in before.items()}
    steps = [
        {"step": step, "epoch": step / 10, "loss": 2.5 - gain * step / 10}
        | {"learning_rate": 3e-4 * (1 - step / 10), "grad_norm": 1.0}
        | {"tokens": 10**6, "labelled_tokens": 6 * 10**5}
        for step in range(1, 11)
    ]
    log = [{"step": 0, "held_out": before}, *steps[:-1], steps[-1] | {"held_out": after}]
    folder = store.train_folder(train_id)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in log)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    rows = _ROWS // len(languages)
    seconds = 3600.0 * (1 + r / 256) * (1.3 if cell.train_bits == 8 else 1.0)
    outcome = TrainOutcome(
        *(10, rows * len(languages), 0, 10**7, 6 * 10**6, 2.5, 2.5 - gain, seconds),
        trainable_parameters=2_500_000 * r,
        adapter_bytes=10_000_000 * r,
        by_language={key: LanguageTokens(rows, 10**6, 6 * 10**5) for key in languages},
        operations=10**17,
        ceiling=10**14,
        held_out_before=before,
        held_out_after=after,
        held_out_rows=dict.fromkeys(before, 100),
    )
    memory = (4 + (cell.train_bits or 16)) * 10**9 + 10**7 * r
    record = Record(
        kind="train",
        id=train_id,
        status="done",
        cell=cell,
        started=_TIME,
        finished=_TIME,
        provenance=_PROVENANCE,
        cost=Cost(seconds + 60, 30.0, memory, None, _NO_ENERGY),
        outcome=outcome,
    )
    (folder / "record.json").write_bytes(record.to_bytes())
