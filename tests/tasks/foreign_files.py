"""Small tasks of lm-evaluation-harness on disk: YAML beside a data file, in our own words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

ANIMALS = [
    {"question": f"Which animal says {sound}?", "options": options, "answer": answer}
    for sound, options, answer in [
        ("moo", ["the cow", "the cat"], 0),
        ("miaow", ["the dog", "the cat"], 1),
        ("woof", ["the dog", "the hen"], 0),
        ("cluck", ["the owl", "the hen"], 1),
        ("hoot", ["the owl", "the pig"], 0),
        ("oink", ["the sheep", "the pig"], 1),
    ]
]
SHOTS = [
    {"question": "Which animal says baa?", "options": ["the sheep", "the cow"], "answer": 0},
    {"question": "Which animal says quack?", "options": ["the cow", "the duck"], "answer": 1},
    {"question": "Which animal says neigh?", "options": ["the horse", "the owl"], "answer": 0},
]

CHOICE: Mapping[str, Any] = {
    "task": "animals",
    "output_type": "multiple_choice",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_choice": "options",
    "doc_to_target": "answer",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True}
        for name in ("acc", "acc_norm")
    ],
    "metadata": {"version": 2.0, "language": "en"},
}
GENERATE: Mapping[str, Any] = {
    "task": "animals_open",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_target": "{{options[answer]}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    "filter_list": [
        {
            "name": "whole",
            "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}],
        },
        {
            "name": "noun",
            "filter": [
                {"function": "regex", "regex_pattern": r"(the \w+)"},
                {"function": "take_first"},
            ],
        },
    ],
    "metadata": {"version": 1.0},
}
CONTINUE: Mapping[str, Any] = {
    "task": "animals_next",
    "output_type": "loglikelihood",
    "doc_to_text": "{{question}}\nAnswer:",
    "doc_to_target": " {{options[answer]}}",
    "metric_list": [
        {"metric": "acc", "aggregation": "mean", "higher_is_better": True},
        {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False},
    ],
    "metadata": {"version": 1.0},
}


def write(
    folder: Path,
    base: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]] = ANIMALS,
    shots: Sequence[Mapping[str, Any]] = SHOTS,
    functions: Mapping[str, str] | None = None,
    **changes: Any,
) -> Path:
    """Write a task and its data into `folder`, which an include path may then name.

    Args:
        folder: made if it is not there.
        base: one of the above; `changes` replace its keys.
        rows, shots: the scored split and the exemplars' one.
        functions: key of the task -> "module.name" of a Python function beside the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = changes.get("task", base["task"])
    files = {}
    for split, docs in (("test", rows), ("validation", shots)):
        path = folder / f"{name}.{split}.jsonl"
        lines = [json.dumps(doc, ensure_ascii=False) + "\n" for doc in docs]
        path.write_text("".join(lines), encoding="utf-8")
        files[split] = str(path)
    config = {
        **base,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": files},
        "test_split": "test",
        "validation_split": "validation",
        "fewshot_split": "validation",
        **changes,
    }
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    text += "".join(f"{key}: !function {name}\n" for key, name in (functions or {}).items())
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder
