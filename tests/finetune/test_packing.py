from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from tiny_finetune import PAIRS, make_model, make_tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    PreTrainedModel,
)

from maple.errors import ModelError
from maple.finetune import packing
from maple.finetune.encoding import EncodedRow, encode
from maple.finetune.loss import AnswerLoss
from maple.finetune.packing import Layout, pack, packed
from maple.models.cross_entropy import answer_loss
from maple.models.head import body


def squashed() -> PreTrainedModel:
    """Gemma 2, which squashes its attention scores and so has no fused attention."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        sliding_window=8,
        query_pre_attn_scalar=16,
        initializer_range=0.3,
        attn_implementation="eager",
    )
    return Gemma2ForCausalLM(config).eval()


def states(model: PreTrainedModel, *rows: EncodedRow) -> torch.Tensor:
    batch = pack(rows)
    found: torch.Tensor = body(model)(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        layout=batch.layout,
        use_cache=False,
    ).last_hidden_state
    return found[0]


@pytest.mark.parametrize("family", ["llama", "gemma3", "mistral", "gemma2"])
@pytest.mark.parametrize("short", [True, False])
def test_a_row_in_a_pack_is_what_it_is_alone_without_our_attention(
    family: str, monkeypatch: pytest.MonkeyPatch, *, short: bool
) -> None:
    """Rows longer and shorter than the windows of 8 tokens, by either kernel."""
    monkeypatch.setattr(packing, "is_short", lambda *_: short)
    by_ours: list[object] = []
    attend = packing.attend

    def watched(*args: Any) -> torch.Tensor:
        by_ours.append(args)
        return attend(*args)

    monkeypatch.setattr(packing, "attend", watched)
    model = squashed() if family == "gemma2" else make_model(family)
    last = EncodedRow((1, 9, 40, 7), (-100, -100, 40, 7))
    rows = [*encode(make_tokenizer(), PAIRS, 128).rows, last]
    assert max(len(row.input_ids) for row in rows) > 8
    with torch.no_grad():
        alone = torch.cat(
            [
                body(model)(input_ids=torch.tensor([row.input_ids])).last_hidden_state[0]
                for row in rows
            ]
        )
        with packed(model):
            together = states(model, *rows)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert bool(by_ours) == (short and family != "gemma2")


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_model_attends_as_before_afterwards(family: str) -> None:
    model = squashed() if family == "gemma2" else make_model(family)
    plain = model.config._attn_implementation
    with packed(model):
        assert model.config._attn_implementation == f"maple_packed_{plain}"
    assert model.config._attn_implementation == plain


def test_rows_that_influence_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a family whose layers mix neighbours by other means than attention."""
    model = make_model()
    mlp = model.get_submodule("model.layers.0.mlp")
    plain = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda x: plain(x) + x.roll(1, dims=1))
    with pytest.raises(ModelError, match="influence each other"), packed(model):
        pass


def test_a_family_that_attends_in_another_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that leaves out something of what it gives its attention function."""
    plain = packing._attend

    def other(*args: Any, **settings: Any) -> Any:
        return plain(*args, **(settings | {"scaling": 40.0 * settings["scaling"]}))

    monkeypatch.setattr(packing, "_attend", other)
    with pytest.raises(ModelError, match="not known here"), packed(make_model()):
        pass


def test_a_mask_of_the_familys_own_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model()
    decoder: Any = sys.modules[type(model).__module__]
    monkeypatch.setattr(decoder, "create_causal_mask", lambda *_, **__: torch.zeros(1, 1, 1, 1))
    with pytest.raises(ModelError, match="a mask of its own"), packed(model):
        pass


def test_windows_that_only_a_mask_would_tell_end_at_rows_within_them() -> None:
    torch.manual_seed(0)
    config = PhimoeConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        num_local_experts=2,
        sliding_window=12,
    )
    model = PhimoeForCausalLM(config).eval()
    within, beyond = (EncodedRow(tuple(range(3, 3 + length)), ()) for length in (12, 13))
    with torch.no_grad(), packed(model):
        assert states(model, within).shape == (12, 32)
        with pytest.raises(ModelError, match="sees 12 tokens, a row has 13"):
            states(model, within, beyond)


def test_a_model_that_gives_no_numbers_is_named_as_that() -> None:
    model = make_model()
    model.get_parameter("model.layers.1.mlp.down_proj.weight").data[0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"), packed(model):
        pass


def test_the_parts_of_a_pack() -> None:
    rows = [EncodedRow((1, 5, 6), (-100, 5, 6)), EncodedRow((1, 7), (-100, 7))]
    found = pack(rows)
    assert found.input_ids.tolist() == [[1, 5, 6, 1, 7]]
    assert found.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert found.labels.tolist() == [[-100, 5, 6, -100, 7]]
    assert found.labelled_tokens == 3
    layout = found.layout
    assert (layout.longest, layout.width) == (3, 32)
    assert layout.places.tolist() == [0, 1, 2, 32, 33]
    assert layout.tokens.tolist() == [0, 1, *[2] * 30, 3, *[4] * 31]
    assert layout.spare.tolist() == [*range(3, 32), *range(34, 64)]
    below = layout.below(torch.arange(10.0).view(1, 1, 5, 2))
    assert below.shape == (2, 1, 32, 2)
    assert below[:, 0, :3].tolist() == [[[0, 1], [2, 3], [4, 5]], [[6, 7], [8, 9], [8, 9]]]
    assert layout.beside(below.transpose(1, 2)).flatten().tolist() == list(range(10))


def test_a_pack_without_room_behind_its_rows() -> None:
    layout = Layout.of([32, 32])
    assert layout.places.tolist() == layout.tokens.tolist() == list(range(64))
    assert len(layout.spare) == 0


def test_layers_share_a_mask() -> None:
    layout = Layout.of([3, 2])
    like = torch.zeros(1)
    mask = layout.mask(2, like)
    assert layout.mask(2, like) is mask
    assert layout.mask(None, like) is not mask
    assert layout.mask(2, like.bfloat16()).dtype == torch.bfloat16
    seen = (mask[0, 0, :4, :4] == 0).int().tolist()
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert layout.to(torch.device("cpu")).masks == {}


@pytest.mark.parametrize("family", ["llama", "gemma2"])
@pytest.mark.parametrize("lengths", [(2, 40, 5, 32), (32, 32)])
def test_the_gradient_of_a_pack_is_that_of_its_rows(family: str, lengths: tuple[int, ...]) -> None:
    """With room behind rows and without; by our attention, and by a kernel that is given it."""
    model = squashed() if family == "gemma2" else make_model(family)
    written = [tuple(range(3 + row, 3 + row + length)) for row, length in enumerate(lengths)]
    rows = [EncodedRow(ids, (-100, *ids[1:])) for ids in written]
    learned = dict(model.named_parameters())

    def slopes() -> dict[str, torch.Tensor]:
        found = {name: part.grad for name, part in learned.items() if part.grad is not None}
        model.zero_grad()
        return found

    for row in rows:
        ids = torch.tensor([row.input_ids])
        hidden = body(model)(input_ids=ids).last_hidden_state
        answer_loss(model, hidden, torch.tensor([row.labels]), num_items=70).backward()
    alone = slopes()
    with packed(model):
        AnswerLoss(model)(pack(rows), 70).backward()
    together = slopes()
    assert together.keys() == alone.keys()
    for name, slope in alone.items():
        assert slope.abs().max() > 0, name
        torch.testing.assert_close(together[name], slope, rtol=1e-4, atol=1e-6)
