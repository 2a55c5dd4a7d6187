from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_finetune import CELL, PAIRS, make_loaded, make_model, make_tokenizer
from torch import nn
from transformers import PreTrainedModel

from maple.finetune.encoding import encode
from maple.finetune.fused import _RmsNorm, fused
from maple.finetune.loss import AnswerLoss
from maple.finetune.methods import attach
from maple.finetune.packing import pack, packed
from maple.finetune.settings import Settings
from maple.models.loading import Loaded, load
from maple.records import BaseModel

ROWS = encode(make_tokenizer(), PAIRS, 128).rows


def settings(dropout: float = 0.0) -> Settings:
    return Settings.of(dataclasses.replace(CELL, lora_dropout=dropout))


def adapted_model(loaded: Loaded) -> PreTrainedModel:
    """With an adapter whose both matrices matter."""
    model = attach(loaded, settings()).model
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


def loss_and_gradients(adapted: PreTrainedModel) -> tuple[float, dict[str, torch.Tensor]]:
    loss = AnswerLoss(adapted)
    with packed(adapted):
        found = loss(pack(ROWS))
        found.backward()
    gradients = {
        name: parameter.grad.clone()
        for name, parameter in adapted.named_parameters()
        if parameter.grad is not None
    }
    adapted.zero_grad()
    return found.item(), gradients


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral"])
def test_losses_and_gradients_are_those_of_the_plain_layers(family: str) -> None:
    adapted = adapted_model(make_loaded(family))
    expected, slopes = loss_and_gradients(adapted)
    with fused(adapted):
        found, ours = loss_and_gradients(adapted)
    assert found == pytest.approx(expected, abs=1e-5)
    assert ours.keys() == slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(ours[name], slope, rtol=1e-4, atol=1e-6)
        assert slope.abs().max() > 0, name


@pytest.mark.parametrize("bits", [4, 16])
def test_so_are_they_on_fewer_bits(bits: int, tmp_path: Path) -> None:
    make_model("gemma3").save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    base = BaseModel(CELL.base_name, CELL.base, CELL.tokenizer, None, str(tmp_path))
    adapted = adapted_model(load(base, bits))
    with torch.autocast("cpu", torch.bfloat16):
        expected, slopes = loss_and_gradients(adapted)
        with fused(adapted):
            found, ours = loss_and_gradients(adapted)
    assert found == pytest.approx(expected, rel=0.01)
    for name, slope in slopes.items():
        assert (ours[name] - slope).norm() < 0.05 * slope.norm(), name


def test_inputs_wider_than_what_autocast_multiplies_in(tmp_path: Path) -> None:
    """As behind a norm that autocast keeps in float32, which on a GPU is every LayerNorm."""
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    base = BaseModel(CELL.base_name, CELL.base, CELL.tokenizer, None, str(tmp_path))
    adapted = adapted_model(load(base, 16))
    layer: Any = adapted.get_submodule("model.layers.0.self_attn.q_proj")
    generator = torch.Generator().manual_seed(0)
    found = []
    for context in (contextlib.nullcontext(), fused(adapted)):
        x = torch.randn(1, 5, 32, generator=generator.manual_seed(0)).requires_grad_()
        with context, torch.autocast("cpu", torch.bfloat16):
            out = layer(x)
        out.float().square().sum().backward()
        assert x.grad is not None
        assert (out.dtype, x.grad.dtype) == (torch.bfloat16, torch.float32)
        found.append((out.detach().float(), x.grad))
    for plain, ours in zip(*found, strict=True):
        assert (ours - plain).norm() < 0.02 * plain.norm()


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_every_norm_and_every_adapted_layer_is_known_and_left_as_it_was(family: str) -> None:
    adapted = adapted_model(make_loaded(family))
    norms = [m for m in adapted.modules() if type(m).__name__.endswith("RMSNorm")]
    layers = [m for m in adapted.modules() if hasattr(m, "lora_A")]
    blocks = [m for m in adapted.modules() if hasattr(m, "act_fn")]
    assert len(norms) == (5 if family == "llama" else 13)
    assert len(layers) == 14
    assert len(blocks) == 2
    with fused(adapted):
        assert all("forward" in vars(module) for module in [*norms, *layers, *blocks])
    assert not any("forward" in vars(module) for module in adapted.modules())


def test_dropout_draws_once_and_only_the_adapter_sees_it() -> None:
    adapted = attach(make_loaded(), settings(dropout=0.5)).model
    layer: Any = adapted.get_submodule("model.layers.0.mlp.down_proj")
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_()
    x = torch.randn(1, 6, 64, requires_grad=True)
    results = []
    for context in (False, True):
        adapted.train()
        torch.manual_seed(3)
        if context:
            with fused(adapted):
                out = layer(x)
        else:
            out = layer(x)
        out.square().sum().backward()
        assert x.grad is not None
        results.append((out.detach(), x.grad.clone(), layer.lora_A["default"].weight.grad.clone()))
        x.grad = None
        adapted.zero_grad()
    for plain, ours in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_several_adapters_at_once_add_up() -> None:
    model = make_model()
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], lora_alpha=6))
    adapted.add_adapter("other", LoraConfig(r=3, target_modules=["q_proj"], lora_alpha=-3))
    adapted.base_model.set_adapter(["default", "other"])
    layer: Any = adapted.get_submodule("base_model.model.model.layers.0.self_attn.q_proj")
    with torch.no_grad():
        for name in ("default", "other"):
            layer.lora_B[name].weight.normal_()
    x = torch.randn(1, 6, 32)
    expected = layer(x)
    with fused(model):
        torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_what_is_more_than_plain_lora_is_left_alone() -> None:
    model = make_model()
    get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], use_dora=True))
    with fused(model):
        layers = [m for m in model.modules() if hasattr(m, "lora_A")]
        assert layers
        assert not any("forward" in vars(layer) for layer in layers)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_a_block_with_a_layer_without_an_adapter_is_left_alone() -> None:
    model = make_model()
    get_peft_model(model, LoraConfig(r=2, target_modules=["gate_proj", "down_proj"]))
    with fused(model):
        changed = [name for name, module in model.named_modules() if "forward" in vars(module)]
    assert "model.layers.0.mlp.gate_proj" in changed
    assert "model.layers.0.mlp" not in changed


class StrangeRMSNorm(nn.Module):
    """Has the name and the parts, and computes something else."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(8), requires_grad=False)
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


def test_a_norm_that_computes_something_else_is_left_alone() -> None:
    model: Any = nn.Sequential(StrangeRMSNorm())
    with fused(model):
        assert "forward" not in vars(model[0])


def test_a_block_that_does_more_than_its_parts_suggest_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapted = adapted_model(make_loaded())
    block = adapted.get_submodule("model.layers.0.mlp")
    plain = block.forward
    monkeypatch.setattr(type(block), "forward", lambda self, x: 2 * plain(x))
    with fused(adapted):
        assert "forward" not in vars(block)


@pytest.mark.parametrize("is_early", [True, False])
def test_the_norms_derivative(is_early: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 7, dtype=torch.float64, requires_grad=True)
    scale = torch.rand(7, dtype=torch.float64)

    def plain(x: torch.Tensor) -> torch.Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * scale

    outer = torch.randn(3, 7, dtype=torch.float64)
    (expected,) = torch.autograd.grad(plain(x), x, outer)
    single = x.detach().float().requires_grad_()
    out = _RmsNorm.apply(single, scale.float(), 1e-3, is_early)
    (found,) = torch.autograd.grad(out, single, outer.float())
    torch.testing.assert_close(out.double(), plain(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
