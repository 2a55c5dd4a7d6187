"""XCOPA: which of two sentences is the cause, or the effect, of a premise.

Ponti et al. 2020. Eleven languages, each a translation of English COPA's validation (100) and test
(500) items, joined here by COPA itself. Items are parallel by `idx`.

The released `question` field (cause or effect) is wrong in places: in Thai it is "effect"
throughout, in Swahili, Indonesian and Italian a few items differ from COPA; the texts there fit
COPA's. Where the English rows are at hand it is therefore taken from them, and
`fields["released_question"]` keeps what the release had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.packaged import MINI, mini_languages
from maple.data.release import exists, find, read_jsonl
from maple.data.rows import Row, build
from maple.errors import DataError, nearest
from maple.languages import language as language_of
from maple.languages import of_release
from maple.metrics.choice import pick
from maple.prompts.lint import lint
from maple.prompts.literals import PROMPTS, wording
from maple.prompts.shapes import causal
from maple.records import ChoiceResponse, Example, GenerateResponse, Prompted
from maple.tasks.card import Card

_ENGLISH = "eng_Latn"
_HUB_SPLIT = {"test": "test", "val": "validation"}
_SHOWN = ("premise",)

_TOO_MANY_ALIKE = 50
"""Half of the items ask for a cause; so many in a row without one are an error of the release."""


class Xcopa:
    """See `protocols.Task`; subsets are language keys."""

    name = "xcopa"
    kind = "choice"
    primary_metric = "accuracy[sum]"
    metrics: tuple[str, ...] = (
        "accuracy[sum]",
        "accuracy[per_token]",
        "accuracy[per_char]",
        "accuracy[per_byte]",
    )
    prompts: tuple[str, ...] = PROMPTS
    stop: tuple[str, ...] = ()
    max_new_tokens: int | None = None
    untranslated: tuple[str, ...] = ("question",)
    mended_by = "put English COPA beside it (copa_en/val-en.jsonl, copa_en/test-en.jsonl)"
    card = Card(
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
    )

    def subsets(self, dataset: str) -> tuple[str, ...]:
        """Keys of the languages of "release" (twelve) or "mini".

        Raises:
            DataError: no such dataset.
        """
        if dataset == "mini":
            return mini_languages("xcopa", ".test.jsonl")
        if dataset == "release":
            return tuple(sorted([_ENGLISH, *(row.key for row in of_release("xcopa"))]))
        raise DataError(f"xcopa has no dataset {dataset!r}", nearest(dataset, ("mini", "release")))

    def language(self, subset: str) -> str:
        """The subset itself: it is named by its language's key."""
        return subset

    def examples(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """The test items, in the release's order.

        Raises:
            DataError: no such dataset or subset; missing, broken or repeated rows; a label that
                differs from English COPA's.
        """
        return self._items(dataset, subset, "test", folder)

    def exemplar_pool(self, dataset: str, subset: str, folder: Path | None) -> list[Example]:
        """The validation items of the same language.

        Raises:
            DataError: as `examples`; one of them is also a test item.
        """
        pool = self._items(dataset, subset, "val", folder)
        scored = {_texts(example) for example in self.examples(dataset, subset, folder)}
        for example in pool:
            if _texts(example) in scored:
                raise DataError(f"xcopa, {subset}: {example.example_id} is a test item, too")
        return pool

    def render(self, example: Example, subset: str, prompt: str) -> Prompted:
        """The premise and the label of what is asked; each choice continues it.

        Raises:
            DataError: no such prompt, or the language lacks a word.
        """
        fields = example.fields
        words = wording(prompt, self.language(subset))
        return causal(words, fields["premise"], fields["question"], example.choices)

    def prompt_text(self, subset: str, prompt: str) -> str:
        """The prompt for a cause and for an effect, with placeholders and the first choice."""
        texts = []
        for asked in ("cause", "effect"):
            fields = {"premise": "{premise}", "question": asked}
            rendered = self.render(Example("", "", fields, ("{choice}",)), subset, prompt)
            texts.append(rendered.text + rendered.answers[0])
        return "\f".join(texts)

    def score(
        self,
        example: Example,
        response: ChoiceResponse | GenerateResponse,
        metric: str,
        subset: str,
        prompt: str,
    ) -> float:
        """1.0 if the choice with the highest (normalised) log-probability is right, else 0.0.

        Args:
            example: with its choices and target.
            response: to its request.
            metric: "accuracy[sum]", or with the log-probability divided by the answer's length:
                in tokens as the engine counted them, or in characters or UTF-8 bytes of the
                choice without the space before it.
            subset, prompt: without effect here.

        Raises:
            DataError: no such metric.
            TypeError: the response is to a generate request.
        """
        del subset, prompt
        if not isinstance(response, ChoiceResponse):
            raise TypeError("xcopa is scored from choice responses")
        lengths: Mapping[str, Sequence[int] | None] = {
            "accuracy[sum]": None,
            "accuracy[per_token]": response.n_tokens,
            "accuracy[per_char]": [len(choice) for choice in example.choices],
            "accuracy[per_byte]": [len(choice.encode()) for choice in example.choices],
        }
        if metric not in lengths:
            raise DataError(f"xcopa has no metric {metric!r}", nearest(metric, self.metrics))
        return float(pick(response.logprobs, lengths[metric]) == example.target)

    def metric_identity(self, metric: str, subset: str) -> tuple[int, str]:
        """Version and rules of a metric, as a score cell names them.

        Raises:
            DataError: no such metric.
        """
        del subset
        if metric not in self.metrics:
            raise DataError(f"xcopa has no metric {metric!r}", nearest(metric, self.metrics))
        return 1, "argmax, ties to the first"

    def lint(self, examples: Sequence[Example], subset: str, prompt: str) -> list[str]:
        """Problems of the prompts of these items; see `prompts.lint`."""
        prompted = [self.render(example, subset, prompt) for example in examples]
        return lint(examples, prompted, _SHOWN, wording(prompt, self.language(subset)))

    def remarks(self, examples: Sequence[Example]) -> list[str]:
        """What a report must say about the data of a subset."""
        count = sum("released_question" in example.fields for example in examples)
        if count:
            return [
                f"question (cause or effect) taken from English COPA in {count} items that differ"
            ]
        asked = {example.fields["question"] for example in examples}
        if len(asked) == 1 and len(examples) >= _TOO_MANY_ALIKE:
            value = asked.pop()
            return [f"question is {value!r} in every item, a mistake that only COPA can repair"]
        return []

    def _items(self, dataset: str, subset: str, split: str, folder: Path | None) -> list[Example]:
        if subset not in self.subsets(dataset):
            raise DataError(
                f"xcopa, {dataset}: no subset {subset!r}", nearest(subset, self.subsets(dataset))
            )
        english: Mapping[int, Row] = {}
        if dataset == "mini":
            rows = read_jsonl(MINI / "xcopa" / f"{subset}.{split}.jsonl")
        elif subset == _ENGLISH:
            rows = _english(split, folder)
        else:
            rows = _translated(language_of(subset).codes["xcopa"], split, folder)
            if folder is None or exists(folder, f"copa_en/{split}-en.jsonl"):
                english = {row.integer("idx"): row for row in _english(split, folder)}
        return build(
            rows, lambda row: _example(row, split, english), lambda example: example.example_id
        )


def _translated(code: str, split: str, folder: Path | None) -> list[Row]:
    raw = f"data/{code}/{split}.{code}.jsonl"
    if folder is not None:
        return read_jsonl(find(folder, f"xcopa/{raw}"))
    name = f"{code}/{_HUB_SPLIT[split]}"
    return HubDataset("cambridgeltl/xcopa").rows(f"{name}-*.parquet", f"{name}/*.parquet", raw)


def _english(split: str, folder: Path | None) -> list[Row]:
    if folder is not None:
        return read_jsonl(find(folder, f"copa_en/{split}-en.jsonl"))
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
    if not fields["premise"].strip() or not all(choices) or choices[0] == choices[1]:
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


def _texts(example: Example) -> tuple[str, ...]:
    return (example.fields["premise"].strip(), example.fields["question"], *example.choices)
