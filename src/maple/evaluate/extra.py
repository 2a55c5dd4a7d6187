"""Metrics beside a task's own: computed where a study or `maple rescore` names them.

Most are the scorers of other programs (`metrics.compat`). A name such as "squad_english" stands
for all of its members, "squad_english[exact_match]" and "squad_english[f1]"; score cells and
reports have members.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from maple.errors import DataError, nearest
from maple.metrics import compat, qa
from maple.metrics.choice import pick, pointwise
from maple.metrics.summary import ROUGE
from maple.records import ChoiceResponse, Example, GenerateResponse
from maple.study.config import FOREIGN

PMI = "accuracy[pmi]"
"""The metric that needs answers of its own, `ChoiceResponse.neutral_logprobs`."""

_Text = Callable[[str, Sequence[str], str, str], float]
"""Of a parsed answer, its golds, their language and the task's name."""


@dataclass(frozen=True, slots=True)
class Extra:
    """One metric beside a task's own.

    Attributes:
        name: as score cells have it.
        beside: the task's own metric that shows that this one is for it, too.
        protocol: what a report calls its rules.
        text: scores a completion's first line, as the tasks do; None for `PMI`.
        knows: whether it has rules for a language.
        version: of the metric.
    """

    name: str
    beside: str
    protocol: str
    text: _Text | None = None
    knows: Callable[[str], bool] = lambda _language: True
    version: int = 1

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        language: str,
        task: str,
    ) -> float:
        """One answer's score, 0 to 1.

        Args:
            example: with its golds, or its target.
            response: to its request.
            language: key of the language of the answer.
            task: name of the task.

        Raises:
            DataError: the response lacks what the metric needs.
            TypeError: the response is to another kind of request.
        """
        if self.text is None:
            return _by_pmi(example, response)
        if not isinstance(response, GenerateResponse):
            raise TypeError(f"{self.name} is scored from generate responses")
        return self.text(qa.first_line(response.text), example.golds, language, task)


def extras(names: Sequence[str], own: Sequence[str], task: str) -> tuple[Extra, ...]:
    """The metrics that names stand for, each once, in the order of the table.

    Args:
        names: of metrics or of their families.
        own: the task's own metrics.
        task: its name, for messages.

    Raises:
        DataError: a name that there is not, or that is not for this task.
    """
    known = available(own, task)
    for name in names:
        if name not in known:
            raise DataError(f"no metric {name!r} for {task}", nearest(name, known))
    return tuple(
        extra
        for extra in EXTRAS.values()
        if extra.beside in own and {extra.name, _family(extra.name)} & set(names)
    )


def names_of_all() -> frozenset[str]:
    """Names of every metric of this module, and of every family."""
    return frozenset(name for one in EXTRAS for name in (one, _family(one)))


def available(own: Sequence[str], task: str) -> tuple[str, ...]:
    """Names of metrics and of families that a task may be scored by beside its own.

    Args:
        own: the task's own metrics.
        task: its name; foreign tasks are scored by their own rules alone.
    """
    if task.startswith(FOREIGN):
        return ()
    found = [extra.name for extra in EXTRAS.values() if extra.beside in own]
    return tuple(dict.fromkeys(name for one in found for name in (_family(one), one)))


def _family(name: str) -> str:
    """ "squad_english" of "squad_english[f1]"; pmi has no family of its own."""
    return name if name == PMI else name.partition("[")[0]


def _by_pmi(example: Example, response: ChoiceResponse | GenerateResponse) -> float:
    if not isinstance(response, ChoiceResponse):
        raise TypeError(f"{PMI} is scored from choice responses")
    if response.neutral_logprobs is None:
        raise DataError(
            f"{PMI}: the answers have no log-probabilities after a neutral prompt "
            f"(first without: {example.example_id})",
            f'ask for them: metrics = ["{PMI}"] in the task\'s [[evaluate.task]], '
            "then `maple run` again; what is answered stays as it is",
        )
    gains = pointwise(response.logprobs, response.neutral_logprobs)
    return float(pick(gains, None) == example.target)


def _rouge_english(kind: str) -> _Text:
    def score(answer: str, golds: Sequence[str], _language: str, _task: str) -> float:
        return compat.rouge_english(answer, golds, kind)

    return score


_SQUAD = "SQuAD 1.1: ASCII punctuation, English articles, words by white space"
_MLQA = "official MLQA evaluation"

_TABLE = (
    Extra(
        PMI,
        "accuracy[sum]",
        "argmax of log p(choice | prompt) - log p(choice | the prompt's last line), "
        "ties to the first",
    ),
    Extra(
        "mlqa_official[f1]",
        "f1",
        _MLQA,
        lambda answer, golds, language, _task: qa.f1(answer, golds, language),
        knows=compat.has_mlqa_rules,
    ),
    Extra(
        "mlqa_official[exact_match]",
        "exact_match",
        _MLQA,
        lambda answer, golds, language, _task: qa.exact_match(answer, golds, language),
        knows=compat.has_mlqa_rules,
    ),
    Extra(
        "squad_english[f1]",
        "f1",
        _SQUAD,
        lambda answer, golds, _language, _task: compat.squad_f1(answer, golds),
    ),
    Extra(
        "squad_english[exact_match]",
        "exact_match",
        _SQUAD,
        lambda answer, golds, _language, _task: compat.squad_exact_match(answer, golds),
    ),
    Extra(
        "f1_abstractive",
        "f1",
        "MEGA: the prediction by MLQA's rules in MLQA and by English ones elsewhere, "
        "then SQuAD 1.1 on both",
        lambda answer, golds, language, task: compat.mega_f1(
            answer, golds, language, mlqa=task == "mlqa"
        ),
    ),
    *(
        Extra(
            f"rouge_english[{kind}]",
            kind,
            "rouge-score's default tokenizer (a-z and 0-9), F-measure, no stemming",
            _rouge_english(kind),
        )
        for kind in ROUGE
    ),
)

EXTRAS: Mapping[str, Extra] = MappingProxyType({extra.name: extra for extra in _TABLE})
"""Every metric of this module by name."""
