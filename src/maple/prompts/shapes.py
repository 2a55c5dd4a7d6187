"""How the parts of an item are put together, one function a shape. The texts are the caller's.

Every part appears whole, only freed of white space at its ends: nothing is cut, lowered or given
a full stop, since many sentences (most Thai and Tamil premises of XCOPA) have none to cut. The
space before an answer belongs to the answer, so that no prompt ends in one: most tokenizers join
a space with the word after it.

Two forms of a question with choices: in the cloze form each choice continues the prompt; in the
letters form the choices are listed in the prompt under letters, and a letter continues it.
"""

from __future__ import annotations

from collections.abc import Sequence

from maple.errors import DataError
from maple.prompts.literals import Word, Wording
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
    return _cloze(wording, [premise.strip(), wording.label(_causal_word(asked))], choices)


def causal_letters(wording: Wording, premise: str, asked: str, choices: Sequence[str]) -> Prompted:
    """As `causal`, in the letters form: "The tap dripped.⏎A: It rained.⏎B: It was hot.⏎Reason:".

    Raises:
        DataError: as `causal`.
    """
    return _letters(wording, [premise.strip()], choices, wording.space, _causal_word(asked))


def reading(wording: Wording, passage: str, question: str, answer: str) -> Prompted:
    """A passage, a question about it, and the label of the answer, a line each.

    Args:
        passage: one or several paragraphs.
        question: about the passage.
        answer: the right one, used when the item serves as an exemplar.

    Raises:
        DataError: the wording lacks a word.
    """
    return choosing(wording, passage, question, [answer])


def question_first(wording: Wording, passage: str, question: str, answer: str) -> Prompted:
    """As `reading`, with the question before the passage: the passage is read for it.

    Raises:
        DataError: the wording lacks a word.
    """
    lines = [_line(wording, "question", question), _line(wording, "passage", passage)]
    return _cloze(wording, [*lines, wording.label("answer")], [answer])


def choosing(wording: Wording, passage: str, question: str, choices: Sequence[str]) -> Prompted:
    """A passage, a question about it, and the label of the answer; cloze form.

    Raises:
        DataError: the wording lacks a word.
    """
    lines = [_line(wording, "passage", passage), _line(wording, "question", question)]
    return _cloze(wording, [*lines, wording.label("answer")], choices)


def choosing_letters(
    wording: Wording, passage: str, question: str, choices: Sequence[str]
) -> Prompted:
    """As `choosing`, in the letters form.

    Raises:
        DataError: the wording lacks a word, or a letter.
    """
    lines = [_line(wording, "passage", passage), _line(wording, "question", question)]
    return _letters(wording, lines, choices, wording.space, "answer")


def judging(wording: Wording, premise: str, hypothesis: str) -> Prompted:
    """A passage, a claim, and the label of the verdict; the verdicts continue it.

    The verdicts are those of `verdicts`, in its order.

    Raises:
        DataError: the wording lacks a word.
    """
    lines = [_line(wording, "passage", premise), _line(wording, "claim", hypothesis)]
    return _labelled([*lines, wording.label("verdict")], verdicts(wording), wording.label_space)


def judging_letters(wording: Wording, premise: str, hypothesis: str) -> Prompted:
    """As `judging`, in the letters form.

    Raises:
        DataError: the wording lacks a word, or a letter.
    """
    lines = [_line(wording, "passage", premise), _line(wording, "claim", hypothesis)]
    return _letters(wording, lines, verdicts(wording), wording.label_space, "verdict")


def verdicts(wording: Wording) -> tuple[str, str, str]:
    """What a claim can be: it follows from the passage, it may or may not, it contradicts it.

    Raises:
        DataError: the wording lacks a word.
    """
    return wording.word("true"), wording.word("unclear"), wording.word("false")


def summing_up(wording: Wording, text: str, summary: str) -> Prompted:
    """A text and the label of its summary. The text may be cut, see `Prompted.cut`.

    Raises:
        DataError: the wording lacks a word.
    """
    return _summary(wording, "", text, summary)


def summing_up_as_told(wording: Wording, text: str, summary: str) -> Prompted:
    """As `summing_up`, after a sentence that says what to do.

    Raises:
        DataError: the wording lacks a word.
    """
    return _summary(wording, wording.word("summarise") + "\n", text, summary)


def _causal_word(asked: str) -> Word:
    if asked == "cause":
        return "cause"
    if asked == "effect":
        return "effect"
    raise DataError(f"an item asks for {asked!r}, expected 'cause' or 'effect'")


def _line(wording: Wording, word: Word, text: str) -> str:
    return wording.label(word) + wording.space + text.strip()


def _cloze(wording: Wording, lines: Sequence[str], answers: Sequence[str]) -> Prompted:
    return _labelled(lines, answers, wording.space)


def _labelled(lines: Sequence[str], answers: Sequence[str], space: str) -> Prompted:
    return Prompted("\n".join(lines), tuple(space + answer.strip() for answer in answers))


def _letters(
    wording: Wording, lines: Sequence[str], choices: Sequence[str], space: str, last: Word
) -> Prompted:
    """`space` stands before the choices."""
    letters = wording.letters(len(choices))
    colon = wording.word("colon") + space
    options = [f"{at}{colon}{choice.strip()}" for at, choice in zip(letters, choices, strict=True)]
    return _labelled([*lines, *options, wording.label(last)], letters, wording.label_space)


def _summary(wording: Wording, before: str, text: str, summary: str) -> Prompted:
    before += wording.label("passage") + wording.space
    whole = text.strip()
    return Prompted(
        text=f"{before}{whole}\n{wording.label('summary')}",
        answers=(wording.space + summary.strip(),),
        cut=(len(before), len(before) + len(whole)),
    )
