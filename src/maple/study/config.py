"""What a study file may say. Frozen, strict, unknown keys forbidden.

Defaults that the paper does not state are marked `# not from the paper`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from maple.errors import MapleError
from maple.records import Mixture
from maple.study.methods import OptionValue, method
from maple.study.setups import SOURCE, Setup

_ALPHA_RULE = re.compile(r"([0-9]+(?:\.[0-9]+)?)?r")

_LARGEST_ALPHA = 1e6
"""Far above any use; guards against a slip that would train nothing but infinities."""

FOREIGN = "lm_eval:"
"""Prefix of the names of lm-evaluation-harness's tasks."""

Positive = Annotated[int, Field(ge=1)]
Rank = Annotated[int, Field(ge=1, le=1024)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Share = Annotated[float, Field(gt=0, le=1)]
Rate = Annotated[float, Field(gt=0, le=10)]


def _distinct(values: list[object]) -> list[object]:
    repeated = sorted({str(value) for value in values if values.count(value) > 1})
    if repeated:
        raise ValueError(f"lists {', '.join(repeated)} more than once")
    return values


def _alpha(value: str | float) -> str | float:
    if isinstance(value, str) and not _ALPHA_RULE.fullmatch(value):
        raise ValueError('expected a rule such as "2r" or "r", or a number')
    factor = float(value.removesuffix("r") or 1) if isinstance(value, str) else value
    if not 0 < factor <= _LARGEST_ALPHA:
        raise ValueError(f"expected a factor or a number above 0, at most {_LARGEST_ALPHA:g}")
    return value


def _classes(name: str) -> tuple[int, ...]:
    """Resource classes by their name, "3" or "0-2"."""
    return tuple(range(int(name[0]), int(name[-1]) + 1))


def _method(value: str) -> str:
    try:
        return method(value).name
    except MapleError as error:
        raise ValueError(f"{error.what} ({error.hint})" if error.hint else error.what) from error


def host(url: str) -> str:
    """ "host:port" of an address, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _url(value: str) -> str:
    # What is wrong with it is not quoted: it may hold a password.
    try:
        parts = urlsplit(value)
        named, _ = parts.hostname, parts.port
    except ValueError:
        named = None
    if not named or parts.scheme not in ("http", "https"):
        raise ValueError('expected an address such as "http://127.0.0.1:8000/v1"')
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            "expected an address without user, password or query; a key goes into the environment "
            "variable MAPLE_SERVER_KEY"
        )
    return value.rstrip("/")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Bits = Annotated[list[Literal[4, 8, 16, 32]], Field(min_length=1), AfterValidator(_distinct)]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]
Rates = Annotated[list[Rate], Field(min_length=1), AfterValidator(_distinct)]


class BaseSection(_Section):
    """[base]: the models to start from."""

    models: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]


class TemplateSection(_Section):
    """[[train.template]] or [[evaluate.template]]: a user's own training template."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)]
    text: Annotated[str, Field(min_length=1)]  # {instruction}, {input}, {output} at its end
    with_input: Annotated[str, Field(min_length=1)] | None = None  # for rows that have an input
    turn: Annotated[str, Field(min_length=1)] | None = None  # of earlier turns of a conversation


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]

_PLACE = "{language}"


class SourceSection(_Section):
    """[[train.source]]: a training source of the user's own, by name in `sources`.

    Files or a hub dataset (JSON arrays, JSON Lines, Parquet), and which of its fields are ours.
    """

    name: Name
    path: Annotated[str, Field(min_length=1)]  # from the study file; of `hub`, a pattern of names
    hub: Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$")] | None = None
    revision: str = "main"  # of the hub dataset
    languages: dict[str, str] | Annotated[list[str], Field(min_length=1)]  # with the set's codes
    column: str | None = None  # field that holds the code
    fields: dict[
        Literal["instruction", "input", "output", "id", "messages", "role", "content"], str
    ]
    roles: dict[str, Literal["system", "user", "assistant"]] = {}

    @model_validator(mode="after")
    def _says_which_language(self) -> SourceSection:
        placed = _PLACE in self.path
        if placed and self.column is not None:
            raise ValueError(f"has both {_PLACE} in path and a column; expected one of them")
        if not placed and self.column is None and len(self.languages) != 1:
            raise ValueError(
                f"has {len(self.languages)} languages; expected {_PLACE} in path, a column that "
                "says which, or one language"
            )
        return self

    @model_validator(mode="after")
    def _maps_rows_or_messages(self) -> SourceSection:
        chat = {"messages", "role", "content"} & self.fields.keys()
        rows = {"instruction", "input", "output"} & self.fields.keys()
        if chat and (rows or "messages" not in chat):
            raise ValueError(
                "fields of a chat set are messages (a list), role and content in it, and id; "
                f"got {', '.join(self.fields)}"
            )
        if not chat and not {"instruction", "output"} <= rows:
            raise ValueError("fields: expected instruction and output, or messages")
        if self.roles and not chat:
            raise ValueError("roles belong to a chat set, which has fields.messages")
        return self


class MixtureSection(_Section):
    """[[train.mixture]]: how many rows of which language; `rows` of [train] in all."""

    name: Name
    weights: Literal["uniform", "proportional", "temperature"] = "uniform"
    temperature: Annotated[float, Field(gt=0, le=100)] | None = None
    """A language's share is its rows to the power of 1 / temperature."""
    english: Annotated[float, Field(ge=0, lt=1)] | None = None  # share of all rows
    english_from: str | None = None  # source of English rows for sources without
    classes: dict[Annotated[str, Field(pattern=r"^[0-5](-[0-5])?$")], Share] = {}
    """Share by resource class, "3" or "0-2", of the rows that `english` leaves."""
    same_ids: bool | None = None  # the same ids in every language; by default as the source says
    sampling_seed: Seed | None = None  # by default that of [train]

    @model_validator(mode="after")
    def _fits_together(self) -> MixtureSection:
        if (self.weights == "temperature") != (self.temperature is not None):
            raise ValueError('temperature belongs to weights = "temperature", which needs it')
        if self.english_from is not None and not self.english:
            raise ValueError("english_from belongs to a share of English, english")
        groups = [_classes(name) for name in self.classes]
        listed = [one for group in groups for one in group]
        if len(set(listed)) < len(listed) or not all(groups):
            raise ValueError('classes: expected each class once, as "3" or from low to high, "0-2"')
        if self.classes and round(sum(self.classes.values()), 9) != 1:
            raise ValueError(f"classes add up to {sum(self.classes.values()):g}, expected 1")
        return self


class ValidationSection(_Section):
    """[train.validation]: rows that are held out and never trained on."""

    rows: Positive  # a language
    english_from: str | None = None  # English for forgetting; by default the source's, else mini's
    every: Positive | None = None  # optimiser steps between two times; default a tenth of the run
    patience: Positive | None = None  # times without a lower mean loss that end training early


class TrainSection(_Section):
    """[train]: instruction data, method, precision and optimisation of every adapter."""

    sources: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
    languages: Literal["all"] | Annotated[list[str], Field(min_length=1)] = "all"
    rows: Positive | None = None
    templates: Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)] = ["plain"]
    template: list[TemplateSection] = []
    methods: Annotated[
        list[Annotated[str, AfterValidator(_method)]],
        Field(min_length=1),
        AfterValidator(_distinct),
    ] = ["lora"]
    options: dict[str, dict[str, OptionValue]] = {}  # by method, under PEFT's names
    r: Annotated[list[Rank], Field(min_length=1), AfterValidator(_distinct)] | None = None
    lora_alpha: Annotated[str | float, AfterValidator(_alpha)] | None = None
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05  # not from the paper
    target_modules: (
        Literal["all-linear"] | Annotated[list[str], Field(min_length=1), AfterValidator(_distinct)]
    ) = "all-linear"
    train_bits: Bits | dict[str, Bits]  # the same for all, or by method
    epochs: Annotated[float, Field(gt=0, le=1000)] = 1.0  # not from the paper
    batch_size: Annotated[int, Field(ge=1, le=2**20)] = (
        16  # not from the paper; examples per optimiser step
    )
    learning_rate: Rate | Rates | dict[str, Rate | Rates] = {}  # by method, else each one's own
    scheduler: Literal["linear", "cosine", "constant"] = "linear"  # not from the paper
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.03  # not from the paper
    weight_decay: Annotated[float, Field(ge=0)] = 0.0  # not from the paper
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0  # not from the paper
    max_tokens: Annotated[int, Field(ge=8)] = 768  # not from the paper; prompt and answer together
    sampling_seed: Seed = 0  # which rows are drawn; the study's seeds move order and start values
    pack_tokens: Annotated[int, Field(ge=8, le=2**20)] | None = None  # at once through the model
    gradient_checkpointing: bool = False  # less memory, about a third more time
    report_to: Annotated[list[Tracker], AfterValidator(_distinct)] = []  # told of each step
    source: list[SourceSection] = []
    mixture: list[MixtureSection] = []
    validation: ValidationSection | None = None

    @model_validator(mode="after")
    def _names_once(self) -> TrainSection:
        for kind, sections in (("source", self.source), ("mixture", self.mixture)):
            names = [section.name for section in sections]
            repeated = sorted({name for name in names if names.count(name) > 1})
            if repeated:
                raise ValueError(f"{kind}: {', '.join(repeated)} is described more than once")
        return self

    def mixtures(self) -> list[Mixture]:
        """Every mixture of the study; without any, one that is even over the languages."""
        if not self.mixture:
            return [Mixture(self.rows, self.sampling_seed)]
        return [
            Mixture(
                rows=self.rows,
                seed=self.sampling_seed if one.sampling_seed is None else one.sampling_seed,
                name=one.name,
                weights=one.weights,
                temperature=one.temperature,
                english=one.english,
                english_from=one.english_from,
                classes={_classes(name): share for name, share in one.classes.items()},
                same_ids=one.same_ids,
            )
            for one in self.mixture
        ]

    def ranks(self, name: str) -> Sequence[int | None]:
        """The ranks that a method is trained at; one None where it has no rank."""
        return self.r or [] if method(name).uses("r") else [None]

    def bits(self, name: str) -> Sequence[int]:
        """The precisions that a method is trained at."""
        return self.train_bits[name] if isinstance(self.train_bits, dict) else self.train_bits

    def all_bits(self) -> list[int]:
        """The precisions that anything is trained at."""
        stated = self.train_bits
        tables = stated.values() if isinstance(stated, dict) else [stated]
        return list(dict.fromkeys(bits for table in tables for bits in table))

    def rates(self, name: str) -> Sequence[float]:
        """The learning rates that a method is trained with."""
        stated = self.learning_rate
        if isinstance(stated, dict):
            stated = stated.get(name, method(name).learning_rate)
        return stated if isinstance(stated, list) else [stated]

    def alpha(self, r: int) -> float | None:
        """`lora_alpha` at a rank, by the stated rule; None where no method of the study has one."""
        if self.lora_alpha is None:
            return None
        if isinstance(self.lora_alpha, str):
            factor = self.lora_alpha.removesuffix("r")
            return float(factor or 1) * r
        return float(self.lora_alpha)


class TaskSection(_Section):
    """[[evaluate.task]]: one task under one prompt and number of shots.

    A task of lm-evaluation-harness ("lm_eval:NAME") has a dataset, a subset and a prompt of its
    own, and may need its `language` said.
    """

    name: str
    dataset: str = "release"
    subsets: Literal["all"] | Annotated[list[str], Field(min_length=1)] = "all"
    n_shot: Annotated[int, Field(ge=0)]
    prompt: str = "native"
    template: str | None = None  # training template that the request stands in
    metrics: Annotated[list[str], AfterValidator(_distinct)] = []  # beside the task's own
    language: str | None = None
    setup: Setup = "monolingual"
    translations: str | None = None  # translate-test: folder of items in English, as released
    translated_by: Annotated[str, Field(pattern=rf"^{SOURCE}$")] | None = None

    @model_validator(mode="after")
    def _fits_its_setup(self) -> TaskSection:
        given = self.translations is not None, self.translated_by is not None
        if self.setup == "translate-test" and not all(given):
            raise ValueError(
                "translate-test needs translations (a folder) and translated_by (a name for who "
                "translated, one to eight small letters or digits)"
            )
        if self.setup != "translate-test" and any(given):
            raise ValueError('translations and translated_by belong to setup = "translate-test"')
        if self.setup == "cross-lingual" and not self.n_shot:
            raise ValueError("cross-lingual is about exemplars; expected n_shot of 1 or more")
        return self


class PromptSection(_Section):
    """[[evaluate.prompt]], or [[prompt]] in a file of prompts: a user's own wording of a task."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=40)]
    task: str
    languages: Literal["all"] | Annotated[list[str], Field(min_length=1)]  # of the items
    words_in: str | None = None  # language of its words; by default that of the items
    text: Annotated[str, Field(min_length=1)]  # with fields of the items in braces
    answers: list[str] = []  # in place of the choices
    values: dict[str, dict[str, str]] = {}  # words in place of a field's values


class PromptFile(_Section):
    """What `evaluate.prompts_from` names."""

    prompt: Annotated[list[PromptSection], Field(min_length=1)]


class ServerSection(_Section):
    """[evaluate.server]: a vLLM server that answers in place of the built-in engine."""

    url: Annotated[str, AfterValidator(_url)]
    model: str | None = None  # the base's name there; by default the only base it lists
    compute_dtype: Literal["bfloat16", "float16", "float32"] | None = None
    """What it was started with; by default as the built-in engine would compute."""


class EvaluateSection(_Section):
    """[evaluate]: what every adapter and every untuned base is measured on."""

    eval_bits: (
        Literal["as trained"]
        | Annotated[list[Literal[4, 8, 16, 32]], Field(min_length=1), AfterValidator(_distinct)]
    ) = "as trained"
    exemplar_seed: Seed = 0
    deterministic: bool = False  # every item alone: the same bits whatever else is asked; slow
    limit: Positive | None = None
    server: ServerSection | None = None
    lm_eval_include: Annotated[list[str], AfterValidator(_distinct)] = []
    prompts_from: str | None = None  # a TOML file of prompts
    prompt: list[PromptSection] = []
    template: list[TemplateSection] = []
    task: Annotated[list[TaskSection], Field(min_length=1)]

    @model_validator(mode="after")
    def _asks_once(self) -> EvaluateSection:
        for index, task in enumerate(self.task):
            if task in self.task[:index]:
                raise ValueError(
                    f"task[{index}] ({task.name}) repeats an earlier [[evaluate.task]]"
                )
        return self


class Study(_Section):
    """A whole study file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_distinct)] = [0]
    base: BaseSection
    train: TrainSection | None = None
    evaluate: EvaluateSection | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Study:
        if self.train is None and self.evaluate is None:
            raise ValueError("has neither [train] nor [evaluate]; expected at least one of them")
        if (
            self.train is None
            and self.evaluate is not None
            and self.evaluate.eval_bits == "as trained"
        ):
            raise ValueError(
                'evaluate.eval_bits is "as trained", but there is no [train]; '
                "expected a list such as [16]"
            )
        return self

    @model_validator(mode="after")
    def _asks_a_server_for_one_model(self) -> Study:
        if self.evaluate is None or self.evaluate.server is None:
            return self
        bits: Sequence[int] | str = self.evaluate.eval_bits
        if bits == "as trained":
            bits = self.train.all_bits() if self.train else []
        if len(self.base.models) > 1 or len(bits) > 1:
            raise ValueError(
                "evaluate.server is one base model at one precision, but the study evaluates "
                f"{len(self.base.models)} base models at {', '.join(map(str, bits))} bits; "
                "expected one study a server"
            )
        return self
