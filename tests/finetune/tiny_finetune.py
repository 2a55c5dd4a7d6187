"""Tiny models and a tiny real tokenizer to train for real."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from maple.finetune.encoding import EncodedRow
from maple.models.loading import Loaded
from maple.records import BaseModel, RenderedRow, TrainCell

TEXTS = [
    ("Capital of France?\n", "Paris."),
    ("Capital of Italy?\n", "Rome."),
    ("¿Capital de España?\n", "Madrid, claro que sí."),
    ("日本の首都は?\n", "東京です。"),
    ("2 + 2?\n", "4"),
    ("Write one word.\n", "word"),
    ("Столица России?\n", "Москва, насколько я знаю, уже давно."),
    ("Say nothing.\n", ""),
    ("A long question with a lot of words in it, for the padding?\n", "Yes."),
    ("Capital of Kenya?\n", "Nairobi."),
    ("Capital of Peru?\n", "Lima."),
]


def pair(prompt: str, target: str) -> RenderedRow:
    """A row of a prompt and its learned answer."""
    return RenderedRow(((prompt, False), (target, True)))


PAIRS = [pair(*texts) for texts in TEXTS]

CELL = TrainCell(
    base_name="google/gemma-3-270m",
    base="sha256:base",
    tokenizer="sha256:tokenizer",
    method="lora",
    r=4,
    lora_alpha=8.0,
    lora_dropout=0.1,
    target_modules="all-linear",
    train_bits=32,
    epochs=2.0,
    batch_size=4,
    learning_rate=0.01,
    scheduler="linear",
    warmup_ratio=0.1,
    weight_decay=0.01,
    max_grad_norm=1.0,
    max_tokens=128,
    seed=7,
)


def make_tokenizer(bos: bool = True, eos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE with a few merges that adds BOS and EOS as asked."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([prompt + target for prompt, target in TEXTS], trainer)
    template = ("<s> " if bos else "") + "$A" + (" </s>" if eos else "")
    raw.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",  # noqa: S106  not a secret
        eos_token="</s>",  # noqa: S106
        pad_token="<pad>",  # noqa: S106
    )


def make_model(family: str = "llama") -> PreTrainedModel:
    """Two layers of width 32, seeded; "llama", "gemma3" or "mistral"."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        # The head is frozen: with the usual 0.02 its logits could not leave uniform far behind.
        "initializer_range": 0.3,
    }
    if family == "gemma3":
        # A window shorter than the rows and one global layer, as in the real one.
        config = Gemma3TextConfig(
            **shape,
            head_dim=16,
            sliding_window=8,
            layer_types=["sliding_attention", "full_attention"],
            query_pre_attn_scalar=16,
        )
        return Gemma3ForCausalLM(config).eval()
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(**shape, head_dim=16, sliding_window=8)).eval()
    return LlamaForCausalLM(LlamaConfig(**shape)).eval()


def make_loaded(family: str = "llama", bits: int = 32) -> Loaded:
    """A tiny unquantised base as `maple.models.loading.load` would return it."""
    dtype = torch.float32 if bits == 32 else torch.bfloat16
    model = make_model(family).to(dtype).requires_grad_(False)
    base = BaseModel(CELL.base_name, CELL.base, CELL.tokenizer, source_precision=None, path="")
    return Loaded(base, model, make_tokenizer(), bits, dtype)


def load_plain(model: PreTrainedModel, folder: Path) -> PeftModel:
    """The adapter as PEFT alone loads it."""
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5 renamed.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return PeftModel.from_pretrained(model, folder).eval()


def product(out: Path) -> dict[str, bytes]:
    """Every file of a finished training by name."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def silent(_: Mapping[str, object]) -> None:
    """A listener to progress that does nothing."""


def padded(rows: Sequence[EncodedRow]) -> dict[str, torch.Tensor]:
    """Rows below each other, padded on the right, as any other program trains them.

    Returns:
        input_ids, attention_mask (0 on padding), labels (-100 on padding): [B, longest] each.
    """
    shape = (len(rows), max(len(row.input_ids) for row in rows))
    ids = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100, dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row.input_ids)
        ids[index, :length] = torch.tensor(row.input_ids)
        mask[index, :length] = 1
        labels[index, :length] = torch.tensor(row.labels)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
