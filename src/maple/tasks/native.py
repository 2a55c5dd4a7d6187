"""What the benchmarks of this package have in common.

A benchmark states facts (its card, its subsets, its prompt shapes) and two functions that read its
items; a `NativeTask` makes a `protocols.Task` of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from maple.errors import DataError, NoExemplarsError, nearest
from maple.languages import ENGLISH
from maple.prompts import user
from maple.prompts.lint import lint
from maple.prompts.literals import PROMPTS, Wording, wording
from maple.records import ChoiceResponse, Example, GenerateResponse, Prompted, UserPrompt
from maple.study.setups import translation
from maple.tasks.card import Card
from maple.tasks.scoring import Scoring

Reader = Callable[[str, str, Path | None], list[Example]]
"""Items of a dataset ("release", "mini"), a subset of it, and a folder of release files (or None
to read from the hub)."""

Lending = Callable[[str, str, Path | None], str]
"""A subset, of the same that a `Reader` gets."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to put an item into words.

    Attributes:
        render: the item in a wording.
        shown: names of the fields whose whole text the prompt has.
        samples: items of placeholders; what they render to is what an eval cell's identity hashes.
        labels: the answers, where they are words of the prompt (a letter, "true") and not texts of
            the item.
    """

    render: Callable[[Wording, Example], Prompted]
    shown: tuple[str, ...]
    samples: tuple[Example, ...]
    labels: Callable[[Wording], tuple[str, ...]] | None = None


@dataclass(eq=False, slots=True)
class NativeTask:
    """A benchmark by what is its own. See `protocols.Task` for what it can do.

    Attributes:
        card: facts about it.
        scoring: how it is asked and scored.
        shapes: by the suffix of the prompt's name: "" is asked as "native" or "english",
            "letters" as "native-letters" or "english-letters". The default first.
        sets: subsets by dataset.
        read_scored: the scored items, in the release's order.
        read_pool: items that may serve as exemplars; None if the benchmark has none to spare.
        poolless: datasets without exemplars; all of them if there is no `read_pool`.
        lender: the subset whose exemplars serve where one has none of its own.
        alike: what an exemplar may not share with a scored item: its passage, or all its texts.
        remark: what a report must say about the items.
        pool_remark: the same about those that may serve as exemplars.
        cuttable: name of the field whose end may be cut to fit a context, see `Prompted.cut`.
        untranslated, mended_by: see `protocols.Parallel`.
        user: prompts of a study, by name and language of the items (or "all").
    """

    name: str
    card: Card
    scoring: Scoring
    shapes: Mapping[str, Shape]
    sets: Mapping[str, tuple[str, ...]]
    read_scored: Reader
    read_pool: Reader | None
    alike: Callable[[Example], Hashable]
    remark: Callable[[Sequence[Example]], list[str]] = lambda _: []
    pool_remark: Callable[[Sequence[Example]], list[str]] = lambda _: []
    poolless: tuple[str, ...] = ()
    lender: Lending = lambda _dataset, subset, _folder: subset
    cuttable: str | None = None
    untranslated: tuple[str, ...] = ()
    mended_by: str = "compare the files with their release"
    user: Mapping[str, Mapping[str, UserPrompt]] = field(default_factory=dict)
    kind: str = field(init=False)
    primary_metric: str = field(init=False)
    metrics: tuple[str, ...] = field(init=False)
    prompts: tuple[str, ...] = field(init=False)
    datasets: tuple[str, ...] = field(init=False)
    stop: tuple[str, ...] = field(init=False)
    max_new_tokens: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.kind = self.scoring.kind
        self.metrics = self.scoring.metrics
        self.primary_metric = self.metrics[0]
        shipped = (
            f"{words}-{suffix}" if suffix else words for suffix in self.shapes for words in PROMPTS
        )
        self.prompts = (*shipped, *self.user)
        self.datasets = tuple(self.sets)
        if self.read_pool is None:
            self.poolless = self.datasets
        self.stop = self.scoring.stop
        self.max_new_tokens = self.scoring.max_new_tokens

    def subsets(self, dataset: str) -> tuple[str, ...]:
        """Names of the evaluation sets of a dataset, sorted.

        Raises:
            DataError: no such dataset.
        """
        if dataset not in self.sets:
            raise DataError(f"{self.name} has no dataset {dataset!r}", nearest(dataset, self.sets))
        return self.sets[dataset]

    def language(self, subset: str) -> str:
        """Key of the language that a subset is asked in: its own, or that of its questions."""
        return asked_in(subset)

    def answer_language(self, subset: str) -> str:
        """Key of the language that a subset is answered in: its own, or that of its passages."""
        return answered_in(subset)

    def examples(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """The scored items, in the release's order.

        Raises:
            DataError: no such dataset or subset; missing, broken or repeated rows.
        """
        self._check(dataset, subset)
        return self.read_scored(dataset, subset, folder)

    def lent_by(self, dataset: str, subset: str, folder: Path | None) -> str:
        """The subset whose exemplars serve a subset: itself, unless it has none."""
        self._check(dataset, subset)
        return self.lender(dataset, subset, folder)

    def exemplar_pool(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """Items that may serve as exemplars.

        Those that share a passage (or all texts, where there is none) with a scored item are left
        out.

        Raises:
            DataError: as `examples`.
            NoExemplarsError: the benchmark has no items to spare.
        """
        self._check(dataset, subset)
        if self.read_pool is None or dataset in self.poolless:
            raise NoExemplarsError(
                f"{self.name} ({dataset}) has no exemplars: all its items are scored",
                "set n_shot = 0",
            )
        scored = {self.alike(example) for example in self.examples(dataset, subset, folder)}
        pool = self.read_pool(dataset, subset, folder)
        return [example for example in pool if self.alike(example) not in scored]

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The example under a prompt, without exemplars.

        Raises:
            DataError: no such prompt, or the language lacks a word.
        """
        if prompt in self.user:
            own, language = self._own(subset, prompt), self.language(subset)
            return user.render(own, example, language, self.cuttable)
        return self._shape(prompt).render(self._wording(subset, prompt), example)

    def worded_in(self, subset: str, prompt: str) -> str:
        """Key of the language of a shipped prompt's words."""
        return self._wording(subset, prompt).language

    def prompt_text(self, subset: str, prompt: str) -> str:
        """The prompt and the answers with placeholders, once for each way that items are asked."""
        if prompt in self.user:
            return user.identity(self._own(subset, prompt), self.language(subset))
        rendered = [self.render(item, subset, prompt) for item in self._shape(prompt).samples]
        return "\f".join(one.text + "".join(one.answers) for one in rendered)

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        metric: str,
        subset: str,
        prompt: str,
    ) -> float:
        """One example's score under a metric, 0 to 1; see `tasks.scoring`.

        Raises:
            DataError: no such metric.
            TypeError: the response is to a request of the other kind.
        """
        self._check_metric(metric)

        def answers() -> Sequence[str]:
            return self.render(example, subset, prompt).answers

        return self.scoring.score(metric, example, response, self.answer_language(subset), answers)

    def metric_identity(self, metric: str, subset: str) -> tuple[int, str]:
        """Version and rules of a metric, as a score cell names them.

        Raises:
            DataError: no such metric.
        """
        self._check_metric(metric)
        return self.scoring.rules(metric, self.answer_language(subset))

    def self_test(self, examples: Sequence[Example], subset: str) -> list[str]:
        """What the metrics get wrong in the language of a subset; none where all is well."""
        return self.scoring.self_test(examples, self.answer_language(subset))

    def lint(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """Problems of the prompts of these items; see `prompts.lint`."""
        if prompt in self.user:
            return user.lint(self._own(subset, prompt), examples, self.language(subset))
        shape, words = self._shape(prompt), self._wording(subset, prompt)
        prompted = [self.render(example, subset, prompt) for example in examples]
        if shape.labels is not None:
            names = shape.labels(words)
            examples = [replace(item, choices=names[: len(item.choices)]) for item in examples]
        labels = shape.labels is not None
        return lint(examples, prompted, shape.shown, words, labels=labels)

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """What a report must say about the data of a subset."""
        return self.remark(examples)

    def left_out(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """What of the items a user's prompt never shows; nothing under a shipped one."""
        if prompt not in self.user:
            return []
        fields = [name for shape in self.shapes.values() for name in shape.samples[0].fields]
        own, language = self._own(subset, prompt), self.language(subset)
        return user.left_out(own, examples, list(dict.fromkeys(fields)), language)

    def _shape(self, prompt: str) -> Shape:
        if prompt not in self.prompts:
            raise DataError(f"{self.name} has no prompt {prompt!r}", nearest(prompt, self.prompts))
        return self.shapes[prompt.partition("-")[2]]

    def _own(self, subset: str, prompt: str) -> UserPrompt:
        language, texts = self.language(subset), self.user[prompt]
        found = texts.get(language) or texts.get("all")
        if found is None:
            raise DataError(
                f"prompt {prompt!r} of {self.name} has no text for {language}",
                "add it to the study's prompts, or leave the language out",
            )
        return found

    def _wording(self, subset: str, prompt: str) -> Wording:
        return wording(prompt.partition("-")[0], self.language(subset))

    def _check(self, dataset: str, subset: str) -> None:
        if subset not in self.subsets(dataset):
            raise DataError(
                f"{self.name}, {dataset}: no subset {subset!r}",
                nearest(subset, self.subsets(dataset)),
            )

    def _check_metric(self, metric: str) -> None:
        if metric not in self.metrics:
            raise DataError(f"{self.name} has no metric {metric!r}", nearest(metric, self.metrics))


def asked_in(subset: str) -> str:
    """Language of the questions of a subset: of "deu_Latn.eng_Latn" the second."""
    if translation(subset) is not None:
        return ENGLISH
    return subset.rpartition(".")[2]


def answered_in(subset: str) -> str:
    """Language of the passages and answers of a subset: of "deu_Latn.eng_Latn" the first."""
    if translation(subset) is not None:
        return ENGLISH
    return subset.partition(".")[0]


def letters(wording: Wording) -> tuple[str, ...]:
    """`Shape.labels` of the letters form."""
    return tuple(wording.word("letters").split())


def texts_of(example: Example) -> Hashable:
    """All texts of an item, for `NativeTask.alike`."""
    return tuple(" ".join(text.split()) for text in example.fields.values())


def passage(name: str) -> Callable[[Example], Hashable]:
    """The text of one field with white space evened out, for `NativeTask.alike`."""
    return lambda example: " ".join(example.fields[name].split())


def repeats(examples: Sequence[Example]) -> list[str]:
    """`NativeTask.remark`: how many items repeat all texts of another one."""
    count = len(examples) - len(set(map(texts_of, examples)))
    return [f"items that repeat the texts of another one: {count}"] if count else []
