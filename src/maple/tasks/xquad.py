"""XQuAD: a question about a passage, answered with words of the passage.

Artetxe et al. 2020. 1,190 questions on 240 passages of SQuAD's development set, with one accepted
answer each, in English and professionally translated into eleven languages. Ids are the same in
all of them.

It has one split, which is scored, so exemplars come from elsewhere: from MLQA's development set
(Lewis et al. 2020), in the item's language where MLQA has it. Where it has not, the exemplars are
those of English in English words: a cross-lingual set-up, and named so.
"""

from __future__ import annotations

from pathlib import Path

from maple.data.hub import HubDataset
from maple.data.mlqa import has_questions, is_language, read_questions
from maple.data.packaged import MINI, mini_languages
from maple.data.release import find
from maple.data.squad import Question, from_hub, read_squad
from maple.errors import NoExemplarsError
from maple.languages import ENGLISH, of_release
from maple.languages import language as language_of
from maple.records import Example
from maple.tasks.card import Card
from maple.tasks.native import NativeTask, passage
from maple.tasks.questions import READING, examples_of, repeated
from maple.tasks.scoring import ANSWERS, Writing


def _scored(dataset: str, subset: str, folder: Path | None) -> list[Example]:
    return examples_of(_questions(dataset, subset, folder), "xquad")


def _questions(dataset: str, subset: str, folder: Path | None) -> list[Question]:
    if dataset == "mini":
        return read_squad(MINI / "xquad" / f"{subset}.test.json")
    name = f"xquad.{language_of(subset).codes['xquad']}"
    if folder is not None:
        return read_squad(find(folder, f"xquad/{name}.json"))
    patterns = (f"{name}/validation-*.parquet", f"{name}/validation/*.parquet")
    return from_hub(HubDataset("google/xquad").rows(*patterns))


def _pool(dataset: str, subset: str, folder: Path | None) -> list[Example]:
    """Questions of MLQA's development set in the item's language."""
    if dataset == "mini":
        questions = read_squad(MINI / "xquad" / f"{subset}.val.json")
        return examples_of(questions, f"mini-val-{subset}")
    if not is_language(subset):
        raise NoExemplarsError(
            f"xquad: its exemplars are questions of MLQA, which has none in {subset}",
            "take those in English, or set n_shot = 0",
        )
    return examples_of(read_questions("dev", subset, subset, folder), f"mlqa-dev-{subset}")


def _lender(dataset: str, subset: str, folder: Path | None) -> str:
    """English where MLQA, or `folder`, has no questions in a language."""
    if dataset == "mini" or has_questions("dev", subset, folder):
        return subset
    return ENGLISH


XQUAD = NativeTask(
    name="xquad",
    card=Card(
        title="XQuAD",
        hub=("google/xquad", "facebook/mlqa"),
        licence=("CC BY-SA 4.0", "CC BY-SA 3.0"),
        citation=(
            (
                "Artetxe, Ruder and Yogatama 2020. On the Cross-lingual Transferability of "
                "Monolingual Representations. ACL. doi:10.18653/v1/2020.acl-main.421"
            ),
            (
                "Lewis, Oguz, Rinott, Riedel and Schwenk 2020. MLQA: Evaluating Cross-lingual "
                "Extractive Question Answering. ACL. doi:10.18653/v1/2020.acl-main.653"
            ),
        ),
        scored="validation",
        pool="MLQA dev",
        chance=None,
    ),
    # Enough for every gold of en, de, es, ar and zh in Gemma 3's tokens (longest: 54), and for
    # 97.5% of the Arabic ones in those of a tokenizer made for English (SmolLM2).
    scoring=Writing(ANSWERS, max_new_tokens=64),
    shapes=READING,
    sets={
        "release": tuple(row.key for row in of_release("xquad")),
        "mini": mini_languages("xquad", ".test.json"),
    },
    read_scored=_scored,
    read_pool=_pool,
    lender=_lender,
    alike=passage("context"),
    remark=repeated,
)
"""Subsets are language keys; questions of a passage share a cluster."""
