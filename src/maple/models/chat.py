"""A tokenizer's own chat template: rows and requests as the base's chats are written.

What the model learns is found by rendering: everything that an assistant's turn adds to the
conversation before it and its generation prompt. Nothing is guessed from the template's text.
A BOS that the template spells out is left out where the tokenizer adds it.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from maple.errors import DataError, ModelError
from maple.models.encoding import bos_count
from maple.prompts.training import CHAT, named
from maple.records import Frame, InstructionRow, RenderedRow

USER = "{instruction}\n\n{input}"
"""The text of a user's turn; that of a row without an input is the instruction alone."""

_DATE = "26 Jul 2024"
"""Llama's templates write a date: the one that they have themselves where none is given."""

_REQUEST, _ANSWER = "maple stands for a request", "maple stands for an answer"

_PLAIN = f'use the template "plain" or one of your own instead of "{CHAT}"'

Message = dict[str, str]


class ChatTemplate:
    """The chat template of one tokenizer.

    Attributes:
        text: as the tokenizer has it, in Jinja.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        """
        Args:
            tokenizer: of the base.
            name: of the base, for messages.

        Raises:
            ModelError: the tokenizer has no chat template, or one that writes today's date.
        """
        self._tokenizer = tokenizer
        self._name = name
        adds_bos = bos_count(tokenizer, tokenizer("a").input_ids) > 0
        self._bos = str(tokenizer.bos_token) if adds_bos else ""
        try:
            self.text = str(tokenizer.get_chat_template())
        except ValueError as error:
            raise ModelError(f"{name}: its tokenizer has no chat template", _PLAIN) from error
        if "strftime_now" in self.text and "date_string" not in self.text:
            raise ModelError(
                f"{name}: its chat template writes today's date, so that the same rows would "
                "differ from day to day",
                _PLAIN,
            )

    def render(self, row: InstructionRow) -> RenderedRow:
        """A row as segments: of each answer everything is learned that the template adds to it.

        That is the answer with the marker that ends its turn. White space behind the marker is not
        learned, since nobody reads on there, and left out behind the last one, which the end marker
        follows.

        Raises:
            DataError: the template refuses the conversation, or writes its beginning in another way
                once it goes on, so that it cannot be told what an answer adds.
        """
        messages = _messages(row)
        segments: list[tuple[str, bool]] = []
        written = ""
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            asked = self._rendered(row, messages[:at], prompting=True)
            answered = self._rendered(row, messages[: at + 1])
            if not (asked.startswith(written) and answered.startswith(asked)):
                raise DataError(
                    f"{named(row)}: the chat template of {self._name} writes a conversation's "
                    "beginning in another way once it goes on, so that it cannot be told what is "
                    "to be learned",
                    _PLAIN,
                )
            answer = answered[len(asked) :]
            learned = answer.rstrip()
            segments += [(asked[len(written) :], False), (learned, True)]
            # What follows is written with the next question.
            written = asked + learned
        return RenderedRow(tuple(segments))

    def frame(self) -> Frame:
        """What the template puts around a request.

        What it writes before an answer beyond its generation prompt goes to the request, but for
        spaces, which most tokenizers join with the word behind them.

        Raises:
            ModelError: the template changes what it is given.
        """
        request = {"role": "user", "content": _REQUEST}
        messages = [request, {"role": "assistant", "content": _ANSWER}]
        try:
            asked = self._written(messages[:1], prompting=True)
            answered = self._written(messages)
        except TemplateError as error:
            raise self._unfit(f"refuses a question and its answer: {error}") from error
        head, found, tail = asked.partition(_REQUEST)
        before, answer, after = answered.removeprefix(asked).partition(_ANSWER)
        if not (found and answer and answered.startswith(asked)):
            raise self._unfit("does not write a question and its answer one after the other")
        opening = before.rstrip(" ")
        return Frame(head, tail + opening, before[len(opening) :], after.strip())

    def _rendered(
        self, row: InstructionRow, messages: Sequence[Message], *, prompting: bool = False
    ) -> str:
        try:
            return self._written(messages, prompting=prompting)
        except TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise DataError(
                f"{named(row)}: the chat template of {self._name} refuses turns of {roles}: "
                f"{error}",
                _PLAIN,
            ) from error

    def _written(self, messages: Sequence[Message], *, prompting: bool = False) -> str:
        text = self._tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=prompting, date_string=_DATE
        )
        return str(text).removeprefix(self._bos)

    def _unfit(self, what: str) -> ModelError:
        return ModelError(f"{self._name}: its chat template {what}", _PLAIN)


def _messages(row: InstructionRow) -> list[Message]:
    given = row.input.strip()
    fields = {"instruction": row.instruction.strip(), "input": given}
    asked = USER.format(**fields) if given else fields["instruction"]
    turns = [*row.turns, ("user", asked), ("assistant", row.output)]
    return [{"role": role, "content": text.strip()} for role, text in turns]
