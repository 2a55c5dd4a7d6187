"""XCOPA: which of two sentences is the cause, or the effect, of a premise.

Ponti et al. 2020. Eleven languages, each a translation of English COPA's validation (100) and test
(500) items, joined here by COPA itself. Items are parallel by `idx`.

The released `question` field (cause or effect) is wrong in places: in Thai it is "effect"
throughout, in Swahili, Indonesian and Italian a few items differ from COPA; the texts there fit
COPA's. Where the English rows are at hand it is therefore taken from them, and
`fields["released_question"]` keeps what the release had.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import exists, find, read_jsonl
from maple.data.rows import Row, build, is_blank
from maple.languages import ENGLISH, of_release
from maple.languages import language as language_of
from maple.prompts.literals import Wording
from maple.prompts.shapes import causal, causal_letters
from maple.records import Example, Prompted
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, Shape, letters
from maple.tasks.scoring import Choosing

_HUB_SPLIT = {"test": "test", "val": "validation"}

_TOO_MANY_ALIKE = 50
"""Half of the items ask for a cause; so many in a row without one are an error of the release."""


def _read(split: str, dataset: str, subset: str, folder: Path | None) -> list[Example]:
    english: Mapping[int, Row] = {}
    if dataset == "mini":
        rows = read_jsonl(MINI / "xcopa" / f"{subset}.{split}.jsonl")
    elif subset == ENGLISH:
        rows = _english(split, folder)
    else:
        rows = _translated(language_of(subset).codes["xcopa"], split, folder)
        if folder is None or exists(folder, _file(split)):
            english = {row.integer("idx"): row for row in _english(split, folder)}
    return build(rows, lambda row: _example(row, split, english), lambda item: item.example_id)


def _translated(code: str, split: str, folder: Path | None) -> list[Row]:
    raw = f"data/{code}/{split}.{code}.jsonl"
    if folder is not None:
        return read_jsonl(find(folder, f"xcopa/{raw}"))
    name = f"{code}/{_HUB_SPLIT[split]}"
    return HubDataset("cambridgeltl/xcopa").rows(f"{name}-*.parquet", f"{name}/*.parquet", raw)


def _file(split: str) -> str:
    return f"copa_en/{split}-en.jsonl"


def _english(split: str, folder: Path | None) -> list[Row]:
    if folder is not None:
        return read_jsonl(find(folder, _file(split)))
    name = f"copa/{_HUB_SPLIT[split]}"
    rows = HubDataset("aps/super_glue").rows(f"{name}-*.parquet", f"{name}/*.parquet")
    if all(row.integer("label") >= 0 for row in rows):
        return rows
    # SuperGLUE hides the labels of its test split (-1). XCOPA's translations publish them.
    labels = {row.integer("idx"): row.integer("label") for row in _translated("it", split, None)}
    return [
        Row(row.where, row.number, {**row.values, "label": labels.get(row.integer("idx"))})
        for row in rows
    ]


def _example(row: Row, split: str, english: Mapping[int, Row]) -> Example:
    index, label = row.integer("idx"), row.integer("label")
    fields = {name: row.text(name) for name in ("premise", "choice1", "choice2", "question")}
    choices = (fields["choice1"].strip(), fields["choice2"].strip())
    if label not in (0, 1):
        raise row.error(f"'label' is {label}, expected 0 or 1")
    if fields["question"] not in ("cause", "effect"):
        raise row.error(f"'question' is {fields['question']!r}, expected 'cause' or 'effect'")
    if any(map(is_blank, (fields["premise"], *choices))) or choices[0] == choices[1]:
        raise row.error("the premise or a choice is empty, or the choices are alike")
    if english:
        fields |= _repair(row, english)
    identity = f"xcopa-{split}-{index}"
    return Example(identity, identity, fields, choices, label)


def _repair(row: Row, english: Mapping[int, Row]) -> dict[str, str]:
    """The fields that COPA's row of the same idx changes."""
    index = row.integer("idx")
    if index not in english:
        raise row.error(f"English COPA has no item of idx {index}")
    other = english[index]
    if other.integer("label") != row.integer("label"):
        raise row.error(
            f"'label' is {row.integer('label')}, English COPA has {other.integer('label')} "
            f"({other.where})"
        )
    if other.text("question") == row.text("question"):
        return {}
    return {"question": other.text("question"), "released_question": row.text("question")}


def _texts(example: Example) -> Hashable:
    return (example.fields["premise"].strip(), example.fields["question"], *example.choices)


def _remark(examples: Sequence[Example]) -> list[str]:
    count = sum("released_question" in example.fields for example in examples)
    if count:
        return [f"question (cause or effect) taken from English COPA in {count} items that differ"]
    asked = {example.fields["question"] for example in examples}
    if len(asked) == 1 and len(examples) >= _TOO_MANY_ALIKE:
        value = asked.pop()
        return [f"question is {value!r} in every item, a mistake that only COPA can repair"]
    return []


def _cloze(words: Wording, item: Example) -> Prompted:
    return causal(words, item.fields["premise"], item.fields["question"], item.choices)


def _letters(words: Wording, item: Example) -> Prompted:
    return causal_letters(words, item.fields["premise"], item.fields["question"], item.choices)


def _samples(*choices: str) -> tuple[Example, ...]:
    return tuple(
        Example("", "", {"premise": "{premise}", "question": asked}, choices)
        for asked in ("cause", "effect")
    )


XCOPA = NativeTask(
    name="xcopa",
    card=Card(
        title="XCOPA",
        hub=("cambridgeltl/xcopa", "aps/super_glue"),
        licence=("CC BY 4.0", "BSD-2-Clause (COPA)"),
        citation=(
            (
                "Ponti, Glavaš, Majewska, Liu, Vulić and Korhonen 2020. XCOPA: A Multilingual "
                "Dataset for Causal Commonsense Reasoning. EMNLP. "
                "doi:10.18653/v1/2020.emnlp-main.185"
            ),
            (
                "Roemmele, Bejan and Gordon 2011. Choice of Plausible Alternatives: An Evaluation "
                "of Commonsense Causal Reasoning. AAAI Spring Symposium."
            ),
        ),
        scored="test",
        pool="val",
        chance=0.5,
    ),
    scoring=Choosing(),
    shapes={
        "": Shape(_cloze, ("premise",), _samples("{choice}")),
        "letters": Shape(
            _letters,
            ("premise", "choice1", "choice2"),
            _samples("{choice1}", "{choice2}"),
            letters,
        ),
    },
    sets={
        "release": tuple(sorted([ENGLISH, *(row.key for row in of_release("xcopa"))])),
        "mini": mini_languages("xcopa", ".test.jsonl"),
    },
    read_scored=lambda *where: _read("test", *where),
    read_pool=lambda *where: _read("val", *where),
    alike=_texts,
    remark=_remark,
    pool_remark=_remark,
    untranslated=("question",),
    mended_by="put English COPA beside it (copa_en/val-en.jsonl, copa_en/test-en.jsonl)",
)
"""Subsets are language keys; exemplars are validation items of the same language."""
