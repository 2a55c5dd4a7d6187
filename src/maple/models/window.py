"""How many tokens a base reads at once and how many a text takes, before the base is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from maple.errors import ModelError
from maple.models.files import SCRIPTED, read_json
from maple.models.server_api import SPARE
from maple.records import BaseModel, ChoiceRequest, GenerateRequest

_Request = ChoiceRequest | GenerateRequest


class Window(Protocol):
    """What a `protocols.LanguageModel` says about lengths."""

    max_context: int

    def lengths(self, requests: Sequence[_Request]) -> list[int]:
        """See `protocols.LanguageModel.lengths`."""
        ...


def window(base: BaseModel, *, served: bool) -> Window:
    """The window of a base; its tokenizer is loaded when a text must be measured.

    Args:
        base: its files are read.
        served: a server answers for it, which spares `SPARE` tokens.

    Raises:
        ModelError: its configuration cannot be read.
    """
    if base.name.startswith(SCRIPTED):
        from maple.models.scripted import ScriptedModel

        return ScriptedModel(base.name.removeprefix(SCRIPTED))
    return _OfFiles(base, SPARE if served else 0)


class _OfFiles:
    """The window by a base's configuration and tokenizer, as the engines have it."""

    def __init__(self, base: BaseModel, spare: int) -> None:
        self._base = base
        self._config = read_json(Path(base.path) / "config.json", base.name)
        self.max_context = (_context(self._config) or _by_class(base)) - spare
        self._measure: Callable[[Sequence[_Request]], list[int]] | None = None

    def lengths(self, requests: Sequence[_Request]) -> list[int]:
        """See `protocols.LanguageModel.lengths`."""
        if self._measure is None:
            # transformers takes seconds to load, and most prompts are short by their bytes alone.
            from maple.models.encoding import expected_bos, lengths, load_tokenizer

            tokenizer = load_tokenizer(self._base)
            bos = expected_bos(tokenizer, str(self._config.get("model_type")))
            self._measure = lambda given: lengths(tokenizer, given, bos)
        return self._measure(requests)


def _context(config: Mapping[str, object]) -> int | None:
    """What the file says plainly; None where that depends on the model's class."""
    text = config.get("text_config", config)
    if not isinstance(text, Mapping) or "longrope" in str(text):
        return None
    longest = text.get("max_position_embeddings")
    return longest if type(longest) is int else None


def _by_class(base: BaseModel) -> int:
    from transformers import AutoConfig

    from maple.models.attention import context_of

    try:
        config = AutoConfig.from_pretrained(base.path, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"base model {base.name!r}: cannot be loaded: {error}") from error
    return context_of(config.get_text_config(decoder=True))
