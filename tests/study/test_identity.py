"""Ids are frozen: the same cell has the same name in every later version."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from maple.records import EvalCell, ScoreCell, TrainCell
from maple.study import identity

GOLDEN = Path(__file__).parents[1] / "golden" / "ids.json"

TRAIN = TrainCell(
    base_name="demo:gemma-3-270m",
    base="sha256:aa",
    tokenizer="sha256:bb",
    method="lora",
    source="multialpaca",
    languages=("jpn_Jpan", "spa_Latn"),
    rows=600,
    data="sha256:cc",
    template="sha256:dd",
    transform="reverse",
    r=8,
    lora_alpha=16.0,
    lora_dropout=0.05,
    target_modules=("k_proj", "q_proj"),
    train_bits=4,
    epochs=2.0,
    batch_size=16,
    learning_rate=3e-4,
    scheduler="linear",
    warmup_ratio=0.03,
    weight_decay=0.01,
    max_grad_norm=1.0,
    max_tokens=512,
    seed=3,
    mixture="more-english",
    template_name="mine",
    options=(("lora_bias", True), ("scale", 0.5)),
    patience=3,
    validation="sha256:22",
    validate_every=40,
)
EVAL = EvalCell(
    train_id="0123456789abcdef",
    eval_bits=8,
    engine="builtin",
    compute_dtype="bfloat16",
    task="xquad",
    dataset="mini",
    subset="zho_Hans",
    items="sha256:ee",
    prompt="native",
    prompt_hash="sha256:ff",
    n_shot=4,
    exemplar_pool="sha256:11",
    exemplar_seed=5,
    decoding="greedy",
    max_new_tokens=48,
    truncation="refuse",
    deterministic=True,
    server_model="gemma-awq",
    exemplar_subset="eng_Latn",
    template="sha256:22",
    template_name="chat",
)
SCORE = ScoreCell("fedcba9876543210", "f1", 2, "mlqa-official:zh")


def test_ids_of_this_version_are_the_golden_ones() -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[str(identity.IDENTITY_VERSION)]
    patient = dataclasses.replace(TRAIN, patience=None, validation=None, validate_every=None)
    bare = dataclasses.replace(EVAL, template=None, template_name=None)
    found = {
        "train with early stopping": identity.train_id(TRAIN),
        "train with options": identity.train_id(patient),
        "train": identity.train_id(dataclasses.replace(patient, options=None)),
        "eval in a training template": identity.eval_id(EVAL),
        "eval with exemplars of another subset": identity.eval_id(bare),
        "eval": identity.eval_id(dataclasses.replace(bare, exemplar_subset=None)),
        "eval without a server's model": identity.eval_id(
            dataclasses.replace(bare, server_model=None, exemplar_subset=None)
        ),
        "eval without later fields": identity.eval_id(
            dataclasses.replace(bare, deterministic=None, server_model=None, exemplar_subset=None)
        ),
        "score": identity.score_id(SCORE),
        "untuned": identity.train_id(TrainCell("x", "sha256:aa", "sha256:bb", "none")),
    }
    assert found == golden


def test_no_field_of_the_fixtures_is_at_its_default() -> None:
    for cell in (TRAIN, EVAL, SCORE):
        for field in dataclasses.fields(cell):
            assert getattr(cell, field.name) != field.default, field.name
            assert getattr(cell, field.name) is not None, field.name


@pytest.mark.parametrize("kind", ["train", "eval", "score"])
def test_every_field_renames_the_cell_unless_it_only_describes(kind: str) -> None:
    cell, name = {
        "train": (TRAIN, identity.train_id),
        "eval": (EVAL, identity.eval_id),
        "score": (SCORE, identity.score_id),
    }[kind]
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        other: object
        if isinstance(value, str):
            other = value + "x"
        elif isinstance(value, tuple):
            other = (*value, "x")
        else:
            other = value + 1
        changed = dataclasses.replace(cell, **{field.name: other})
        renamed = name(changed) != name(cell)  # type: ignore[operator]
        assert renamed == (field.name not in identity.DESCRIPTIVE[kind]), field.name


def test_content_hash_ignores_the_order_of_keys_and_keeps_that_of_lists() -> None:
    assert identity.content_hash({"a": 1, "b": "é"}) == identity.content_hash({"b": "é", "a": 1})
    assert identity.content_hash([1, 2]) != identity.content_hash([2, 1])
