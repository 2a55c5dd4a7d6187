"""Formulas by values worked out by hand, and the activations by what autograd really keeps."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.helpers import disable_input_dtype_casting
from transformers import LlamaConfig, LlamaForCausalLM

from maple.finetune import packing
from maple.finetune.encoding import EncodedRow
from maple.finetune.fused import fused
from maple.finetune.loss import AnswerLoss
from maple.finetune.packing import pack, packed
from maple.models import products
from maple.models.architecture import Architecture, known, of_config
from maple.sweep import costs
from maple.sweep.costs import Tuning


def llama() -> Architecture:
    shape = known("meta-llama/Llama-2-7b-hf")
    assert shape is not None
    return shape


TUNING = Tuning(4, 8, "all-linear", dropout=True)


@pytest.mark.parametrize(
    ("bits", "size"),
    [
        # 6,476,005,376 weights of 1/2 byte, a byte each 64 and 4 bytes each 16,384; then the
        # embeddings, the head and 65 norms, 262,410,240 values of 2 bytes
        (4, 3_238_002_688 + 101_187_584 + 1_581_056 + 524_820_480),
        # a byte a weight, 4 bytes a row: 32 layers of 4 x 4096 + 2 x 11008 + 4096 rows
        (8, 6_476_005_376 + 4 * 32 * 42_496 + 524_820_480),
        (16, 2 * 6_738_415_616),
        (32, 4 * 6_738_415_616),
    ],
)
def test_the_weights_of_llama_2_7b(bits: int, size: int) -> None:
    assert costs.weight_bytes(llama(), bits) == size


def test_an_adapter_and_its_state() -> None:
    tuning = replace(TUNING, r=64)
    assert costs.adapter_parameters(llama(), tuning) == 64 * 2_498_560
    assert costs.adapter_bytes(llama(), tuning) == 639_631_360
    # weight, gradient and two moments of 4 bytes, and autocast's copy of 2
    assert costs.state_bytes(llama(), tuning) == 18 * 159_907_840
    assert costs.state_bytes(llama(), replace(tuning, bits=32)) == 16 * 159_907_840


def test_listed_modules_are_adapted_alone() -> None:
    tuning = replace(TUNING, targets=("self_attn.q_proj", "v_proj"))
    assert costs.adapter_parameters(llama(), tuning) == 32 * 8 * 2 * (4096 + 4096)


def test_the_activations_of_a_token_of_llama_2_7b() -> None:
    norms = 2 * 2 * 4096 + 2 * 4
    attention = 2 * 4 * 4096 + 4 * 32
    feed_forward = 2 * 3 * 11008
    dropped = (2 + 1) * (6 * 4096 + 11008)
    layer = norms + attention + feed_forward + dropped + 2 * 8 * 7
    assert costs.activation_bytes(llama(), TUNING, checkpointing=False) == 32 * layer
    assert costs.activation_bytes(llama(), TUNING, checkpointing=True) == 32 * 2 * 4096 + layer
    # LLM.int8 keeps what its three kinds of frozen matrices read, beside the dropped copies.
    eight = costs.activation_bytes(llama(), replace(TUNING, bits=8), checkpointing=False)
    assert eight == 32 * (layer + 2 * (4096 + 4096 + 11008))


def test_the_operations_of_a_token_of_llama_2_7b() -> None:
    def training(tokens: float, labelled: float, row: float) -> float:
        return costs.training_operations(llama(), TUNING, tokens, labelled, row)

    frozen, adapter = 4 * 6_476_005_376, 6 * 8 * 2_498_560
    assert training(1, 0, 0) == frozen + adapter
    assert training(1, 1, 0) - training(1, 0, 0) == 4 * 32_000 * 4096
    # In a row of 1,000 tokens one sees 500 on average: scores and values, forward and twice back.
    assert training(1, 0, 1000) - training(1, 0, 0) == 3 * 4 * 32 * 4096 * 500
    again = costs.recomputed_operations(llama(), TUNING, 1, 0)
    assert again == 2 * 6_476_005_376 + 2 * 8 * 2_498_560
    assert costs.answering_operations(llama(), None, 1, 0, 0) == 2 * 6_476_005_376
    assert costs.answering_operations(llama(), TUNING, 1, 1, 0) == again + 2 * 32_000 * 4096


def test_hours_are_operations_by_a_share_of_the_peak() -> None:
    assert costs.hours(3600 * 50e12, costs.Card("c", 100e12), 0.5) == 1.0


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("bits", [4, 8, 16, 32])
def test_as_many_rows_fit_as_the_memory_holds(bits: int, *, checkpointing: bool) -> None:
    tuning = replace(TUNING, bits=bits)
    memory = 40 * 10**9
    rows = costs.rows_that_fit(llama(), tuning, memory, 512, checkpointing=checkpointing)

    def needed(count: int) -> int:
        tokens = 512 * count
        return costs.training_bytes(llama(), tuning, tokens, tokens, checkpointing=checkpointing)

    assert needed(rows) <= memory < needed(rows + 1)


def test_a_base_larger_than_the_card_does_not_fit() -> None:
    tuning = replace(TUNING, bits=32)
    assert costs.rows_that_fit(llama(), tuning, 24 * 10**9, 8, checkpointing=True) == 0


@pytest.mark.parametrize(
    ("targets", "kv_heads", "dropout"),
    [("all-linear", 4, 0.0), ("all-linear", 2, 0.05), (("q_proj", "v_proj"), 2, 0.0)],
)
def test_autograd_keeps_what_the_formula_says(
    targets: str | tuple[str, ...],
    kv_heads: int,
    dropout: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As on a GPU; a CPU keeps probabilities, and without bfloat16 products states in float32.
    monkeypatch.setattr(packing, "is_short", lambda *_: False)
    monkeypatch.setattr(products, "are_slow", lambda: False)
    tokens, r = 64, 8
    kept = [_kept(layers, kv_heads, dropout, targets, tokens, r) for layers in (1, 3)]
    shape = of_config(_config(1, kv_heads).to_dict())
    assert shape is not None
    tuning = Tuning(16, r, targets, dropout=dropout > 0)
    expected = tokens * costs.activation_bytes(shape, tuning, checkpointing=False)
    expected += 2 * costs.adapter_parameters(shape, tuning)
    if dropout:
        # On the CPU a mask has the width of what it hides; on a GPU it is a byte.
        adapted = shape.linears if targets == "all-linear" else ("q_proj", "v_proj")
        expected += tokens * sum(shape.linears[name][1] for name in adapted)
    assert (kept[1] - kept[0]) / 2 == expected


def _config(layers: int, kv_heads: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        head_dim=16,
        vocab_size=100,
    )


def _kept(
    layers: int,
    kv_heads: int,
    dropout: float,
    targets: str | tuple[str, ...],
    tokens: int,
    r: int,
) -> int:
    """Bytes that a forward pass keeps for the backward one, parameters not counted."""
    model = LlamaForCausalLM(_config(layers, kv_heads)).to(torch.bfloat16)
    model.requires_grad_(requires_grad=False)
    modules = targets if isinstance(targets, str) else list(targets)
    lora = LoraConfig(r=r, lora_dropout=dropout, target_modules=modules, task_type="CAUSAL_LM")
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # PEFT's own
        adapted = get_peft_model(model, lora).train()
    own = {parameter.untyped_storage().data_ptr() for parameter in adapted.parameters()}
    found: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            found[place] = tensor
        return tensor

    ids = tuple(token % 100 for token in range(tokens))
    with (
        torch.autocast("cpu", torch.bfloat16),
        disable_input_dtype_casting(adapted),
        packed(model),
        fused(model),
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        loss = AnswerLoss(model)(pack([EncodedRow(ids, (-100, *ids[1:]))]))
    assert loss is not None
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())
