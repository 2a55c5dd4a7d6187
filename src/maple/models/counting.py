"""How many tokens a text has, by a base's tokenizer alone: transformers takes seconds to load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from maple.records import BaseModel


def counter(base: BaseModel) -> Callable[[Sequence[str]], list[int]] | None:
    """Counts the tokens of texts, BOS and EOS not among them; None where there is no file for it.

    A file that cannot be read counts as none: what loads the base for use says what is wrong.
    """
    path = Path(base.path) / "tokenizer.json"
    if not base.path or not path.is_file():
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # noqa: BLE001  the library raises Exception itself
        return None
    return lambda texts: [
        len(found.ids) for found in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]
