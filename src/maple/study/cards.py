"""What a card says of a product, at its training and beside its results: Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping

from maple.records import TrainCell, TrainOutcome
from maple.study.methods import FULL

_LEFT_OUT = frozenset({"base_name", "base", "tokenizer", "source", "languages", "rows", "mixture"})
"""Settings that have a sentence of their own."""

_DEMO, _HUB = "demo:", "hub:"
"""How the names of bases that come with MAPLE begin, and the identities of those of a hub."""


def library(cell: TrainCell) -> str:
    """The library that loads a product."""
    return "transformers" if cell.method == FULL else "peft"


def body(cell: TrainCell, outcome: TrainOutcome, version: str) -> list[str]:
    """Lines of Markdown: what it was made of, how to load it, its settings.

    Args:
        version: of MAPLE, that trained it.
    """
    settings = {name: value for name, value in _settings(cell).items() if name not in _LEFT_OUT}
    return [
        _summary(cell, outcome, version),
        "",
        f"The base is `{cell.base}`. Its licence and that of the rows apply.",
        "",
        *_use(cell),
        *_table(outcome),
        "## Settings",
        "",
        "| setting | value |",
        "|---|---|",
        *(f"| `{name}` | {quoted(value)} |" for name, value in settings.items()),
        "",
    ]


def _summary(cell: TrainCell, outcome: TrainOutcome, version: str) -> str:
    made = "model" if cell.method == FULL else "adapter"
    data = f"{cell.source} (mixture {cell.mixture})" if cell.mixture else str(cell.source)
    longer = f"{outcome.dropped_rows:,} rows were longer than `max_tokens` and left out. "
    return (
        f"This {made} was trained by MAPLE {version} on {outcome.rows:,} "
        f"rows of {data}: {outcome.steps:,} steps, {outcome.tokens:,} tokens, of which "
        f"{outcome.labelled_tokens:,} were learned. {longer if outcome.dropped_rows else ''}"
        f"The mean training loss was {outcome.loss_first:.3f} nats a token in the first tenth of "
        f"the steps and {outcome.loss_last:.3f} in the last."
    )


def _use(cell: TrainCell) -> list[str]:
    """How to load the folder without MAPLE."""
    imports = ["from transformers import AutoModelForCausalLM"]
    lines = ['model = AutoModelForCausalLM.from_pretrained("this folder")']
    if cell.method != FULL:
        imports.insert(0, "from peft import PeftModel")
        lines = [
            f"base = AutoModelForCausalLM.from_pretrained({_where(cell)})",
            'model = PeftModel.from_pretrained(base, "this folder")',
        ]
        if cell.base_name.startswith(_DEMO):
            imports.insert(0, "from maple.models.files import resolve  # where its bases lie")
    return ["```python", *imports, "", *lines, "```", ""]


def _where(cell: TrainCell) -> str:
    """What transformers loads the base by."""
    name = json.dumps(cell.base_name)
    if cell.base_name.startswith(_DEMO):
        return f"resolve({name}).path"
    if cell.base.startswith(_HUB):
        repo, _, commit = cell.base.removeprefix(_HUB).rpartition("@")
        return f"{json.dumps(repo)}, revision={json.dumps(commit)}"
    return name


def _settings(cell: TrainCell) -> dict[str, object]:
    return {
        name: getattr(cell, name)
        for name in type(cell).__dataclass_fields__
        if getattr(cell, name) is not None
    }


def _table(outcome: TrainOutcome) -> list[str]:
    """Rows and tokens by language, and the loss on rows held out."""
    keys = sorted(outcome.by_language.keys() | outcome.held_out_before.keys())
    if not keys:
        return []
    lines = [
        "| language | rows | tokens seen | held-out rows | their loss before | after |",
        "|---|---|---|---|---|---|",
    ]
    for key in keys:
        count = outcome.by_language.get(key)
        seen = (f"{count.rows:,}", f"{count.tokens:,}") if count else ("–", "–")
        held_out = f"{outcome.held_out_rows[key]:,}" if key in outcome.held_out_rows else "–"
        losses = (_loss(outcome.held_out_before, key), _loss(outcome.held_out_after, key))
        lines.append("| " + " | ".join((key, *seen, held_out, *losses)) + " |")
    if outcome.held_out_dropped:
        left = ", ".join(f"{count:,} {key}" for key, count in outcome.held_out_dropped.items())
        lines += ["", f"Held-out rows longer than `max_tokens`, not measured: {left}."]
    return [*lines, ""]


def _loss(losses: Mapping[str, float], key: str) -> str:
    return f"{losses[key]:.3f}" if key in losses else "–"


def quoted(value: object) -> str:
    """As YAML and tables of Markdown take it, whatever is in it."""
    if isinstance(value, str):
        text = value.replace("\\", "\\\\").replace('"', '\\"').replace("|", "\\|")
        return '"' + " ".join(text.split()) + '"'
    if isinstance(value, tuple):
        return ", ".join(quoted(one) for one in value)
    return str(value)
