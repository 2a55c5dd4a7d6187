"""MLQA: a question about a passage, often in another language, answered with words of the passage.

Lewis et al. 2020. Seven languages, and all 49 pairs of a passage's and a question's language. A
pair is named like "deu_Latn.eng_Latn": the passage and the answer in German, the question in
English. The words of its prompts follow the question; answers are compared by the rules of the
passage's language, as officially.

The dataset "release-dev" scores the development split, for folders that have nothing else. Its
items are then no exemplars, and there are no others.

The small set "mini" asks the questions of XQuAD's small set, which are parallel, on its passages in
each language.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from maple.data.mlqa import read_questions
from maple.data.packaged import MINI, mini_languages
from maple.data.squad import Question, read_squad
from maple.languages import of_release
from maple.records import Example
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, answered_in, asked_in, passage
from maple.tasks.questions import READING, examples_of, repeated
from maple.tasks.scoring import ANSWERS, Writing


def _scored(dataset: str, subset: str, folder: Path | None) -> list[Example]:
    return _read("dev" if dataset == "release-dev" else "test", dataset, subset, folder)


def _pool(dataset: str, subset: str, folder: Path | None) -> list[Example]:
    return _read("dev", dataset, subset, folder)


def _read(split: str, dataset: str, subset: str, folder: Path | None) -> list[Example]:
    context, question = answered_in(subset), asked_in(subset)
    if dataset == "mini":
        return examples_of(_mini(split, context, question), f"mini-{split}")
    questions = read_questions(split, context, question, folder)
    return [_clustered(item, split) for item in examples_of(questions, "")]


def _clustered(item: Example, split: str) -> Example:
    """The passage names the cluster: its place differs between the files of a language."""
    passage = " ".join(item.fields["context"].split())
    name = hashlib.sha256(passage.encode()).hexdigest()[:16]
    return replace(item, cluster_id=f"mlqa-{split}-{name}")


def _mini(split: str, context: str, question: str) -> list[Question]:
    name = {"dev": "val", "test": "test"}[split]
    passages = read_squad(MINI / "xquad" / f"{context}.{name}.json")
    asked = read_squad(MINI / "xquad" / f"{question}.{name}.json")
    texts = {one.item_id: one.question for one in asked}
    return [replace(one, question=texts[one.item_id]) for one in passages]


def _pairs(languages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{context}.{question}" for context in languages for question in languages)


_PAIRS = _pairs(tuple(row.key for row in of_release("mlqa")))

MLQA = NativeTask(
    name="mlqa",
    card=Card(
        title="MLQA",
        hub=("facebook/mlqa",),
        licence=("CC BY-SA 3.0",),
        citation=(
            (
                "Lewis, Oguz, Rinott, Riedel and Schwenk 2020. MLQA: Evaluating Cross-lingual "
                "Extractive Question Answering. ACL. doi:10.18653/v1/2020.acl-main.653"
            ),
        ),
        scored="test",
        pool="dev",
        chance=None,
    ),
    scoring=Writing(ANSWERS, max_new_tokens=64),
    shapes=READING,
    sets={
        "release": _PAIRS,
        "release-dev": _PAIRS,
        "mini": _pairs(mini_languages("xquad", ".test.json")),
    },
    read_scored=_scored,
    read_pool=_pool,
    poolless=("release-dev",),
    alike=passage("context"),
    remark=repeated,
)
"""Subsets are pairs of language keys, passage first; exemplars are of the same pair."""
