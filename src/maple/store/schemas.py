"""Columns of every Parquet file in a store. Frozen: a golden file holds them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from maple.records import ChoiceResponse, Example, GenerateResponse, InstructionRow

SCHEMA_VERSION = 4
"""2 added the column `greedy`, 3 `neutral_logprobs`, 4 `turns`."""

_TEXT = pa.string()
_INTS = pa.list_(pa.int32())
_PROMPT = [
    pa.field("n_prompt_tokens", pa.int32()),
    pa.field("prompt_head", _INTS),
    pa.field("prompt_tail", _INTS),
]

ITEMS = pa.schema(
    [
        pa.field("example_id", _TEXT),
        pa.field("cluster_id", _TEXT),
        pa.field("fields", pa.map_(_TEXT, _TEXT)),
        pa.field("choices", pa.list_(_TEXT)),
        pa.field("target", pa.int32()),
        pa.field("golds", pa.list_(_TEXT)),
    ]
)
INSTRUCTIONS = pa.schema(
    [
        *(pa.field(name, _TEXT) for name in ("row_id", "language", "instruction", "input")),
        pa.field("output", _TEXT),
        # Null where a row has no earlier turns, and before version 4.
        pa.field(
            "turns",
            pa.list_(pa.struct([("role", _TEXT), ("text", _TEXT)])),
            metadata={"since": "4"},
        ),
    ]
)
CHOICE_RESPONSES = pa.schema(
    [
        pa.field("example_id", _TEXT),
        pa.field("logprobs", pa.list_(pa.float64())),
        pa.field("n_tokens", _INTS),
        pa.field("n_chars", _INTS),
        pa.field("n_bytes", _INTS),
        # Null in rows that were written before version 2.
        pa.field("greedy", pa.list_(pa.bool_()), metadata={"since": "2"}),
        # Null where no neutral prompt was asked, and before version 3.
        pa.field("neutral_logprobs", pa.list_(pa.float64()), metadata={"since": "3"}),
        *_PROMPT,
    ]
)
GENERATE_RESPONSES = pa.schema(
    [
        pa.field("example_id", _TEXT),
        pa.field("text", _TEXT),
        pa.field("stop_reason", _TEXT),
        pa.field("n_tokens", pa.int32()),
        *_PROMPT,
    ]
)
PROMPT_SIZES = pa.schema(
    [
        pa.field("example_id", _TEXT),
        *(pa.field(name, pa.int32()) for name in ("n_tokens", "n_words", "n_chars", "n_bytes")),
    ]
)
SCORES = pa.schema([pa.field("example_id", _TEXT), pa.field("score", pa.float64())])
INDEX = pa.schema(
    [
        pa.field("kind", _TEXT),
        pa.field("id", _TEXT),
        pa.field("status", _TEXT),
        pa.field("finished", _TEXT),
        pa.field("cell", _TEXT),
    ]
)


def items_table(examples: Sequence[Example]) -> pa.Table:
    """Examples as rows of ITEMS, in the given order."""
    return pa.Table.from_pylist(
        [
            {
                "example_id": example.example_id,
                "cluster_id": example.cluster_id,
                "fields": sorted(example.fields.items()),
                "choices": list(example.choices),
                "target": example.target,
                "golds": list(example.golds),
            }
            for example in examples
        ],
        schema=ITEMS,
    )


def examples(table: pa.Table) -> list[Example]:
    """Rows of ITEMS as examples."""
    return [
        Example(
            row["example_id"],
            row["cluster_id"],
            dict(row["fields"]),
            tuple(row["choices"]),
            row["target"],
            tuple(row["golds"]),
        )
        for row in table.to_pylist()
    ]


def instructions_table(rows: Sequence[InstructionRow]) -> pa.Table:
    """Instruction rows as rows of INSTRUCTIONS, in the given order."""
    return pa.Table.from_pylist(
        [
            {name: getattr(row, name) for name in INSTRUCTIONS.names}
            | {"turns": [{"role": role, "text": text} for role, text in row.turns] or None}
            for row in rows
        ],
        schema=INSTRUCTIONS,
    )


def instructions(table: pa.Table) -> list[InstructionRow]:
    """Rows of INSTRUCTIONS as instruction rows."""
    return [
        InstructionRow(
            **row | {"turns": tuple((one["role"], one["text"]) for one in row["turns"] or ())}
        )
        for row in table.to_pylist()
    ]


def choice_row(
    example: Example, answers: Sequence[str], response: ChoiceResponse
) -> dict[str, object]:
    """One row of CHOICE_RESPONSES; `answers` are the continuations that were scored."""
    neutral = response.neutral_logprobs
    return {
        "example_id": example.example_id,
        "logprobs": list(response.logprobs),
        "n_tokens": list(response.n_tokens),
        "n_chars": [len(answer) for answer in answers],
        "n_bytes": [len(answer.encode()) for answer in answers],
        "greedy": list(response.greedy),
        "neutral_logprobs": neutral if neutral is None else list(neutral),
        **_prompt_columns(response),
    }


def generate_row(example: Example, response: GenerateResponse) -> dict[str, object]:
    """One row of GENERATE_RESPONSES."""
    return {
        "example_id": example.example_id,
        "text": response.text,
        "stop_reason": response.stop_reason,
        "n_tokens": response.n_tokens,
        **_prompt_columns(response),
    }


def with_metadata(table: pa.Table, about: object) -> pa.Table:
    """The table with `about` as JSON in its schema metadata, so that the file explains itself."""
    text = json.dumps(about, sort_keys=True, ensure_ascii=False)
    return table.replace_schema_metadata({"maple": text})


def metadata(schema: pa.Schema) -> dict[str, Any]:
    """What `with_metadata` put there."""
    return dict(json.loads(schema.metadata[b"maple"]))


def _prompt_columns(response: ChoiceResponse | GenerateResponse) -> dict[str, object]:
    return {
        "n_prompt_tokens": response.n_prompt_tokens,
        "prompt_head": list(response.prompt_head),
        "prompt_tail": list(response.prompt_tail),
    }
