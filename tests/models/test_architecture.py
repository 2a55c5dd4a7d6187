"""Shapes of bases: the table's by published counts, others by their config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from maple.models.architecture import known, of_base, of_config
from maple.records import BaseModel

LLAMA, MISTRAL = "meta-llama/Llama-2-7b-hf", "mistralai/Mistral-7B-v0.1"
CONFIG = {
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 100,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize(
    ("name", "parameters", "by_rank"),
    [(LLAMA, 6_738_415_616, 2_498_560), (MISTRAL, 7_241_732_096, 2_621_440)],
)
def test_well_known_bases_have_the_published_numbers_of_parameters(
    name: str, parameters: int, by_rank: int
) -> None:
    shape = known(name)
    assert shape is not None
    assert shape.linear_parameters + shape.other_parameters == parameters
    # The paper's bases with LoRA on all linear layers: trainable parameters are this times r.
    assert shape.layers * sum(map(sum, shape.linears.values())) == by_rank


def test_a_revision_has_the_shape_of_its_model_and_an_unknown_model_none() -> None:
    assert known(f"{LLAMA}@abc") == known(LLAMA)
    assert known("org/unknown") is None


def test_a_config_states_a_shape() -> None:
    shape = of_config(CONFIG)
    assert shape is not None
    assert (shape.queries, shape.keys, shape.head_dim, shape.tied) == (64, 32, 16, False)
    # q and o 64 x 64, k and v 32 x 64, gate, up and down 160 x 64
    assert shape.linear_parameters == 2 * (2 * 64 * 64 + 2 * 32 * 64 + 3 * 160 * 64)
    # embeddings and head, two norms a layer and one behind
    assert shape.other_parameters == 2 * 100 * 64 + 5 * 64


def test_what_a_family_leaves_out_is_its_default() -> None:
    gemma = of_config({**CONFIG, "model_type": "gemma3_text", "head_dim": 32})
    assert gemma is not None
    assert (gemma.tied, gemma.queries) == (True, 128)
    nested = of_config({"text_config": CONFIG, "tie_word_embeddings": True})
    assert nested is not None
    assert nested.tied


@pytest.mark.parametrize(
    "change", [{"model_type": "gpt2"}, {"vocab_size": None}, {"hidden_size": "64"}]
)
def test_other_families_and_incomplete_files_have_no_shape(change: dict[str, object]) -> None:
    assert of_config({**CONFIG, **change}) is None


def test_a_base_without_files_has_no_shape_and_one_with_files_its_own(tmp_path: Path) -> None:
    assert of_base(BaseModel("scripted:hash", "i", "t", None, "")) is None
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    assert of_base(BaseModel("m", "i", "t", None, str(tmp_path))) == of_config(CONFIG)
