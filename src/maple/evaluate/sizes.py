"""How long prompts are in tokens, words, characters and bytes: fertility, before any model runs."""

from __future__ import annotations

from maple.evaluate.responses import Asked
from maple.metrics.words import words
from maple.protocols import LanguageModel
from maple.records import GenerateRequest


def prompt_sizes(model: LanguageModel, asked: Asked, marks: int) -> list[dict[str, object]]:
    """One row an item, exemplars left out; columns as `store.schemas.PROMPT_SIZES`.

    Args:
        model: whose tokenizer counts.
        asked: the items.
        marks: special tokens that the tokenizer puts before every text, which are not counted.

    Raises:
        ModelError: a missing or doubled BOS.
    """
    texts = [item.text for item in asked.prompted]
    lengths = model.lengths([GenerateRequest("", text, (), 0) for text in texts])
    return [
        {
            "example_id": example.example_id,
            "n_tokens": length - marks,
            "n_words": len(words(text)),
            "n_chars": len(text),
            "n_bytes": len(text.encode()),
        }
        for example, text, length in zip(asked.examples, texts, lengths, strict=True)
    ]
