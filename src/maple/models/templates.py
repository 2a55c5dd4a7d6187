"""Training templates by name, bound to what they need: texts of a study, or a base's tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from maple.errors import ModelError, nearest
from maple.prompts import training
from maple.records import BaseModel, Frame, InstructionRow, RenderedRow, TextTemplate
from maple.study.identity import content_hash


@dataclass(frozen=True, slots=True)
class Template:
    """One template on one base.

    Attributes:
        hash: of what it does, as cells hold it.
        texts: what it is made of, for readers.
        render: a row as segments; raises DataError for one that the template cannot write.
        frame: what it puts around a request.
    """

    name: str
    hash: str
    texts: Mapping[str, str]
    render: Callable[[InstructionRow], RenderedRow]
    frame: Frame


class Templates:
    """The templates that a study knows, each bound to a base once.

    Args:
        own: of the study.
    """

    def __init__(self, own: Sequence[TextTemplate]) -> None:
        self._texts = {one.name: one for one in (training.PLAIN, *own)}
        self._bound: dict[tuple[str, str], Template] = {}

    def of(self, name: str, base: BaseModel) -> Template:
        """The template of that name on a base.

        Args:
            base: its tokenizer is loaded for its chat template only.

        Raises:
            ModelError: no such template; or the base has no chat template, or one that cannot be
                used.
        """
        key = name, base.identity
        if key not in self._bound:
            if name == training.CHAT:
                self._bound[key] = _chat(base)
            elif name in self._texts:
                self._bound[key] = _plain(self._texts[name])
            else:
                known = [*self._texts, training.CHAT]
                raise ModelError(f"no training template {name!r}", nearest(name, known))
        return self._bound[key]


def _plain(text: TextTemplate) -> Template:
    return Template(
        text.name,
        content_hash(training.identity(text)),
        training.texts(text),
        lambda row: training.render(text, row),
        training.frame(text),
    )


def _chat(base: BaseModel) -> Template:
    if not base.path:
        raise ModelError(
            f"{base.name}: makes its answers up and has no chat template",
            f'use the template "{training.PLAIN.name}"',
        )
    # transformers takes seconds to load, and few studies ask for a chat template.
    from maple.models.chat import USER, ChatTemplate
    from maple.models.encoding import load_tokenizer

    chat = ChatTemplate(load_tokenizer(base), base.name)
    made = content_hash([chat.text, USER])
    texts = {"text": chat.text, "instruction": USER}
    return Template(training.CHAT, made, texts, chat.render, chat.frame())
