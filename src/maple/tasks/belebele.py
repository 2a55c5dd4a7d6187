"""Belebele: a question about a passage, with four answers to choose from.

Bandarkar et al. 2024. 900 questions on 488 passages of FLORES-200, in 122 language variants that
are translations of each other. Its only split is scored, so it has no exemplars.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import find, read_jsonl
from maple.data.rows import Row, build
from maple.languages import language as language_of
from maple.languages import of_release
from maple.prompts.literals import Wording
from maple.prompts.shapes import choosing, choosing_letters
from maple.records import Example, Prompted
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, Shape, letters, passage
from maple.tasks.scoring import Choosing

_CHOICES = ("mc_answer1", "mc_answer2", "mc_answer3", "mc_answer4")
_SHOWN = ("flores_passage", "question")


def _read(dataset: str, subset: str, folder: Path | None) -> list[Example]:
    if dataset == "mini":
        rows, code = read_jsonl(MINI / "belebele" / f"{subset}.jsonl"), subset
    else:
        code = language_of(subset).codes["belebele"]
        rows = _released(code, folder)
    return build(rows, lambda row: _example(row, code), lambda item: item.example_id)


def _released(code: str, folder: Path | None) -> list[Row]:
    if folder is not None:
        return read_jsonl(find(folder, f"belebele/{code}.jsonl", f"belebele/data/{code}.jsonl"))
    return HubDataset("facebook/belebele").rows(
        f"data/{code}.jsonl", f"{code}/test-*.parquet", f"{code}/test/*.parquet"
    )


def _example(row: Row, code: str) -> Example:
    fields = {name: row.filled(name) for name in (*_SHOWN, *_CHOICES)}
    if row.text("dialect") != code:
        raise row.error(f"'dialect' is {row.text('dialect')!r}, expected {code!r}")
    # The page that a passage is from names it in every language.
    link = row.text("link")
    return Example(
        example_id=f"{link}#{row.integer('question_number')}",
        cluster_id=link,
        fields=fields,
        choices=tuple(fields[name].strip() for name in _CHOICES),
        target=_right(row),
    )


def _right(row: Row) -> int:
    """Number of the right answer, from 0; the release counts from 1, in text."""
    given = row.values.get("correct_answer_num")
    for number in range(len(_CHOICES)):
        if given in (number + 1, str(number + 1)) and not isinstance(given, bool):
            return number
    raise row.error(f"'correct_answer_num' is {given!r}, expected 1 to {len(_CHOICES)}")


def _remark(examples: Sequence[Example]) -> list[str]:
    count = sum(len(set(example.choices)) < len(example.choices) for example in examples)
    return [f"items that list one answer twice: {count}"] if count else []


def _cloze(words: Wording, item: Example) -> Prompted:
    return choosing(words, item.fields["flores_passage"], item.fields["question"], item.choices)


def _letters(words: Wording, item: Example) -> Prompted:
    passage, question = item.fields["flores_passage"], item.fields["question"]
    return choosing_letters(words, passage, question, item.choices)


def _sample(*choices: str) -> tuple[Example, ...]:
    fields = {"flores_passage": "{passage}", "question": "{question}"}
    return (Example("", "", fields, choices),)


_SHAPES: Mapping[str, Shape] = {
    "": Shape(_cloze, _SHOWN, _sample("{choice}")),
    "letters": Shape(
        _letters,
        (*_SHOWN, *_CHOICES),
        _sample("{choice1}", "{choice2}", "{choice3}", "{choice4}"),
        letters,
    ),
}

BELEBELE = NativeTask(
    name="belebele",
    card=Card(
        title="Belebele",
        hub=("facebook/belebele",),
        licence=("CC BY-SA 4.0",),
        citation=(
            (
                "Bandarkar, Liang, Muller, Artetxe, Shukla, Husa, Goyal, Krishnan, Zettlemoyer and "
                "Khabsa 2024. The Belebele Benchmark: a Parallel Reading Comprehension Dataset in "
                "122 Language Variants. ACL. doi:10.18653/v1/2024.acl-long.44"
            ),
        ),
        scored="test",
        pool="none",
        chance=0.25,
    ),
    scoring=Choosing(),
    shapes=_SHAPES,
    sets={
        "release": tuple(row.key for row in of_release("belebele")),
        "mini": mini_languages("belebele", ".jsonl"),
    },
    read_scored=_read,
    read_pool=None,
    alike=passage("flores_passage"),
    remark=_remark,
)
"""Subsets are language keys; questions of a passage share a cluster."""
