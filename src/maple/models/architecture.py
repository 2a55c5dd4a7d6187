"""The shape of a decoder: from a base's config.json, or from a table of well-known bases.

What a plan needs to say what a study costs, without weights. No torch.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from maple.models.files import read_json
from maple.records import BaseModel

_FAMILIES = (
    "gemma",
    "gemma2",
    "gemma3_text",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "smollm3",
)
"""`model_type` of the families whose layers have the seven matrices below and no others."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder of the Llama kind. Widths are numbers of values.

    Attributes:
        hidden: of the residual stream.
        intermediate: of the gated feed-forward part.
        heads, kv_heads: of queries, and of keys and values.
        tied: the vocabulary head is the embedding.
        tokenizer: name of a measured tokenizer; "" for none.
    """

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    max_positions: int
    tokenizer: str = ""

    @property
    def queries(self) -> int:
        """Width of all queries together."""
        return self.heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all keys together; that of the values, too."""
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> Mapping[str, tuple[int, int]]:
        """(outputs, inputs) of each matrix of one layer, by the name of its module."""
        return {
            "q_proj": (self.queries, self.hidden),
            "k_proj": (self.keys, self.hidden),
            "v_proj": (self.keys, self.hidden),
            "o_proj": (self.hidden, self.queries),
            "gate_proj": (self.intermediate, self.hidden),
            "up_proj": (self.intermediate, self.hidden),
            "down_proj": (self.hidden, self.intermediate),
        }

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the modules that an adapter can sit on."""
        return (*self.linears, "lm_head", "embed_tokens")

    @property
    def linear_parameters(self) -> int:
        """Weights of the layers' matrices: what is quantised, and what a token goes through."""
        return self.layers * sum(rows * columns for rows, columns in self.linears.values())

    @property
    def other_parameters(self) -> int:
        """Embeddings, head and norms, which keep 16 bits. Two norms a layer: some have more."""
        tables = 1 if self.tied else 2
        return tables * self.vocabulary * self.hidden + (2 * self.layers + 1) * self.hidden


def known(name: str) -> Architecture | None:
    """The shape of a well-known hub model, whatever its revision."""
    found = _table().get(name.partition("@")[0])
    return None if found is None else Architecture(**found)


def of_base(base: BaseModel) -> Architecture | None:
    """The shape of a base whose files are here; None for families that are not of this kind.

    Raises:
        ModelError: its configuration cannot be read.
    """
    if not base.path:
        return None
    config = read_json(Path(base.path) / "config.json", base.name)
    return of_config(config)


def of_config(config: Mapping[str, object]) -> Architecture | None:
    """The shape that a config.json states; None where it is of another kind, or says too little."""
    text = config.get("text_config", config)
    if not isinstance(text, Mapping) or text.get("model_type") not in _FAMILIES:
        return None
    heads, hidden = text.get("num_attention_heads"), text.get("hidden_size")
    stated = {
        "layers": text.get("num_hidden_layers"),
        "hidden": hidden,
        "intermediate": text.get("intermediate_size"),
        "heads": heads,
        "kv_heads": text.get("num_key_value_heads") or heads,
        "head_dim": text.get("head_dim"),
        "vocabulary": text.get("vocab_size"),
        "max_positions": text.get("max_position_embeddings"),
    }
    if stated["head_dim"] is None and isinstance(hidden, int) and isinstance(heads, int):
        stated["head_dim"] = hidden // heads
    if any(type(value) is not int or value < 1 for value in stated.values()):
        return None
    numbers: dict[str, Any] = stated
    # transformers leaves out what is its default: tied in Gemma's family, untied in the others.
    default = str(text["model_type"]).startswith("gemma")
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", default))
    return Architecture(**numbers, tied=bool(tied))


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = resources.files("maple.models").joinpath("architectures.toml").read_text("utf-8")
    return tomllib.loads(text)
