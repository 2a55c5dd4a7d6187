"""How the parts of an item are put together, one function a shape. The texts are the caller's.

Every part appears whole, only freed of white space at its ends: nothing is cut, lowered or given
a full stop, since many sentences (most Thai and Tamil premises of XCOPA) have none to cut. The
space before an answer belongs to the answer, so that no prompt ends in one: most tokenizers join
a space with the word after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from maple.errors import DataError
from maple.prompts.literals import Wording
from maple.records import Prompted


def causal(wording: Wording, premise: str, asked: str, choices: Sequence[str]) -> Prompted:
    """A premise, and the label of what is asked about it; the choices are its continuations.

    For example "The tap dripped all night.⏎Result:", " The bucket was full in the morning."

    Args:
        premise: a sentence.
        asked: "cause" or "effect".
        choices: sentences.

    Raises:
        DataError: `asked` is neither of the two, or the wording lacks a word.
    """
    if asked == "cause":
        label = wording.label("cause")
    elif asked == "effect":
        label = wording.label("effect")
    else:
        raise DataError(f"an item asks for {asked!r}, expected 'cause' or 'effect'")
    return Prompted(
        text=f"{premise.strip()}\n{label}",
        answers=tuple(wording.space + choice.strip() for choice in choices),
    )


def reading(wording: Wording, passage: str, question: str, answer: str) -> Prompted:
    """A passage, a question about it, and the label of the answer, a line each.

    Args:
        passage: one or several paragraphs.
        question: about the passage.
        answer: the right one, used when the item serves as an exemplar.

    Raises:
        DataError: the wording lacks a word.
    """
    space = wording.space
    text = (
        f"{wording.label('passage')}{space}{passage.strip()}\n"
        f"{wording.label('question')}{space}{question.strip()}\n"
        f"{wording.label('answer')}"
    )
    return Prompted(text=text, answers=(space + answer.strip(),))
