"""A language model and a trainer without weights: whole studies offline, in milliseconds.

Nothing here is measured. Answers are hashes of the request, or what a test says they are;
training writes files of the right form with made-up losses. Engine, layer class and compute dtype
say "scripted" or "none", so that no table can pass such numbers off as results.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from maple.errors import ModelError
from maple.models.adapter_files import (
    BASE_FILE,
    CONFIG_FILE,
    WEIGHTS_FILE,
    check_adapter,
    write_base,
)
from maple.models.files import resolve
from maple.models.hashing import files_identity
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    GenerateRequest,
    GenerateResponse,
    InstructionRow,
    LanguageTokens,
    Proof,
    StopReason,
    TrainCell,
    TrainOutcome,
)

_LOWEST = -20.0
"""Log-probability of a wrong choice, and the lower bound of pseudo-answers, in nats."""

_WIDTH = 8
"""Rows and columns of the stand-in for an adapter's matrix."""


class ScriptedModel:
    """`maple.protocols.LanguageModel` by rule instead of by weights. Words stand for tokens."""

    engine = "scripted"
    compute_dtype = "none"
    max_context = 8192

    def __init__(self, name: str = "hash", answer: Callable[[str], str] | None = None) -> None:
        """
        Args:
            name: the script; "hash" derives answers from SHA-256 of the adapter and the request.
            answer: for tests: the right continuation of prefix + prompt. That choice gets a
                log-probability near 0, every other one -20; `generate` returns it.

        Raises:
            ModelError: no script of that name.
        """
        self._base = resolve(f"scripted:{name}")
        self.tokenizer_id = self._base.tokenizer
        self._answer = answer

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        """See `maple.protocols.LanguageModel.choice_logprobs`."""
        identity = self._identity(adapter)
        return [self._scored(request, identity) for request in requests]

    def generate(
        self, requests: Sequence[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        """See `maple.protocols.LanguageModel.generate`."""
        identity = self._identity(adapter)
        return [self._generated(request, identity) for request in requests]

    def lengths(self, requests: Sequence[ChoiceRequest | GenerateRequest]) -> list[int]:
        """See `maple.protocols.LanguageModel.lengths`."""
        return [
            len((request.prefix + request.prompt).split())
            + (
                max(len(choice.split()) for choice in request.choices)
                if isinstance(request, ChoiceRequest)
                else request.max_new_tokens
            )
            for request in requests
        ]

    def proof(self, adapter: Path | None) -> Proof:
        """A proof in form only: there are no layers; its bits are 0."""
        difference = None
        if adapter is not None:
            mine, base = self._identity(adapter), self._identity(None)
            difference = abs(_unit(mine, "probe") - _unit(base, "probe")) * -_LOWEST
        return Proof(
            probe_max_abs_diff=difference,
            eval_mode=True,
            linear_class="scripted",
            linear_bits=0,
            bos_count=0,
            bos_expected=0,
        )

    def _identity(self, adapter: Path | None) -> str:
        if adapter is None:
            return ""
        check_adapter(adapter, self._base)
        return files_identity(adapter, (BASE_FILE, CONFIG_FILE, WEIGHTS_FILE))

    def _scored(self, request: ChoiceRequest, identity: str) -> ChoiceResponse:
        text = request.prefix + request.prompt
        longest = max(request.choices, key=lambda choice: len(choice.split()))
        head, tail, length = self._prompt(text, len(longest.split()))
        logprobs = tuple(self._logprob(text, choice, identity) for choice in request.choices)
        return ChoiceResponse(
            logprobs=logprobs,
            n_tokens=tuple(max(1, len(choice.split())) for choice in request.choices),
            greedy=tuple(value == max(logprobs) for value in logprobs),
            n_prompt_tokens=length,
            prompt_head=head,
            prompt_tail=tail,
        )

    def _logprob(self, text: str, choice: str, identity: str) -> float:
        if self._answer is not None:
            return -0.01 if choice.strip() == self._answer(text).strip() else _LOWEST
        return _LOWEST * (0.01 + 0.98 * _unit(identity, text, choice))

    def _generated(self, request: GenerateRequest, identity: str) -> GenerateResponse:
        text = request.prefix + request.prompt
        head, tail, length = self._prompt(text, request.max_new_tokens)
        if self._answer is not None:
            written = self._answer(text)
        else:
            written = _span(request.prompt, request.max_new_tokens, identity)
        reason: StopReason = "eos"
        found = [at for stop in request.stop if (at := written.find(stop)) >= 0]
        if found:
            written, reason = written[: min(found)], "stop"
        return GenerateResponse(
            text=written,
            stop_reason=reason,
            n_tokens=min(request.max_new_tokens, len(written.split()) + 1),
            n_prompt_tokens=length,
            prompt_head=head,
            prompt_tail=tail,
        )

    def _prompt(self, text: str, answer: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """First and last eight "tokens" of a prompt and their number, within the context."""
        words = text.split()
        if len(words) + answer > self.max_context:
            raise ModelError(
                f"a prompt of {len(words)} tokens and {answer} for the answer exceed the context "
                f"of {self.max_context} tokens"
            )
        ids = tuple(int(_unit(word) * 2**16) for word in [*words[:8], *words[-8:]])
        kept = min(8, len(words))
        return ids[:kept], ids[len(ids) - kept :], len(words)


def _unit(*parts: str) -> float:
    """A number in [0, 1) that depends on all parts."""
    digest = hashlib.sha256("\0".join(parts).encode()).digest()
    return int.from_bytes(digest[:6]) / 2.0**48


def _span(prompt: str, limit: int, identity: str) -> str:
    """One to four neighbouring words of the prompt."""
    words = prompt.split() or ["nothing"]
    length = 1 + int(_unit(identity, prompt, "length") * min(4, limit, len(words)))
    start = int(_unit(identity, prompt, "start") * (len(words) - length + 1))
    return " " + " ".join(words[start : start + length])


def train_scripted(rows: Sequence[InstructionRow], cell: TrainCell, out: Path) -> TrainOutcome:
    """Write an adapter folder that a scripted base accepts, without training anything.

    The files depend on the cell and the rows alone, byte for byte: PEFT's two files, `maple.json`
    and `log.jsonl` with a made-up falling loss.

    Args:
        rows: the training rows, in order.
        cell: the cell to stand in for.
        out: the folder to fill; made if it does not exist.

    Raises:
        ModelError: no rows.
    """
    if not rows:
        raise ModelError("nothing to train on: no rows")
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps(asdict(cell), sort_keys=True).encode())
    for row in rows:
        digest.update(json.dumps(asdict(row), sort_keys=True, ensure_ascii=False).encode())
    seed = digest.hexdigest()
    _write_adapter(cell, seed, out)
    losses = _write_log(cell, len(rows), seed, out)
    words = sum(len(f"{row.instruction} {row.input} {row.output}".split()) for row in rows)
    labelled = sum(len(row.output.split()) for row in rows)
    epochs = cell.epochs or 1.0
    tenth = max(1, len(losses) // 10)
    return TrainOutcome(
        steps=len(losses),
        rows=len(rows),
        dropped_rows=0,
        tokens=int(words * epochs),
        labelled_tokens=int(labelled * epochs),
        loss_first=math.fsum(losses[:tenth]) / tenth,
        loss_last=math.fsum(losses[-tenth:]) / tenth,
        seconds=0.0,
        trainable_parameters=2 * _WIDTH * (cell.r or _WIDTH),
        adapter_bytes=(out / WEIGHTS_FILE).stat().st_size,
        by_language=_by_language(rows, epochs),
    )


def _by_language(rows: Sequence[InstructionRow], epochs: float) -> dict[str, LanguageTokens]:
    """Words in place of tokens."""
    counts: dict[str, list[int]] = {}
    for row in rows:
        found = counts.setdefault(row.language, [0, 0, 0])
        labelled = len(row.output.split())
        for place, more in enumerate((1, len(f"{row.instruction} {row.input}".split()), labelled)):
            found[place] += more
    return {
        language: LanguageTokens(count, int((asked + told) * epochs), int(told * epochs))
        for language, (count, asked, told) in sorted(counts.items())
    }


def _write_adapter(cell: TrainCell, seed: str, out: Path) -> None:
    rank = cell.r or _WIDTH
    config = {
        "base_model_name_or_path": cell.base_name,
        "lora_alpha": cell.lora_alpha,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": cell.target_modules,
        "task_type": "CAUSAL_LM",
    }
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    write_base(out, base=cell.base, tokenizer=cell.tokenizer, base_name=cell.base_name)
    generator = np.random.default_rng(int(seed[:16], 16))
    matrices = {
        "base_model.model.scripted.lora_A.weight": (rank, _WIDTH),
        "base_model.model.scripted.lora_B.weight": (_WIDTH, rank),
    }
    save_file(
        {
            name: generator.standard_normal(shape).astype(np.float32)
            for name, shape in matrices.items()
        },
        out / WEIGHTS_FILE,
    )


def _write_log(cell: TrainCell, rows: int, seed: str, out: Path) -> list[float]:
    """A line for each step; the losses."""
    epochs = cell.epochs or 1.0
    steps = max(1, math.ceil(rows / (cell.batch_size or 1) * epochs))
    lines, losses = [], []
    for step in range(1, steps + 1):
        done = step / steps
        loss = 1.0 + 2.0 * math.exp(-3.0 * done) + 0.1 * _unit(seed, str(step))
        line = {
            "step": step,
            "loss": loss,
            "learning_rate": (cell.learning_rate or 0.0) * (1.0 - done),
            "epoch": epochs * done,
        }
        losses.append(loss)
        lines.append(json.dumps(line))
    (out / "log.jsonl").write_text("\n".join(lines) + "\n")
    return losses
