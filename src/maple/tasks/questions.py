"""Questions on passages as items: what XQuAD and MLQA have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from maple.data.squad import Question
from maple.prompts.literals import Wording
from maple.prompts.shapes import question_first, reading
from maple.records import Example, Prompted
from maple.tasks.native import Shape, texts_of

_SHOWN = ("context", "question")
_SAMPLES = (
    Example("", "", {"context": "{context}", "question": "{question}"}, golds=("{answer}",)),
)


def _passage_first(words: Wording, item: Example) -> Prompted:
    return reading(words, item.fields["context"], item.fields["question"], item.golds[0])


def _question_first(words: Wording, item: Example) -> Prompted:
    return question_first(words, item.fields["context"], item.fields["question"], item.golds[0])


READING: Mapping[str, Shape] = {
    "": Shape(_passage_first, _SHOWN, _SAMPLES),
    "question-first": Shape(_question_first, _SHOWN, _SAMPLES),
}
"""The shapes of a question on a passage, by suffix of the prompt's name."""


def examples_of(questions: Sequence[Question], cluster: str) -> list[Example]:
    """One example a question; those of a passage share a cluster.

    Args:
        questions: of one file.
        cluster: what the names of its clusters begin with.
    """
    return [
        Example(
            example_id=question.item_id,
            cluster_id=f"{cluster}-p{question.passage:03d}",
            fields={"context": question.context, "question": question.question},
            golds=question.answers,
        )
        for question in questions
    ]


def repeated(examples: Sequence[Example]) -> list[str]:
    """`NativeTask.remark`: how many items repeat another one's question on the same passage."""
    count = sum(times - 1 for times in Counter(map(texts_of, examples)).values())
    return [f"{count} items repeat a question on the same passage"] if count else []
