"""Scorers of other programs, re-implemented, for numbers that stand beside published ones.

None of them is a good measure in many languages, which is why they are not the primary metrics;
each docstring says what it gets wrong. Rules and sources:

* mlqa_official: `mlqa_evaluation_v1.py` of facebookresearch/MLQA at commit 5ef5c731; see
  `metrics.qa`, whose rules for MLQA's seven languages these are.
* squad_english: the evaluation of SQuAD 1.1 (Rajpurkar et al. 2016, arXiv:1606.05250), which many
  programs use for every language.
* f1_abstractive: how MEGA and MEGAVERSE score MLQA and XQuAD (Ahuja et al. 2023,
  arXiv:2303.12528), as in `mega/eval_qa_gptturbo.py` of microsoft/MEGAVERSE at commit 05c7f142.
* rouge_english: rouge-score with its default tokenizer, no stemmer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from maple.metrics import qa
from maple.metrics.summary import best_rouge

_ENGLISH_ARTICLE = re.compile(r"\b(?:a|an|the)\b")
_ASCII_PUNCTUATION = str.maketrans("", "", string.punctuation)


def has_mlqa_rules(language: str) -> bool:
    """Whether the official MLQA evaluation knows a language: seven, whatever their script."""
    return qa.rules(language).startswith("mlqa-official")


def squad_normalise(text: str) -> str:
    """Lower case; without ASCII's punctuation and English articles; single spaces.

    "Der Hund" keeps its article in German, "«chien»" its quotation marks in French, and a Chinese
    answer is one word.
    """
    kept = text.lower().translate(_ASCII_PUNCTUATION)
    return " ".join(_ENGLISH_ARTICLE.sub(" ", kept).split())


def squad_exact_match(prediction: str, golds: Sequence[str]) -> float:
    """Whether the prediction equals any of the golds by `squad_normalise`: 1.0 or 0.0.

    Raises:
        ValueError: no gold.
    """
    answer = squad_normalise(prediction)
    return max(float(answer == squad_normalise(gold)) for gold in qa.checked(golds))


def squad_f1(prediction: str, golds: Sequence[str]) -> float:
    """F1 of the words by `squad_normalise`, maximum over the golds, 0 to 1.

    Raises:
        ValueError: no gold.
    """
    answer = squad_normalise(prediction).split()
    return max(qa.overlap(answer, squad_normalise(gold).split()) for gold in qa.checked(golds))


def mega_f1(prediction: str, golds: Sequence[str], language: str, *, mlqa: bool) -> float:
    """MEGA's F1: only the prediction is normalised with care, then SQuAD's F1 takes both.

    The two sides are therefore treated differently. A Chinese MLQA prediction is cut into
    characters and its gold is not, so that F1 is 0 for all answers of two characters or more; a
    German one loses its article and the gold keeps it.

    Args:
        prediction: what the model answered, parsed; "" for no answer.
        golds: every accepted answer, at least one.
        language: key of the language of both.
        mlqa: by MLQA's rules for the language, which MEGA uses for that task; else punctuation of
            all scripts and English articles go.

    Returns:
        0 to 1.

    Raises:
        ValueError: no gold, or `language` is no language key.
    """
    if mlqa:
        return squad_f1(qa.normalise(prediction, language), golds)
    kept = "".join(c for c in prediction.lower() if not qa.is_punctuation(c))
    return squad_f1(" ".join(_ENGLISH_ARTICLE.sub(" ", kept).split()), golds)


def rouge_english(prediction: str, golds: Sequence[str], kind: str) -> float:
    """rouge-score's F-measure with its default tokenizer, maximum over the golds, 0 to 1.

    That tokenizer keeps a-z and 0-9: of most languages little, of many nothing, so that a text
    scores 0 against itself.

    Args:
        prediction: what the model wrote; "" for nothing.
        golds: every accepted text, at least one.
        kind: one of `summary.ROUGE`.

    Raises:
        DataError: no such kind.
        ValueError: no gold.
    """
    return best_rouge(prediction, golds, kind, None)
