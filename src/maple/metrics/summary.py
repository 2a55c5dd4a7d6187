"""ROUGE and chrF of longer answers, such as summaries, in any language.

ROUGE (Lin 2004) is rouge-score's, F-measure only: what it computes is theirs, what a word is comes
from `metrics.words`. Nothing is stemmed, since no stemmer serves every language. On English texts
in ASCII the values are those of rouge-score's default tokenizer.

chrF (Popović 2015) is sacrebleu's with its defaults: character n-grams up to 6, beta 2, white space
left out, case kept. It needs no words, and so compares least badly what ROUGE cuts differently.

Both are of one answer. A cell's value is the mean over its answers: for chrF that is the mean of
sentence scores, not sacrebleu's corpus score, which pools the n-grams of all answers and has no
value for a single one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.metrics.qa import checked
from maple.metrics.words import tokeniser, words

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer
    from sacrebleu.metrics.chrf import CHRF

Metric = Callable[[str, Sequence[str], str], float]
"""Of a prediction, its accepted texts and their language's key: 0 to 1."""

ROUGE = ("rouge1", "rouge2", "rougeL")
"""Kinds of ROUGE: what is counted is words, pairs of neighbours, the longest common subsequence."""


def rouge(prediction: str, golds: Sequence[str], language: str, kind: str) -> float:
    """ROUGE F-measure of a text, maximum over the golds.

    Args:
        prediction: what the model wrote; "" for nothing.
        golds: every accepted text, at least one.
        language: key of their language, such as "tha_Thai".
        kind: one of `ROUGE`.

    Returns:
        0 to 1. 0 where either text has no word; for "rouge2" also where either has only one.

    Raises:
        DataError: no such kind, or no such language.
        ValueError: no gold.
    """
    language_of(language)
    return best_rouge(prediction, golds, kind, _Words())


def chrf(prediction: str, golds: Sequence[str], language: str) -> float:
    """chrF2 of a text, maximum over the golds.

    Args:
        prediction: what the model wrote; "" for nothing.
        golds: every accepted text, at least one.
        language: key of their language; it must exist, and changes nothing.

    Returns:
        0 to 1 (sacrebleu's value divided by 100). 0 where either text has no visible character.

    Raises:
        DataError: no such language.
        ValueError: no gold.
    """
    language_of(language)
    if not prediction.strip():
        return 0.0
    scores = (_chrf_scorer().sentence_score(prediction, [gold]).score for gold in checked(golds))
    return float(max(scores)) / 100


METRICS: Mapping[str, Metric] = MappingProxyType(
    {**{kind: partial(rouge, kind=kind) for kind in ROUGE}, "chrf": chrf}
)
"""Every metric of this module by its name."""


def rules(metric: str, language: str) -> str:
    """Name of the rules that a metric applies to a language, as a score cell names them.

    Args:
        metric: a name from `METRICS`.
        language: key such as "tha_Thai".

    Returns:
        "F-measure, unicode characters, no stemming"; "chrF2, mean of sentence scores".

    Raises:
        DataError: no such metric, or no such language.
    """
    if metric not in METRICS:
        raise DataError(f"no metric {metric!r} of summaries", nearest(metric, METRICS))
    if metric == "chrf":
        return "chrF2, mean of sentence scores"
    return f"F-measure, {tokeniser(language)}, no stemming"


def self_test(texts: Sequence[str], language: str) -> list[str]:
    """What the metrics get wrong on real texts of a language.

    Every text must score 1 against itself, among other golds too, and 0 against a text of none of
    its characters. A tokeniser that keeps nothing of a script gives 0 and is found so.

    Args:
        texts: gold texts of two words or more.
        language: key of their language.

    Returns:
        One line a violation; empty where all is well.

    Raises:
        DataError: no such language.
    """
    violations = []
    for text, (name, metric) in product(texts, METRICS.items()):
        cases = (
            ("a text against itself", text, [text], 1.0),
            ("a text among golds", text, [_STRANGE, text], 1.0),
            ("a text against none of its characters", _STRANGE, [text], 0.0),
        )
        for case, prediction, golds, expected in cases:
            got = metric(prediction, golds, language)
            if got != expected:
                violations.append(
                    f"{language}: {name} ({rules(name, language)}) gives {got} for {case} "
                    f"({text[:40]!r}), expected {expected}"
                )
    return violations


_STRANGE = "\u2654\u2655"
"""Chess pieces: visible, no word, and in no language's texts."""


def best_rouge(
    prediction: str, golds: Sequence[str], kind: str, tokenizer: Tokenizer | None
) -> float:
    """rouge-score's F-measure, maximum over the golds, 0 to 1.

    Args:
        prediction: what the model wrote; "" for nothing.
        golds: every accepted text, at least one.
        kind: one of `ROUGE`.
        tokenizer: None for rouge-score's default.

    Raises:
        DataError: no such kind.
        ValueError: no gold.
    """
    if kind not in ROUGE:
        raise DataError(f"no ROUGE of kind {kind!r}", nearest(kind, ROUGE))
    scorer = _rouge_scorer(kind, tokenizer)
    scored = (scorer.score(gold, prediction)[kind] for gold in checked(golds))
    return max(float(score.fmeasure) for score in scored)


class Tokenizer(Protocol):
    """rouge-score's, by its shape: inheriting would load nltk to declare a method.

    Scorers are kept by their tokenizer.
    """

    def __hash__(self) -> int:
        """Equal for equal tokenizers."""
        ...

    def tokenize(self, text: str) -> list[str]:
        """The words of a text."""
        ...


@dataclass(frozen=True, slots=True)
class _Words:
    def tokenize(self, text: str) -> list[str]:
        return words(text)


@cache
def _rouge_scorer(kind: str, tokenizer: Tokenizer | None) -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # loads nltk: two seconds

    return RougeScorer([kind], tokenizer=tokenizer)


@cache
def _chrf_scorer() -> CHRF:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
