"""How answers are asked for and scored: by the choice that is preferred, or by the text written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from maple.metrics import qa, summary
from maple.metrics.choice import pick
from maple.metrics.words import words
from maple.records import ChoiceResponse, Example, GenerateResponse

Response = ChoiceResponse | GenerateResponse


class Scoring(Protocol):
    """One way to ask and score; the first of its metrics is the primary one."""

    kind: str
    metrics: tuple[str, ...]
    stop: tuple[str, ...]
    max_new_tokens: int | None

    def score(
        self,
        metric: str,
        example: Example,
        response: Response,
        language: str,
        answers: Callable[[], Sequence[str]],
    ) -> float:
        """0 to 1.

        Args:
            metric: one of `metrics`.
            example: the item.
            response: to its request.
            language: key of the language that the answer is in.
            answers: gives the answers as they were asked, with the space before them.

        Raises:
            TypeError: the response is to a request of the other kind.
        """
        ...

    def rules(self, metric: str, language: str) -> tuple[int, str]:
        """Version of a metric and the name of the rules that it applies to a language."""
        ...

    def self_test(self, examples: Sequence[Example], language: str) -> list[str]:
        """What the metrics get wrong in a language; none where all is well."""
        ...


class Choosing:
    """The choice with the highest log-probability, as it is or by the length of the answer.

    Lengths are in tokens as the engine counted them, or in characters or UTF-8 bytes of the answer
    without the space before it.
    """

    kind = "choice"
    metrics: tuple[str, ...] = (
        "accuracy[sum]",
        "accuracy[per_token]",
        "accuracy[per_char]",
        "accuracy[per_byte]",
    )
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None

    def score(
        self,
        metric: str,
        example: Example,
        response: Response,
        language: str,
        answers: Callable[[], Sequence[str]],
    ) -> float:
        """1.0 if the choice that is preferred is right, else 0.0. See `Scoring.score`."""
        del language
        if not isinstance(response, ChoiceResponse):
            raise TypeError("choices are scored from choice responses")
        lengths: Sequence[int] | None = None
        if metric == "accuracy[per_token]":
            lengths = response.n_tokens
        elif metric == "accuracy[per_char]":
            lengths = [len(answer.strip()) for answer in answers()]
        elif metric == "accuracy[per_byte]":
            lengths = [len(answer.strip().encode()) for answer in answers()]
        return float(pick(response.logprobs, lengths) == example.target)

    def rules(self, metric: str, language: str) -> tuple[int, str]:
        """See `Scoring.rules`."""
        del metric, language
        return 1, "argmax, ties to the first"

    def self_test(self, examples: Sequence[Example], language: str) -> list[str]:
        """A comparison of numbers: nothing in it depends on a language."""
        del examples, language
        return []


@dataclass(frozen=True, slots=True)
class _Texts:
    """Metrics of written answers: functions of a prediction, its golds and their language."""

    functions: Mapping[str, summary.Metric]
    rules: Callable[[str, str], str]
    self_test: Callable[[Sequence[Example], str], list[str]]


class Writing:
    """The first line that is written, against every accepted text.

    Args:
        texts: `ANSWERS` or `SUMMARIES`.
        max_new_tokens: longest answer.
    """

    kind = "generate"

    def __init__(self, texts: _Texts, max_new_tokens: int) -> None:
        self._texts = texts
        self.metrics: tuple[str, ...] = tuple(texts.functions)
        self.stop: tuple[str, ...] = ("\n",)
        self.max_new_tokens: int | None = max_new_tokens

    def score(
        self,
        metric: str,
        example: Example,
        response: Response,
        language: str,
        answers: Callable[[], Sequence[str]],
    ) -> float:
        """See `Scoring.score`."""
        del answers
        if not isinstance(response, GenerateResponse):
            raise TypeError("texts are scored from generate responses")
        prediction = qa.first_line(response.text)
        return self._texts.functions[metric](prediction, example.golds, language)

    def rules(self, metric: str, language: str) -> tuple[int, str]:
        """See `Scoring.rules`."""
        return 1, self._texts.rules(metric, language)

    def self_test(self, examples: Sequence[Example], language: str) -> list[str]:
        """See `Scoring.self_test`."""
        return self._texts.self_test(examples, language)


ANSWERS = _Texts(
    {"f1": qa.f1, "exact_match": qa.exact_match, "char_f1": qa.char_f1},
    lambda _, language: qa.rules(language),
    lambda _, language: qa.self_test(language),
)
"""Short answers, by the rules of the official MLQA evaluation."""

_TESTED = 3


def _texts(examples: Sequence[Example]) -> list[str]:
    """The first golds that have a pair of words, which ROUGE-2 counts."""
    golds = (example.golds[0] for example in examples)
    return list(islice((gold for gold in golds if len(words(gold)) > 1), _TESTED))


SUMMARIES = _Texts(
    {name: summary.METRICS[name] for name in ("rougeL", "rouge1", "rouge2", "chrf")},
    summary.rules,
    lambda examples, language: summary.self_test(_texts(examples), language),
)
"""Texts of a sentence or more: ROUGE and chrF. Their self-test takes the first few golds."""
