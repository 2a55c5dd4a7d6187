"""The server engine: a base model that a vLLM server has in memory, and its adapters."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from maple.errors import nearest
from maple.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE, check_adapter, stamp
from maple.models.completing import Completion, Extender, check_request, end_tokens
from maple.models.encoding import (
    Encoded,
    bos_count,
    check_length,
    encode,
    expected_bos,
    lengths,
    load_tokenizer,
    triples,
)
from maple.models.files import read_json
from maple.models.hashing import files_identity, text_identity
from maple.models.probes import PROBES
from maple.models.scored import Scored, choice_responses
from maple.models.server_api import SPARE, Api, Served
from maple.records import (
    BaseModel,
    ChoiceRequest,
    ChoiceResponse,
    GenerateRequest,
    GenerateResponse,
    Proof,
    Server,
)

_IN_FLIGHT = 32
"""Requests that are with the server at a time; it batches them as it likes."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ServerModel:
    """`maple.protocols.LanguageModel` over HTTP.

    Texts become tokens here, by the rules of the built-in engine and with the base's own
    tokenizer, and token ids are sent. What the server gives back is checked, never mended. A
    server batches requests as they come, so that the same call may differ by rounding.
    """

    engine = "server"

    def __init__(self, base: BaseModel, server: Server) -> None:
        """Find the base on the server.

        Args:
            base: what the server is said to serve; its tokenizer is read from `base.path`.
            server: where it is, and its model's name there.

        Raises:
            ModelError: no connection, no such model on the server, or a broken tokenizer.
        """
        self._base = base
        self._tokenizer = load_tokenizer(base)
        config = read_json(Path(base.path) / "config.json", base.name)
        self._bos = expected_bos(self._tokenizer, str(config.get("model_type")))
        ends = end_tokens(Path(base.path), self._tokenizer)
        self._extender = Extender(self._tokenizer, ends)
        self._api = Api(server.url)
        served = _chosen(self._api, server.model)
        if served.max_tokens is None:
            raise self._api.error(
                f"does not say how many tokens {served.name!r} takes (max_model_len)",
                "expected a vLLM server",
            )
        self.model_name = served.name
        self.compute_dtype = server.compute_dtype
        self.tokenizer_id = base.tokenizer
        self.max_context = served.max_tokens - SPARE
        self._names: dict[tuple[object, ...], str] = {}
        self._base_probes: list[float] = []
        self._noise = 0.0

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        """See `maple.protocols.LanguageModel.choice_logprobs`."""
        name = self._name(adapter)
        texts = encode(self._tokenizer, triples(requests), self._bos)
        for text in texts:
            check_length(text.start, len(text.ids) - text.start, "the choice", self.max_context)

        def ask(text: Encoded) -> Scored:
            tokens = self._api.score(name, text.ids, text.start)
            return Scored(
                math.fsum(token.logprob for token in tokens), all(token.greedy for token in tokens)
            )

        return choice_responses(requests, texts, _all(ask, texts))

    def generate(
        self, requests: Sequence[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        """See `maple.protocols.LanguageModel.generate`."""
        name = self._name(adapter)
        for request in requests:
            check_request(request)
        texts = encode(self._tokenizer, triples(requests), self._bos)
        for text, request in zip(texts, requests, strict=True):
            check_length(len(text.ids), request.max_new_tokens, "max_new_tokens", self.max_context)
        completions = [
            Completion(text.ids, request) for text, request in zip(texts, requests, strict=True)
        ]

        def ask(completion: Completion) -> GenerateResponse:
            return self._complete(name, completion)

        return _all(ask, completions)

    def lengths(self, requests: Sequence[ChoiceRequest | GenerateRequest]) -> list[int]:
        """See `maple.protocols.LanguageModel.lengths`."""
        return lengths(self._tokenizer, requests, self._bos)

    def proof(self, adapter: Path | None) -> Proof:
        """See `maple.protocols.LanguageModel.proof`.

        Only what can be seen from outside: the tokens that were read, and that the adapter
        changes log-probabilities by more than the server's own noise. Precision and mode of the
        layers are unknown.
        """
        if not self._base_probes:
            first, again = self._probe(self.model_name), self._probe(self.model_name)
            self._noise = _largest_difference(first, again)
            self._base_probes = first
        difference = None
        if adapter is not None:
            difference = _largest_difference(self._probe(self._name(adapter)), self._base_probes)
            if difference <= self._noise:
                raise self._api.error(
                    f"adapter {adapter} changes nothing; all probe prompts give the base's own "
                    f"probabilities within {self._noise:.2g} nats",
                    "it was not trained, or the server does not apply it",
                )
        ids = self._tokenizer(PROBES[0]).input_ids
        return Proof(
            probe_max_abs_diff=difference,
            eval_mode=None,
            linear_class=None,
            linear_bits=None,
            bos_count=bos_count(self._tokenizer, ids) if self._bos else 0,
            bos_expected=self._bos,
            server=f"{self._api.where.removeprefix('server ')} {self._api.fingerprint}".strip(),
            server_model=self.model_name,
        )

    def _complete(self, name: str, completion: Completion) -> GenerateResponse:
        """Ask for a completion and end it by the program's own rules, not by the server's."""
        written = self._api.write(name, completion.prompt, completion.request)
        for token in written.ids:
            self._extender.extend(completion, token)
            if completion.reason is not None:
                return completion.response()
        raise self._api.error(
            f"ended an answer after {len(written.ids)} tokens "
            f"({written.finish!r}), but no end marker, stop string or limit is there: "
            f"{self._tokenizer.decode(list(written.ids))[-40:]!r}",
            "the server must have no stop tokens of its own",
        )

    def _probe(self, name: str) -> list[float]:
        """Log-probabilities of all tokens of the probe prompts, in nats.

        One prompt at a time: what a server batches together differs by rounding.
        """
        texts = encode(self._tokenizer, [("", probe, None) for probe in PROBES], self._bos)
        return [token.logprob for text in texts for token in self._api.score(name, text.ids, 1)]

    def _name(self, adapter: Path | None) -> str:
        """The name under which the server answers through an adapter, or bare.

        Adapters are named by their content and their folder: an adapter trained again is another
        one, and so is a copy, since a server that has put an adapter out of memory reads it anew
        from where it first was. Several sweeps can share a server. No adapter is taken out again:
        a server keeps the latest ones in memory by itself.
        """
        if adapter is None:
            return self.model_name
        key = stamp(adapter)
        if key not in self._names:
            check_adapter(adapter, self._base)
            content, path = files_identity(adapter, (CONFIG_FILE, WEIGHTS_FILE)), adapter.resolve()
            name = f"maple-{text_identity(f'{content} {path}').removeprefix('sha256:')[:16]}"
            self._api.load_adapter(name, str(path), self.model_name)
            self._names[key] = name
        return self._names[key]


def _chosen(api: Api, wanted: str | None) -> Served:
    """The base to ask: the one of that name, or the only one."""
    bases = [served for served in api.models() if served.parent is None]
    names = [served.name for served in bases]
    if wanted is not None:
        if wanted not in names:
            raise api.error(f"serves no model {wanted!r}", nearest(wanted, names))
        return bases[names.index(wanted)]
    if len(bases) != 1:
        raise api.error(
            f"serves {len(bases)} models, expected one: {', '.join(names) or 'none'}",
            "name one: model in [evaluate.server], or --server-model",
        )
    return bases[0]


def _all(ask: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Ask for all items, several at a time; the answers in the order of the items."""
    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        return list(pool.map(ask, items))


def _largest_difference(one: Sequence[float], other: Sequence[float]) -> float:
    return max(abs(mine - theirs) for mine, theirs in zip(one, other, strict=True))
