"""A results folder written by hand: two tasks, three languages, a failed and a pending cell.

Item i of 40 is answered rightly by the untuned base where i is even, by an adapter also where i
is 1, 11, 21 or 31: means 0.5 and 0.6, delta 0.1, whatever the language and precision.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from maple.records import (
    BaseModel,
    ChoiceResponse,
    Cost,
    EvalCell,
    Example,
    Failure,
    GenerateResponse,
    LanguageTokens,
    ScoreCell,
    TrainCell,
    TrainOutcome,
)
from maple.store import PlanFile, Record, Store
from maple.store.prompts import Prompts
from maple.store.schemas import choice_row, generate_row
from maple.study.identity import content_hash, eval_id, score_id, train_id

LANGUAGES = ("eng_Latn", "arb_Arab", "swh_Latn")
ITEMS = 40
HOSTILE = "</script><img src=x onerror=alert(1)>"
FORMULA = '=HYPERLINK("http://example.com","x")'
NOTES = (
    "A check of the plumbing, not evidence: this study uses the small set `mini`.",
    "tiny was published in 4 bits: no conclusion about bits can be drawn from it.",
)
PROVENANCE = {
    "versions": {"python": "3.11.2", "maple": "0.1.0", "torch": "2.13.0"},
    "source": {"commit": "0ad1d1d", "dirty": True},
    "machine": {"host": "here", "processor": "some CPU", "cores": 2, "memory_bytes": 24 * 10**9},
}
COST = Cost(7.5, 1.5, 10**8, None, "this machine exposes no energy counter")
_METRICS = {"xcopa": ("acc", "acc_norm"), "xquad": ("f1", "em")}
_TEXTS = {
    "eng_Latn": ("The kettle boiled over. What was the cause?", "The lid was shut.", "It rained."),
    "arb_Arab": ("فاض الإبريق. ما السبب؟", "كان الغطاء مغلقا.", "هطل المطر."),
    "swh_Latn": ("Birika lilifurika. Sababu ilikuwa nini?", "Kifuniko kilifungwa.", "Ilinyesha."),
}

Scorer = Callable[[TrainCell, EvalCell, int], float]


def plain(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """The rule of the module's docstring."""
    right = item % 2 == 0 or (cell.method != "none" and item % 10 == 1)
    return float(right)


def even_only(cell: TrainCell, asked: EvalCell, item: int) -> float:
    """The same answers from every cell: no difference to the untuned base."""
    return float(item % 2 == 0)


@dataclass(frozen=True)
class Fake:
    """The store, its plan, and which cells are not done."""

    store: Store
    plan: PlanFile
    failed: str
    pending: str

    def cell(self, task: str, subset: str, r: int | None, bits: int) -> str:
        """Id of an eval cell; r None for the untuned base."""
        return next(
            name
            for name, cell in self.plan.evals.items()
            if (cell.task, cell.subset, cell.eval_bits) == (task, subset, bits)
            and self.plan.train[cell.train_id].r == r
        )


def examples(task: str, language: str, items: int = ITEMS) -> list[Example]:
    """Items of a task; XQuAD's share a passage in fours."""
    text, cause, other = _TEXTS[language]
    found = []
    for item in range(items):
        name = f"{task}-{item:03d}"
        if task == "xcopa":
            fields = {"premise": text, "note": HOSTILE if item == 0 else "cause"}
            found.append(Example(name, name, fields, (cause, other), item % 2))
        else:
            fields = {"context": f"{cause} {other}", "question": text}
            golds = (FORMULA,) if item == 0 else (cause,)
            found.append(Example(name, f"p{item // 4}", fields, golds=golds))
    return found


def planned(
    items: int = ITEMS, *, evaluate: bool = True, seeds: tuple[int, ...] = (0,)
) -> PlanFile:
    """One base, r 8 and 64 at 4 and 16 bits, and the untuned base."""
    cells = [TrainCell("tiny", "sha256:aa", "sha256:bb", "none")] if evaluate else []
    for r, bits, seed in product((8, 64), (4, 16), seeds):
        cells.append(
            TrainCell(
                "tiny",
                "sha256:aa",
                "sha256:bb",
                "lora",
                source="mini",
                languages=("deu_Latn", "eng_Latn"),
                r=r,
                lora_alpha=2.0 * r,
                train_bits=bits,
                seed=seed,
            )
        )
    train = {train_id(cell): cell for cell in cells}
    evals: dict[str, EvalCell] = {}
    scores: dict[str, ScoreCell] = {}
    for (name, cell), task, language in product(train.items(), _METRICS, LANGUAGES):
        if not evaluate:
            break
        for bits in (4, 16) if cell.train_bits is None else (cell.train_bits,):
            asked = _asked(name, bits, task, language, items)
            evals[eval_id(asked)] = asked
            for metric in _METRICS[task]:
                score = ScoreCell(eval_id(asked), metric, 1, "")
                scores[score_id(score)] = score
    return PlanFile(
        identity_version=1,
        maple="0.1.0",
        created="2025-11-03T09:00:00Z",
        study={"name": "rank-and-bits", "base": {"models": ["tiny"]}},
        bases=(BaseModel("tiny", "sha256:aa", "sha256:bb", 4, ""),),
        limit=None,
        train=train,
        evals=evals,
        scores=scores,
        primary_metrics={task: metrics[0] for task, metrics in _METRICS.items()},
        languages={f"{task}/{key}": key for task, key in product(_METRICS, LANGUAGES)},
        notes=NOTES,
    )


def filled(
    root: Path, scorer: Scorer = plain, items: int = ITEMS, seeds: tuple[int, ...] = (0,)
) -> Fake:
    """The study with everything done but one failed and one pending eval cell."""
    store, plan = Store(root), planned(items, seeds=seeds)
    store.put_plan(plan, b"name = 'rank-and-bits'\n")
    for task, language in product(_METRICS, LANGUAGES):
        store.put_items(
            task, language, _content(task, language, items), examples(task, language, items)
        )
    for name, cell in plan.train.items():
        if cell.method != "none":
            put_training(store, name, cell)
    fake = Fake(store, plan, "", "")
    fake = Fake(
        store, plan, fake.cell("xquad", "arb_Arab", 64, 4), fake.cell("xcopa", "swh_Latn", 8, 16)
    )
    for name, asked in plan.evals.items():
        asks = examples(asked.task, asked.subset, items)[:2]
        texts = {one.example_id: f"{next(iter(one.fields.values()))}\n{HOSTILE}" for one in asks}
        store.put_prompts(asked, Prompts(f"{_TEXTS[asked.subset][1]} {FORMULA}\n\n", texts))
        if name == fake.failed:
            failure = Failure(f"{FORMULA} {HOSTILE}", "Traceback: <b>out of memory</b>", 137)
            store.put_record(_record(name, asked, "failed", failure=failure))
        elif name != fake.pending:
            put_eval(store, plan, name, scorer)
    return fake


def put_training(store: Store, name: str, cell: TrainCell) -> None:
    """A finished training of 20 steps with its log."""
    lines = [
        {"step": step, "epoch": step / 20, "loss": 3.0 - step / (10 + (cell.r or 0) / 8)}
        | {"learning_rate": 1e-4, "grad_norm": 1.0, "tokens": 50, "labelled_tokens": 20}
        for step in range(1, 21)
    ]
    folder = store.train_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    outcome = TrainOutcome(20, 84, 1, 12345, 6789, 2.95, 1.1, 61.5, 4096 * (cell.r or 1), 123456)
    store.put_record(_record(name, cell, "done", outcome=outcome))


def put_validated(store: Store, name: str, cell: TrainCell, steps: int = 20) -> None:
    """A training with rows held out in German and English, validated every fourth of the run.

    200 tokens a second at a quarter of the ceiling; German falls from 2.0 to 1.5 nats, English
    rises from 3.0 to 3.25.
    """
    held_out = [{"deu_Latn": 2.0 - part / 8, "eng_Latn": 3.0 + part / 16} for part in range(5)]
    log: list[dict[str, object]] = [{"step": 0, "held_out": held_out[0]}]
    for step in range(1, steps + 1):
        line = {"step": step, "epoch": step / steps, "loss": 2.0 + step % 2, "learning_rate": 1e-4}
        line |= {"grad_norm": 1.0, "tokens": 12000 // steps, "labelled_tokens": 20}
        part = 4 * step / steps
        log.append({**line, "held_out": held_out[int(part)]} if part == int(part) else {**line})
    folder = store.train_folder(name)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in log)
    (folder / "log.jsonl").write_text(text, encoding="utf-8")
    outcome = TrainOutcome(
        *(steps, 84, 1, 12000, 6789, 2.5, 2.25, 60.0, 4096, 123456),
        by_language={"deu_Latn": LanguageTokens(84, 12000, 6789)},
        operations=6 * 10**12,
        ceiling=4e11,
        held_out_before=held_out[0],
        held_out_after=held_out[4],
        best_step=steps,
    )
    cost = Cost(60.0, 1.5, 2 * 10**8, 1234.0)
    store.put_record(_record(name, cell, "done", outcome=outcome, cost=cost))


def put_eval(store: Store, plan: PlanFile, name: str, scorer: Scorer) -> None:
    """Responses, scores and record of a finished eval cell."""
    asked = plan.evals[name]
    items = store.items(asked.task, asked.subset, asked.items)
    right = [scorer(plan.train[asked.train_id], asked, item) for item in range(len(items))]
    prompt = (9, (1, 2), (3, 4))
    rows: list[dict[str, object]] = []
    for item, score in zip(items, right, strict=True):
        if item.choices:
            best, worst = (-3.25, -4.5) if bool(item.target) != bool(score) else (-4.5, -3.25)
            rows.append(
                choice_row(
                    item,
                    item.choices,
                    ChoiceResponse((best, worst), (4, 5), (True, False), *prompt),
                )
            )
        else:
            text = item.golds[0] if score else ("" if item.example_id.endswith("3") else HOSTILE)
            response = GenerateResponse(text, "eos" if text else "length", 6, *prompt)
            rows.append(generate_row(item, response))
    store.put_part(name, asked, 0, rows, COST)
    store.join_parts(name, asked, [row["example_id"] for row in rows])
    store.drop_parts(name, asked)
    ids = [item.example_id for item in items]
    for score_name, score in plan.scores.items():
        if score.eval_id == name:
            store.put_scores(score_name, score, ids, right, None)
    store.put_record(_record(name, asked, "done", n=len(items)))


def _record(name: str, cell: TrainCell | EvalCell, status: str, **known: object) -> Record:
    kind = "train" if isinstance(cell, TrainCell) else "eval"
    seconds = 60.0 if kind == "train" else 7.5
    content = {
        "kind": kind,
        "id": name,
        "status": status,
        "cell": cell,
        "started": "2025-11-03T09:00:01Z",
        "finished": "2025-11-03T09:01:01Z",
        "provenance": PROVENANCE,
        "cost": Cost(seconds, 1.5, 10**8, None, "this machine exposes no energy counter"),
        **known,
    }
    return Record(**content)  # type: ignore[arg-type]


def _asked(name: str, bits: int, task: str, language: str, items: int) -> EvalCell:
    generated = task == "xquad"
    return EvalCell(
        train_id=name,
        eval_bits=bits,
        engine="builtin",
        compute_dtype="bfloat16",
        task=task,
        dataset="mini",
        subset=language,
        items=_content(task, language, items),
        prompt="native",
        prompt_hash="sha256:cc",
        n_shot=2,
        exemplar_pool="sha256:dd",
        exemplar_seed=0,
        decoding="greedy" if generated else "choices",
        max_new_tokens=32 if generated else None,
        truncation="refuse",
    )


def _content(task: str, language: str, items: int) -> str:
    return content_hash([task, language, items])
