"""The four seams of the program, as structural types.

A Protocol and a conformance suite (`tests/conformance/`) stand where other projects have base
classes: an implementation inherits nothing, and the suite says what it must do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from maple.records import (
    ChoiceRequest,
    ChoiceResponse,
    Example,
    GenerateRequest,
    GenerateResponse,
    Prompted,
    Proof,
    SourceRows,
    Unit,
)


class LanguageModel(Protocol):
    """A loaded base model that answers requests, bare or through one adapter.

    Every call is a pure function of (base, adapter, requests): neither earlier calls nor caches
    change its results.
    """

    engine: str
    """Name of the engine, part of an eval cell's identity: "builtin", "scripted", ..."""

    compute_dtype: str
    """Data type of activations and matrix products: "bfloat16", "float32"."""

    tokenizer_id: str
    """"sha256:<hash of the tokenizer files>", as in `BaseModel.tokenizer`."""

    max_context: int
    """Tokens that prompt and answer may take together."""

    def choice_logprobs(
        self, requests: Sequence[ChoiceRequest], adapter: Path | None
    ) -> list[ChoiceResponse]:
        """Natural-log probability of each choice given its prompt, summed over its tokens.

        Args:
            requests: n items, any order; batching is internal.
            adapter: PEFT folder to answer through; None for the bare base.

        Returns:
            n responses, in request order; `logprobs` in nats, each <= 0.

        Raises:
            ModelError: prompt plus choice exceeds the context (naming both token counts), or
                the adapter does not belong to this base.
        """
        ...

    def generate(
        self, requests: Sequence[GenerateRequest], adapter: Path | None
    ) -> list[GenerateResponse]:
        """Continuation of each prompt, greedy or sampled as its request says.

        Args:
            requests: n items, any order; batching is internal.
            adapter: PEFT folder to answer through; None for the bare base.

        Returns:
            n responses, in request order.

        Raises:
            ModelError: prompt plus `max_new_tokens` exceeds the context, or the adapter does
                not belong to this base.
        """
        ...

    def lengths(self, requests: Sequence[ChoiceRequest | GenerateRequest]) -> list[int]:
        """Tokens of the context that each request takes: with its longest choice, or with
        `max_new_tokens`.

        Args:
            requests: n of one kind.

        Raises:
            ModelError: an answer without a token of its own, or a missing or doubled BOS.
        """
        ...

    def proof(self, adapter: Path | None) -> Proof:
        """Evidence about what answers: see `Proof`.

        Raises:
            ModelError: the adapter changes nothing, a module is in training mode, a layer has
                other bits than asked for, or BOS is missing or doubled.
        """
        ...


class Asking(Protocol):
    """What a worker needs of a task to ask its items: a `Task` has it, and more."""

    stop: tuple[str, ...]
    """Strings that end a generated answer; empty for choice tasks."""

    max_new_tokens: int | None
    """Longest generated answer in tokens; None for choice tasks."""

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The example under a prompt, without exemplars."""
        ...


class Task(Protocol):
    """One benchmark: where its items are, how they are asked, how answers are scored."""

    name: str
    kind: str
    """"choice" (requests are `ChoiceRequest`) or "generate" (`GenerateRequest`)."""

    primary_metric: str
    metrics: tuple[str, ...]
    """All metrics computed by default, the primary one included."""

    prompts: tuple[str, ...]
    """Names of the prompts it can be asked with, the default first."""

    datasets: tuple[str, ...]
    """Where its items can come from: "release", "mini", and others of its own."""

    poolless: tuple[str, ...]
    """Datasets that have no exemplars: all their items are scored."""

    stop: tuple[str, ...]
    """Strings that end a generated answer; empty for choice tasks."""

    max_new_tokens: int | None
    """Longest generated answer in tokens; None for choice tasks."""

    def subsets(self, dataset: str) -> tuple[str, ...]:
        """Names of the evaluation sets of a dataset, sorted.

        Raises:
            DataError: no such dataset.
        """
        ...

    def language(self, subset: str) -> str:
        """Key of the language that a subset is asked in."""
        ...

    def answer_language(self, subset: str) -> str:
        """Key of the language of a subset's answers; another one where pairs are evaluated."""
        ...

    def examples(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """All scored items of a subset, in the release's order.

        Args:
            dataset: a name from `datasets`.
            subset: a name from `subsets`.
            folder: release files (layout of docs/guides/data.md); None to read from the hub.

        Raises:
            DataError: missing, broken or contradictory rows, with file and line.
        """
        ...

    def exemplar_pool(self, dataset: str, subset: str, folder: Path | None) -> list[Example] | None:
        """Items that may serve as exemplars; disjoint from the scored items and their passages.

        None where the rendered items hold their exemplars already.

        Raises:
            DataError: as `examples`; all items of the dataset are scored.
        """
        ...

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The example under a prompt, without exemplars."""
        ...

    def prompt_text(self, subset: str, prompt: str) -> str:
        """The prompt with its fields as placeholders: what the identity hashes."""
        ...

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        metric: str,
        subset: str,
        prompt: str,
    ) -> float:
        """One example's score under a metric, 0 to 1."""
        ...

    def metric_identity(self, metric: str, subset: str) -> tuple[int, str]:
        """Version of a metric and the name of the language rules it applies to a subset."""
        ...

    def lint(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """Problems of the items' prompts, a line each; none where all is well."""
        ...

    def self_test(self, examples: Sequence[Example], subset: str) -> list[str]:
        """What the metrics get wrong in the language of these items; none where all is well."""
        ...

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """What a report must say about the data of a subset, in plain words."""
        ...


@runtime_checkable
class Parallel(Protocol):
    """What a `Task` may say besides, if its subsets are translations of each other.

    The right choice is the same in all of them; so are these.
    """

    untranslated: tuple[str, ...]
    """Names of fields that no translation changes. What a release has in place of a field that was
    mended is in `fields["released_" + name]`."""

    mended_by: str
    """What to do where they differ; the hint of the error."""


class TrainingSource(Protocol):
    """A set of instruction data."""

    name: str
    languages: tuple[str, ...]
    """Keys of the languages it has, sorted."""

    parallel: bool
    """Rows of one id are translations of each other."""

    same_ids: bool
    """It is drawn with the same ids in every language, unless a study says otherwise."""

    rows_each: int | None
    """Rows a language where a study does not say how many; None for all there are."""

    def load(self, language: str, folder: Path | None) -> SourceRows:
        """All rows of a language that have an output.

        Args:
            language: a key from `languages`.
            folder: release files; None to read from the hub.

        Raises:
            DataError: missing file, broken row, or no row left, with file and line.
        """
        ...


class Executor(Protocol):
    """Runs units in processes of their own."""

    def run(self, units: Iterable[Unit], on_event: Callable[[Mapping[str, object]], None]) -> None:
        """Run every unit to its end; a dead child is an event, never an exception.

        Args:
            units: independent of each other, or ordered so that later ones may need earlier ones.
            on_event: receives each event of a worker: "start", "progress", "done", "failed" of a
                cell, and "exit" of a unit with its status.
        """
        ...
