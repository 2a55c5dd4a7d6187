"""The built-in engine: a loaded base with one adapter at a time, on transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from maple.errors import ModelError
from maple.models.adapters import AdapterSlot
from maple.models.attention import KeysValues, max_context
from maple.models.batching import budget
from maple.models.choices import score
from maple.models.completing import Completion, Extender, check_request, end_tokens
from maple.models.encoding import (
    Encoded,
    Encodings,
    bos_count,
    check_length,
    common_prefix,
    encode,
    expected_bos,
    lengths,
    triples,
)
from maple.models.generation import Generator
from maple.models.head import body, check_head, final_logits
from maple.models.loading import Loaded
from maple.models.probes import PROBES
from maple.models.proving import check_layers, first_linear
from maple.models.runner import Runner, check_rows
from maple.models.scored import Scored, choice_responses
from maple.models.trie import stems, straight
from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    GenerateRequest,
    GenerateResponse,
    Proof,
)

_KEPT_TOKENS = 2**26
"""Tokens of requests that are kept for the next adapter, four bytes each: 256 MiB."""


class TransformersModel:
    """`maple.protocols.LanguageModel` on a base that `maple.models.loading.load` put in memory.

    The prefix that requests of one call share is computed once, and kept until another prefix
    or adapter is asked for; whether it was kept changes no result.

    Attributes:
        budget: what rows that run together may take.
    """

    engine = "builtin"

    def __init__(self, loaded: Loaded, untuned: Tensor | None = None) -> None:
        """Check that the base is one that this engine scores rightly.

        Args:
            untuned: `probe()` of the base that this one was finetuned from in full.

        Raises:
            ModelError: a head, a kind of attention or a tokenizer that would be scored wrongly.
        """
        self._loaded = loaded
        self._model = loaded.model
        self._tokenizer = loaded.tokenizer
        self.compute_dtype = str(loaded.compute_dtype).removeprefix("torch.")
        self.tokenizer_id = loaded.base.tokenizer
        self.max_context = max_context(loaded.model)
        self.adapters = AdapterSlot(loaded)
        self._bos = expected_bos(loaded.tokenizer, str(loaded.model.config.model_type))
        check_head(loaded.model)
        self._runner = Runner(loaded.model)
        check_rows(self._runner, loaded.model)
        ends = end_tokens(Path(loaded.base.path), loaded.tokenizer)
        self._generator = Generator(self._runner, loaded.model, Extender(loaded.tokenizer, ends))
        self.budget = budget(loaded.model, self._runner.kinds)
        self._kept: tuple[tuple[int, tuple[int, ...]], KeysValues] | None = None
        self._encoded = Encodings(_KEPT_TOKENS)
        self._untuned = untuned
        self._base_probes: Tensor | None = None

    @torch.inference_mode()
    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        """See `maple.protocols.LanguageModel.choice_logprobs`."""
        self.adapters.use(adapter)
        texts = self._encode(requests)
        for text in texts:
            check_length(text.start, len(text.ids) - text.start, "the choice", self.max_context)
        scores = self._scored(
            texts, [request.prefix for request in requests for _ in request.choices]
        )
        return choice_responses(requests, texts, scores)

    @torch.inference_mode()
    def token_logprobs(
        self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]], adapter: Path | None
    ) -> list[Scored]:
        """What the model gives to each continuation after its context, both in tokens.

        For callers with a tokenisation of their own, such as lm-evaluation-harness.

        Args:
            pairs: (context, continuation), at least one token each.
            adapter: PEFT folder to answer through; None for the bare base.

        Raises:
            ModelError: an empty context or continuation, or both exceed the context window by
                more than one token: the last one is predicted, never read.
        """
        self.adapters.use(adapter)
        texts = []
        for context, continuation in pairs:
            if not context or not continuation:
                raise ModelError("a context and a continuation need at least one token each")
            # The last token is predicted, never read.
            check_length(len(context), len(continuation) - 1, "the continuation", self.max_context)
            texts.append(Encoded((*context, *continuation), len(context), len(context)))
        return self._scored(texts, [""] * len(texts))

    def _encode(self, requests: Sequence[ChoiceRequest | GenerateRequest]) -> list[Encoded]:
        """The texts of all choices, or the prompts; those that every adapter is asked stay."""
        key = tuple(requests)
        known = self._encoded.get(key)
        if known is None:
            known = encode(self._tokenizer, triples(requests), self._bos)
            self._encoded.put(key, known)
        return known

    def _scored(self, texts: Sequence[Encoded], prefixes: Sequence[str]) -> list[Scored]:
        scores: dict[int, Scored] = {}
        for prefix, group in _grouped(texts, prefixes):
            members = [texts[index] for index in group]
            found = score(self._runner, self._model, members, self._prefix(prefix), self.budget)
            scores.update(zip(group, found, strict=True))
        return [scores[index] for index in range(len(texts))]

    @torch.inference_mode()
    def generate(
        self, requests: Sequence[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        """See `maple.protocols.LanguageModel.generate`."""
        return self._generated(self._encode(requests), requests, adapter)

    @torch.inference_mode()
    def generate_from(
        self,
        prompts: Sequence[Sequence[int]],
        requests: Sequence[GenerateRequest],
        adapter: Path | None,
    ) -> list[GenerateResponse]:
        """`generate` from prompts in tokens, for callers with a tokenisation of their own.

        Args:
            prompts: at least one token each.
            requests: one a prompt; their own prompts are not read.
            adapter: PEFT folder to answer through; None for the bare base.

        Raises:
            ModelError: an empty prompt, or as `generate`.
        """
        if not all(prompts):
            raise ModelError("an empty prompt has no token to continue from")
        texts = [Encoded(tuple(ids), len(ids), 0) for ids in prompts]
        return self._generated(texts, requests, adapter)

    def _generated(
        self, texts: Sequence[Encoded], requests: Sequence[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        self.adapters.use(adapter)
        for text, request in zip(texts, requests, strict=True):
            check_request(request)
            check_length(len(text.ids), request.max_new_tokens, "max_new_tokens", self.max_context)
        completions = [
            Completion(text.ids, request) for text, request in zip(texts, requests, strict=True)
        ]
        for prefix, group in _grouped(texts, [request.prefix for request in requests]):
            members = [completions[index] for index in group]
            self._generator.complete(members, self._prefix(prefix), self.budget)
        return [completion.response() for completion in completions]

    def lengths(self, requests: Sequence[ChoiceRequest | GenerateRequest]) -> list[int]:
        """See `maple.protocols.LanguageModel.lengths`."""
        return lengths(self._tokenizer, requests, self._bos)

    @torch.inference_mode()
    def proof(self, adapter: Path | None) -> Proof:
        """See `maple.protocols.LanguageModel.proof`."""
        if self._base_probes is None:
            self.adapters.use(None)
            self._base_probes = self.probe()
        self.adapters.use(adapter)
        check_layers(self._model, self._loaded.bits)
        difference = None
        if adapter is not None:
            difference = _moved(self.probe(), self._base_probes, f"adapter {adapter}")
        elif self._untuned is not None:
            name = self._loaded.base.path
            difference = _moved(self._base_probes, self._untuned, f"finetuned model {name}")
        linear, bits = first_linear(body(self._model))
        ids = self._tokenizer(PROBES[0]).input_ids
        return Proof(
            probe_max_abs_diff=difference,
            eval_mode=True,
            linear_class=linear,
            linear_bits=bits,
            bos_count=bos_count(self._tokenizer, ids) if self._bos else 0,
            bos_expected=self._bos,
        )

    @torch.inference_mode()
    def probe(self) -> Tensor:
        """Log-probabilities of the token after each probe prompt: [8, V] float32."""
        texts = encode(self._tokenizer, [("", probe, None) for probe in PROBES], self._bos)
        rows = [straight(text.ids) for text in texts]
        _, hidden = self._runner.rows(self._prefix(()), rows)
        last = torch.stack([hidden[index, len(row.ids) - 1] for index, row in enumerate(rows)])
        return final_logits(self._model, last).log_softmax(-1)

    def _prefix(self, ids: tuple[int, ...]) -> KeysValues:
        key = (self.adapters.serial, ids)
        if self._kept is None or self._kept[0] != key:
            self._kept = None  # frees the old one before the new one is made
            self._kept = (key, self._runner.prefix(ids))
        return self._kept[1]


def _moved(found: Tensor, base: Tensor, name: str) -> float:
    """Largest difference of log-probabilities, in nats, of what `name` is and its base.

    Raises:
        ModelError: there is none, or it is no number.
    """
    # A word that the base forbids is minus infinity on both sides.
    there = base.isfinite()
    difference = float((found - base)[there].abs().max())
    if not math.isfinite(difference):
        raise ModelError(
            f"{name}: the probabilities that it gives are no numbers",
            "its weights are broken, or overflow at this precision; choose other bits",
        )
    if difference == 0.0:
        raise ModelError(
            f"{name}: changes nothing; all probe prompts give the base's own probabilities",
            "it was not trained, or its weights were not saved",
        )
    return difference


def _grouped(
    texts: Sequence[Encoded], prefixes: Sequence[str]
) -> list[tuple[tuple[int, ...], list[int]]]:
    """(shared tokens, indices of the texts that start with them), each text once.

    Texts under one prefix share what they say they share: the same tokens in every call, so that
    the keys and values of the last call serve again. Texts without a prefix are searched for what
    they share.
    """
    declared: dict[str, list[int]] = {}
    for index, prefix in enumerate(prefixes):
        declared.setdefault(prefix, []).append(index)
    free = declared.pop("", [])
    groups = [
        (common_prefix([texts[index] for index in group]), group) for group in declared.values()
    ]
    # The token before an answer stays behind: the first answer token is predicted from it.
    for length, members in stems([texts[index].ids[: texts[index].start - 1] for index in free]):
        group = [free[member] for member in members]
        groups.append((texts[group[0]].ids[:length], group))
    return groups
