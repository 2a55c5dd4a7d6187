"""One measurement of each kind for train_speed.py: ours, TRL's, the loss of rows held out."""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

from maple.data.sources import SOURCES
from maple.models.files import resolve
from maple.prompts.training import PLAIN, render
from maple.provenance import derive_seed
from maple.records import RenderedRow, TrainCell

LANGUAGES = ("spa_Latn", "jpn_Jpan", "por_Latn")
BATCH_SIZE = 8
R = 16
LEARNING_RATE = 3e-4
SEED = 0
HELD_OUT = 24
"""Rows whose loss is measured after training."""

Rows = list[RenderedRow]


def workload(tokenizer: Any, job: dict[str, Any]) -> tuple[Rows, Rows]:
    """Rendered rows to train on, and others: as many of each language, none beyond max_tokens."""
    columns = []
    for language in LANGUAGES:
        released = list(SOURCES["multialpaca"].load(language, Path(job["data"])).rows)
        random.Random(derive_seed(SEED, "bench", language)).shuffle(released)  # noqa: S311
        columns.append(render(PLAIN, row) for row in released)
    mixed = (row for group in zip(*columns, strict=False) for row in group)
    # One place is EOS's.
    fitting = (r for r in mixed if len(tokenizer("".join(_sides(r))).input_ids) < job["max_tokens"])
    rows = list(itertools.islice(fitting, HELD_OUT + job["rows"]))
    return rows[HELD_OUT:], rows[:HELD_OUT]


def _sides(row: RenderedRow) -> tuple[str, str]:
    """What stands before the answer, and the answer."""
    (prompt, _), (answer, _) = row.segments
    return prompt, answer


def long_rows(tokenizer: Any, tokens: int, count: int) -> Rows:
    """Made-up rows of nearly so many tokens, most of them labelled."""
    prompt, rows = "Numbers:\n", []
    for row in range(count):
        numbers = random.Random(row)  # noqa: S311
        words = [str(numbers.randrange(10_000)) for _ in range(tokens)]
        ids = tokenizer(prompt + " ".join(words), return_offsets_mapping=True)
        end = ids.offset_mapping[tokens - 2][0] - len(prompt)  # one place is EOS's
        answer = " ".join(words)[:end].rstrip()
        rows.append(RenderedRow(((prompt, False), (answer, True))))
    return rows


class Clock:
    """Wall and CPU seconds at the end of each step."""

    def __init__(self) -> None:
        self._now = [(time.perf_counter(), time.process_time())]

    def tick(self) -> None:
        """A step has ended."""
        self._now.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> dict[str, float]:
        """Until the end of the first step, and from there to the end of the last one."""
        start, first, last = self._now[0], self._now[1], self._now[-1]
        return {
            "start_s": first[0] - start[0],
            "seconds": last[0] - first[0],
            "cpu_s": last[1] - first[1],
        }


def ours(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds, tokens, peak bytes and the operations that must be spent."""
    from maple.finetune.trainer import train
    from maple.models.loading import load
    from maple.provenance import Meter

    base = resolve(job["model"])
    loaded = load(base, job["bits"])
    if "length" in job:
        rows = long_rows(loaded.tokenizer, job["length"], job["rows"])
    else:
        rows, _ = workload(loaded.tokenizer, job)
    cell = TrainCell(
        base_name=base.name,
        base=base.identity,
        tokenizer=base.tokenizer,
        method="lora",
        r=R,
        lora_alpha=2.0 * R,
        lora_dropout=0.0,
        target_modules="all-linear",
        train_bits=job["bits"],
        epochs=1.0,
        batch_size=job["batch_size"],
        learning_rate=LEARNING_RATE,
        scheduler="constant",
        warmup_ratio=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_tokens=job["max_tokens"],
        seed=SEED,
    )
    out = Path(job["out"])
    meter, clock = Meter(), Clock()
    outcome = train(loaded, rows, cell, out, lambda _: clock.tick())
    measured = meter.read()
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    tokens = sum(line["tokens"] for line in log[1:])
    return {
        **clock.seconds(),
        "tokens": tokens,
        "peak_bytes": measured["peak_bytes"],
        # As the trainer counts them: products with what is frozen forward and towards the inputs,
        # in the adapter towards its weights as well, the head's for labelled tokens.
        "operations": (outcome.operations or 0) * tokens / outcome.tokens,
    }


def peer(job: dict[str, Any]) -> dict[str, Any]:
    """The same from TRL, without the operations."""
    import datasets
    import torch
    from peft import LoraConfig
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        BitsAndBytesConfig,
        TrainerCallback,
    )
    from trl import SFTConfig, SFTTrainer

    from maple.finetune.encoding import encode
    from maple.finetune.order import epoch_order
    from maple.models.allocation import make_resident
    from maple.provenance import Meter

    class Steps(TrainerCallback):  # type: ignore[misc]
        """Time and tokens of each step."""

        def __init__(self) -> None:
            self.tokens: list[float] = []

        def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
            if "loss" in logs:
                clock.tick()
                self.tokens.append(logs["num_tokens"])

    path = resolve(job["model"]).path
    dtype = torch.float32 if job["bits"] == 32 else torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(path)
    rows, _ = workload(tokenizer, job)
    encoded = encode(tokenizer, rows, job["max_tokens"])
    order = [row for step in epoch_order(len(rows), BATCH_SIZE, SEED, 0) for row in step]
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, quantization_config=quantisation if job["bits"] == 4 else None
    )
    make_resident(model.parameters())
    settings = job["settings"]
    steps_seen = Steps()
    meter, clock = Meter(), Clock()
    trainer = SFTTrainer(
        model,
        args=SFTConfig(
            output_dir=job["out"],
            num_train_epochs=1,
            gradient_accumulation_steps=BATCH_SIZE // settings["per_device_train_batch_size"],
            learning_rate=LEARNING_RATE,
            lr_scheduler_type="constant",
            max_length=None,  # no row is longer; padding-free takes no other value
            gradient_checkpointing=False,
            use_cpu=True,
            dataloader_pin_memory=False,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            seed=derive_seed(SEED, "init"),
            **settings,
        ),
        train_dataset=datasets.Dataset.from_list(
            [dict(zip(("prompt", "completion"), _sides(rows[row]), strict=True)) for row in order]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=R, lora_alpha=2 * R, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        callbacks=[steps_seen],
    )
    _check_same_work(encoded, order, trainer.train_dataset)
    trainer.train()
    measured = meter.read()
    trainer.model.save_pretrained(job["out"], save_embedding_layers=False)
    return {
        **clock.seconds(),
        "tokens": steps_seen.tokens[-1] - steps_seen.tokens[0],
        "peak_bytes": measured["peak_bytes"],
    }


def _check_same_work(encoded: Any, order: list[int], prepared: Any) -> None:
    """Every row as TRL prepared it has our ids and our labels."""
    for row, theirs in zip(order, prepared, strict=True):
        mine = encoded.rows[row]
        if [*mine.input_ids] != theirs["input_ids"] or [*mine.labels] != theirs["labels"]:
            sys.exit(f"row {row}: TRL and ours differ\n{mine}\n{theirs}")


def held_out(job: dict[str, Any]) -> dict[str, Any]:
    """Mean loss of the rows that nobody trained on, of the base and of each adapter."""
    import torch
    from peft import PeftModel

    from maple.finetune.encoding import encode
    from maple.models.cross_entropy import answer_loss
    from maple.models.head import body
    from maple.models.loading import load

    loaded = load(resolve(job["model"]), job["bits"])
    _, rows = workload(loaded.tokenizer, job)
    encoded = encode(loaded.tokenizer, rows, job["max_tokens"])
    losses = []
    for adapter in (None, *job["adapters"]):
        tuned = adapter and PeftModel.from_pretrained(loaded.model, adapter)
        total = 0.0
        for row in encoded.rows:
            ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
            with torch.no_grad():
                hidden = body(loaded.model)(input_ids=ids, use_cache=False).last_hidden_state
                total += float(answer_loss(loaded.model, hidden, labels, num_items=1))
        losses.append(total / encoded.labelled_tokens)
        if tuned:
            tuned.unload()
    return {"losses": losses}
