"""Content hashes of model files: what a base model's and a tokenizer's identity are made of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from maple.errors import ModelError

TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)
"""Files that decide how text becomes tokens, in transformers' layout."""


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error


def text_identity(text: str) -> str:
    """ "sha256:<hash>" of a text."""
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def identity_of(hashes: Mapping[str, str]) -> str:
    """ "sha256:<hash>" over (relative name, SHA-256 of the file), in the order of the names."""
    return text_identity("".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes)))


def files_identity(folder: Path, names: Iterable[str]) -> str:
    """`identity_of` those of `names` that exist in `folder`."""
    return identity_of({name: file_sha256(folder / name) for name in names_in(folder, names)})


def names_in(folder: Path, names: Iterable[str]) -> list[str]:
    """Those of `names` that are files of `folder`, sorted."""
    return sorted(name for name in names if (folder / name).is_file())
