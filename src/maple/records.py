"""The values that cross stages: examples, requests, responses, cells, units.

Frozen dataclasses of plain Python values, so that every stage can be tested without the others
and every value can be written to Parquet or JSON as it is. Nothing here computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["done", "failed"]
StopReason = Literal["eos", "stop", "length"]
Bits = Literal[4, 8, 16, 32]


@dataclass(frozen=True, slots=True)
class InstructionRow:
    """One row of a training source. `input` is "" where the release has none.

    Attributes:
        turns: of a conversation, what was said before `instruction`, which is its last question:
            (role, text), the role "system", "user" or "assistant".
    """

    row_id: str
    language: str
    instruction: str
    input: str
    output: str
    turns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RenderedRow:
    """An instruction row as a template writes it.

    Attributes:
        segments: text in order, and whether the model learns it. The last one is learned; the
            end marker that follows it is the encoder's.
    """

    segments: tuple[tuple[str, bool], ...]


TEMPLATE_FIELDS = ("instruction", "input", "output")
"""What a training template can show of a row."""


@dataclass(frozen=True, slots=True)
class TextTemplate:
    """A training template of plain text, with `TEMPLATE_FIELDS` in braces.

    Attributes:
        text: of a row; it ends in {output}.
        with_input: of a row with an input; None where `text` serves those, too.
        turn: of an earlier question and answer of a conversation; None for `text` and a blank line.
    """

    name: str
    text: str
    with_input: str | None = None
    turn: str | None = None


@dataclass(frozen=True, slots=True)
class Frame:
    """What a template puts around a request, which is its instruction.

    Attributes:
        head: before the request.
        tail: between the request and the answer.
        space: white space that belongs to the answer, before it.
        end: what the template writes behind an answer, so that it ends a generated one; "" for
            nothing but the end marker.
    """

    head: str
    tail: str
    space: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class SourceRows:
    """What a training source has of one language.

    Attributes:
        rows: in the release's order.
        empty: how many rows were left out because their output is empty or only white space.
        remark: what a reader of the results must know about the files; "" for nothing.
    """

    rows: tuple[InstructionRow, ...]
    empty: int
    remark: str = ""


@dataclass(frozen=True, slots=True)
class UserSource:
    """A training source that a study describes.

    Attributes:
        path: of the file or files, "{language}" standing for a code; on the hub a pattern of file
            names in `hub`.
        hub: "owner/name" of a dataset; None for local files.
        revision: of `hub`.
        languages: the set's own code by language key.
        column: field that holds the code; None where the path or nothing says the language.
        fields: the set's own names by ours: "instruction", "input", "output", "id"; or "messages"
            with "role" and "content" inside, and "id".
        roles: the set's own names of roles, to ours.
        where: file and key that it stands at, for messages.
    """

    name: str
    path: str
    hub: str | None
    revision: str
    languages: Mapping[str, str]
    column: str | None
    fields: Mapping[str, str]
    roles: Mapping[str, str]
    where: str


@dataclass(frozen=True, slots=True)
class Mixture:
    """How many rows of which language a study trains on.

    Attributes:
        rows: in all; None for the source's own size, or all there are.
        seed: of the sampling.
        name: as the study gives it; None for the mixture of a study that describes none.
        weights: "uniform", "proportional" to the rows there are, or "temperature": their number
            to the power of 1 / `temperature`.
        english: share of English rows; None where English is a language like the others.
        english_from: source of English rows where a source has none.
        classes: share by resource classes of the rows that `english` leaves.
        same_ids: the same ids in every language; None for as the source says.
    """

    rows: int | None
    seed: int
    name: str | None = None
    weights: str = "uniform"
    temperature: float | None = None
    english: float | None = None
    english_from: str | None = None
    classes: Mapping[tuple[int, ...], float] = field(default_factory=dict)
    same_ids: bool | None = None


@dataclass(frozen=True, slots=True)
class LanguageRows:
    """What training data hold of one language.

    Attributes:
        source: where its rows are from, which for English may be another source.
        rows: trained on.
        characters: of instruction, input, output and earlier turns of them.
        empty: rows of the release that were left out because their output is empty.
        unpaired: rows left out because another language lacks their id, or an output for it.
        held_out: rows kept for validation.
    """

    language: str
    source: str
    rows: int
    characters: int
    empty: int
    unpaired: int
    held_out: int


@dataclass(frozen=True, slots=True)
class LanguageTokens:
    """What training saw of one language: as in `TrainOutcome`, the tokens over all epochs."""

    rows: int
    tokens: int
    labelled_tokens: int


@dataclass(frozen=True, slots=True)
class Example:
    """One item of a benchmark.

    Attributes:
        example_id: stable across languages where items are translations of each other.
        cluster_id: shared by items that stand or fall together (the questions of a passage).
        fields: the release's own texts by the release's own names.
        choices: the answers to choose from; empty for generation.
        target: index of the right choice; None for generation.
        golds: every accepted answer; empty for choice tasks.
    """

    example_id: str
    cluster_id: str
    fields: Mapping[str, str]
    choices: tuple[str, ...] = ()
    target: int | None = None
    golds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChoiceRequest:
    """Score each of `choices` as the continuation of `prefix + prompt`.

    `prefix` is the part that many requests share (the exemplars); engines may compute it once.
    It ends where a token border is likely (a blank line), yet the text is always tokenised as
    one string, so the split changes no token.
    """

    prefix: str
    prompt: str
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        temperature: above 0; what logits are divided by.
        top_p: in (0, 1]; only the most probable tokens are drawn that together have this much.
        seed: a request with the same seed gives the same text, whatever runs beside it.
    """

    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Continue `prefix + prompt` until a stop string, EOS or `max_new_tokens`.

    Greedily, the first of equally probable tokens; or by `sampling`.
    """

    prefix: str
    prompt: str
    stop: tuple[str, ...]
    max_new_tokens: int
    sampling: Sampling | None = None


@dataclass(frozen=True, slots=True)
class ChoiceResponse:
    """What an engine measured for one `ChoiceRequest`.

    Attributes:
        logprobs: per choice, natural-log probability in nats, summed over its tokens; <= 0.
        n_tokens: per choice, tokens scored; at least 1.
        greedy: per choice, no other token was more probable at any of its places.
        n_prompt_tokens: tokens before the first choice's answer, BOS included.
        prompt_head: ids of the first eight prompt tokens.
        prompt_tail: ids of the last eight prompt tokens.
        neutral_logprobs: as `logprobs`, after the prompt's last label alone instead of the prompt;
            None where that was not asked. A request of its own: no engine fills it in.
    """

    logprobs: tuple[float, ...]
    n_tokens: tuple[int, ...]
    greedy: tuple[bool, ...]
    n_prompt_tokens: int
    prompt_head: tuple[int, ...]
    prompt_tail: tuple[int, ...]
    neutral_logprobs: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class GenerateResponse:
    """What an engine wrote for one `GenerateRequest`.

    Attributes:
        text: the raw completion, cut before the stop string, special tokens removed.
        stop_reason: "eos", "stop" (a stop string) or "length".
        n_tokens: tokens generated, the end marker included.
    """

    text: str
    stop_reason: StopReason
    n_tokens: int
    n_prompt_tokens: int
    prompt_head: tuple[int, ...]
    prompt_tail: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A base model, resolved.

    Attributes:
        name: as the study file names it.
        identity: "hub:<id>@<commit>" or "sha256:<hash of the local files>".
        tokenizer: "sha256:<hash of the tokenizer files>".
        source_precision: bits of the published weights where they were published quantised.
        path: local folder in transformers' layout; "" for bases that need none.
    """

    name: str
    identity: str
    tokenizer: str
    source_precision: int | None
    path: str


@dataclass(frozen=True, slots=True)
class TrainCell:
    """One model to be trained, or the untuned base (`method = "none"`).

    Fields a method does not use are None. `base_name`, `source`, `mixture`, `languages` and `rows`
    only describe: what they stand for is hashed through `base`, `tokenizer` and `data`. So does
    `template_name`: `template` is hashed. `options` are PEFT's, by name, where they are not what
    PEFT does anyway. `validation` (hash of the rows held out) and `validate_every` are None unless
    training can stop early.
    """

    base_name: str
    base: str
    tokenizer: str
    method: str
    source: str | None = None
    languages: tuple[str, ...] | None = None
    rows: int | None = None
    data: str | None = None
    template: str | None = None
    transform: str | None = None
    r: int | None = None
    lora_alpha: float | None = None
    lora_dropout: float | None = None
    target_modules: str | tuple[str, ...] | None = None
    train_bits: int | None = None
    epochs: float | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    scheduler: str | None = None
    warmup_ratio: float | None = None
    weight_decay: float | None = None
    max_grad_norm: float | None = None
    max_tokens: int | None = None
    seed: int | None = None
    mixture: str | None = None
    template_name: str | None = None
    patience: int | None = None
    validation: str | None = None
    validate_every: int | None = None
    options: tuple[tuple[str, str | int | float | bool], ...] | None = None


@dataclass(frozen=True, slots=True)
class EvalCell:
    """One adapter (or base) on one subset of one task, at one precision and prompt.

    `prompt` (its name) and `dataset` only describe; `prompt_hash` and `items` are hashed.
    `deterministic` is True or None: every item is asked alone. `server_model` is the base's name on
    a server where the study states it. `exemplar_subset` is where the exemplars are from and whose
    words they have, where that is another subset. `template` (a hash) is what training template the
    requests stand in, None for none; `template_name` only describes.
    """

    train_id: str
    eval_bits: int
    engine: str
    compute_dtype: str
    task: str
    dataset: str
    subset: str
    items: str
    prompt: str
    prompt_hash: str
    n_shot: int
    exemplar_pool: str | None
    exemplar_seed: int | None
    decoding: str
    max_new_tokens: int | None
    truncation: str
    deterministic: bool | None = None
    server_model: str | None = None
    exemplar_subset: str | None = None
    template: str | None = None
    template_name: str | None = None

    @property
    def asked_as(self) -> tuple[str | int | None, ...]:
        """What the requests of the cell are made from; the same for every adapter."""
        items = (self.task, self.subset, self.items, self.prompt, self.prompt_hash)
        shots = (self.n_shot, self.exemplar_pool, self.exemplar_seed, self.exemplar_subset)
        return (*items, *shots, self.template)


@dataclass(frozen=True, slots=True)
class ScoreCell:
    """One metric over one eval cell's responses."""

    eval_id: str
    metric: str
    version: int
    rules: str


@dataclass(frozen=True, slots=True)
class EvalWork:
    """An eval cell as a worker receives it.

    Attributes:
        adapter: id of the train cell that answers; None for the untuned base.
        items: how many items to answer, from the first on.
        neutral: ask for `neutral_logprobs`, too.
    """

    eval_id: str
    cell: EvalCell
    adapter: str | None
    items: int
    neutral: bool = False


@dataclass(frozen=True, slots=True)
class Execution:
    """How a training is carried out: what costs time and memory and changes no more than rounding.

    Attributes:
        pack_tokens: tokens that go through the model together, at most; a longer row goes alone.
            None for what suits the device.
        gradient_checkpointing: compute activations again in the backward pass, to save memory.
        validate_every: optimiser steps between two validations; None for a tenth of the run.
        report_to: experiment trackers that are told of each step.
    """

    pack_tokens: int | None = None
    gradient_checkpointing: bool = False
    validate_every: int | None = None
    report_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainWork:
    """A train cell as a worker receives it.

    Attributes:
        validation: hash of the rows held out, of all languages; None without any.
        english: hash of English rows held out.
    """

    train_id: str
    cell: TrainCell
    validation: str | None = None
    english: str | None = None
    execution: Execution = Execution()


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers in place of the built-in engine.

    Attributes:
        url: "http://host:port/v1", without credentials.
        model: the base's name on the server; None for the only base it lists.
        compute_dtype: what it was started with; servers do not say.
    """

    url: str
    model: str | None
    compute_dtype: str


@dataclass(frozen=True, slots=True)
class Unit:
    """Everything one child process does on one base.

    Attributes:
        base: the resolved base model.
        bits: precision in which the base is loaded, for training and evaluation alike.
        server: answers the eval cells, if there is one; training stays here.
        train: adapters to train, in order.
        evals: eval cells to fill, in order; their adapters are trained above or in the store.
        store: the results folder.
        prompts: the study's own.
        templates: the study's own.
        tuned: the train cell whose product, a whole model, answers in the base's place.
    """

    base: BaseModel
    bits: int
    store: str
    train: tuple[TrainWork, ...] = ()
    evals: tuple[EvalWork, ...] = ()
    server: Server | None = None
    prompts: tuple[UserPrompt, ...] = ()
    templates: tuple[TextTemplate, ...] = ()
    tuned: str | None = None


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a finished training reports, beside the adapter folder it wrote.

    Attributes:
        steps: optimiser steps taken.
        rows: rows trained on in each epoch; `dropped_rows` did not fit into max_tokens.
        tokens: tokens seen over all epochs, padding not counted.
        labelled_tokens: those of them that carried a label.
        loss_first, loss_last: mean training loss of the first and last tenth of the steps, nats.
        seconds: wall time of the training loop without validation, the sum over resumed attempts.
        trainable_parameters: count.
        adapter_bytes: size of the adapter's weight file, or of the model's.
        by_language: rows and tokens by language key; empty where they were not counted.
        operations: of all steps, counted from the shapes; None where they were not counted.
        ceiling: operations a second of a large matrix product on this machine, the best of some
            before and after; None where it was not measured.
        held_out_before: mean loss on held-out rows by language before training, nats a labelled
            token; empty without validation.
        held_out_after: the same, of the weights that were kept.
        held_out_rows: how many rows those losses are of, by language.
        held_out_dropped: held-out rows by language that did not fit into max_tokens, where any.
        best_step: steps after which the weights were kept, where training could stop early.
    """

    steps: int
    rows: int
    dropped_rows: int
    tokens: int
    labelled_tokens: int
    loss_first: float
    loss_last: float
    seconds: float
    trainable_parameters: int
    adapter_bytes: int
    by_language: Mapping[str, LanguageTokens] = field(default_factory=dict)
    operations: int | None = None
    ceiling: float | None = None
    held_out_before: Mapping[str, float] = field(default_factory=dict)
    held_out_after: Mapping[str, float] = field(default_factory=dict)
    held_out_rows: Mapping[str, int] = field(default_factory=dict)
    held_out_dropped: Mapping[str, int] = field(default_factory=dict)
    best_step: int | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """What was checked about the model that answered an eval cell (DESIGN.md section 5.1).

    Attributes:
        probe_max_abs_diff: largest difference of log-probabilities (nats) between what answered and
            the untuned base on the probe prompts; None for the untuned base.
        eval_mode: no module was in training mode.
        linear_class: class name of the first linear layer of the body.
        linear_bits: bits of that layer's stored weights.
        bos_count: BOS tokens at the start of a probe prompt; `bos_expected` as the family wants.
        server: host, port and the version that a server gives itself; None for other engines.
        server_model: the base's name on that server.

    What a server does not tell is None: eval_mode, linear_class, linear_bits.
    """

    probe_max_abs_diff: float | None
    eval_mode: bool | None
    linear_class: str | None
    linear_bits: int | None
    bos_count: int
    bos_expected: int
    server: str | None = None
    server_model: str | None = None


@dataclass(frozen=True, slots=True)
class Noise:
    """How much answers depend on what else is in the batch: items asked alone and together.

    Attributes:
        items: how many were asked both ways.
        max_abs_diff: largest difference of the log-probability of a choice, or of a completion, in
            nats per answer token; None where nothing was written.
        changed: items whose choice, or whose completion, differs.
    """

    items: int
    max_abs_diff: float | None
    changed: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What one cell cost.

    Attributes:
        seconds: wall time of the work itself, loading not counted.
        load_seconds: wall time of loading the base, where this cell was the first to need it.
        peak_bytes: highest resident memory above that at the cell's start; None if unknown.
        energy_joules: None where the machine cannot tell; then `energy_note` says why.
    """

    seconds: float
    load_seconds: float = 0.0
    peak_bytes: int | None = None
    energy_joules: float | None = None
    energy_note: str = ""


@dataclass(frozen=True, slots=True)
class Shortened:
    """What of one item's request was left out, because all of it exceeds the context.

    Attributes:
        exemplars: how many are gone, from the far end of the prompt.
        tokens: cut from the item's own text.
    """

    exemplars: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell failed: the message, the traceback or log tail, the exit status of its process."""

    message: str
    detail: str = ""
    exit_status: int | None = None


@dataclass(frozen=True, slots=True)
class UserPrompt:
    """A prompt that a study brings with it, for one task in one language.

    Attributes:
        name: what `EvalCell.prompt` says.
        language: of the items; "all" for every one that has no prompt of this name to itself.
        words_in: key of the language that its words are in.
        text: with names of fields in braces, and {choice1}, {choice2}, ... for the choices.
        answers: what continues the prompt in place of each choice; empty for the choice itself.
        values: by field, the words to show in place of its values.
        where: file and key that it stands at, for messages.
    """

    name: str
    task: str
    language: str
    words_in: str
    text: str
    answers: tuple[str, ...]
    values: Mapping[str, Mapping[str, str]]
    where: str


@dataclass(frozen=True, slots=True)
class Prompted:
    """An example as a prompt shape renders it.

    Attributes:
        text: the prompt, without any answer.
        answers: for choice tasks the continuation of each choice; for generation the gold
            continuation used when the example serves as an exemplar (one element).
        cut: start and end in `text`, in characters, of the part that may be cut from its end
            where prompt and answer together exceed the context; None where nothing may.
    """

    text: str
    answers: tuple[str, ...]
    cut: tuple[int, int] | None = None
