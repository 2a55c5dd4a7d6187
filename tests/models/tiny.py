"""Tiny models on disk, with a tiny real tokenizer: two layers, width 32, random weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from maple.models.files import resolve
from maple.models.loading import Loaded, load

FAMILIES = ("llama", "mistral", "gemma2", "gemma3", "qwen2")
WINDOW = 12
TEXT = (
    "the quick brown fox jumps over the lazy dog and runs home. question answer: yes no maybe "
    "una volpe veloce salta sopra il cane pigro, perché no? снова домой, 你好世界 "
) * 20


def tokenizer(folder: Path, *, bos: bool) -> None:
    """Train a byte-level BPE of 400 tokens and save it; <pad> 0, <s> 1, </s> 2."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        [TEXT],
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if bos:
        raw.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    PreTrainedTokenizerFast(
        tokenizer_object=raw,
        bos_token="<s>",  # noqa: S106 - no password
        eos_token="</s>",  # noqa: S106
    ).save_pretrained(folder)


def build(family: str, *, tied: bool = False, **changes: Any) -> PreTrainedModel:
    """A model with random weights, the same for the same arguments."""
    torch.manual_seed(3)
    shape: dict[str, Any] = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "tie_word_embeddings": tied,
        # Wide enough that attention and answers depend on the tokens.
        "initializer_range": 0.3,
    } | changes
    if family == "llama":
        return LlamaForCausalLM(LlamaConfig(**shape))
    if family == "qwen2":
        return Qwen2ForCausalLM(Qwen2Config(**shape))
    if family == "phi3":  # its positions change their meaning behind 64
        rope = {"rope_type": "longrope", "rope_theta": 1e4, "original_max_position_embeddings": 64}
        rope |= {"short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
        return Phi3ForCausalLM(
            Phi3Config(rope_parameters=rope, original_max_position_embeddings=64, **shape)
        )
    if family == "mistral":
        return MistralForCausalLM(MistralConfig(sliding_window=WINDOW, head_dim=8, **shape))
    if family == "gemma2":
        return Gemma2ForCausalLM(
            Gemma2Config(
                sliding_window=WINDOW,
                head_dim=8,
                query_pre_attn_scalar=8,
                attn_logit_softcapping=2.0,
                final_logit_softcapping=5.0,
                layer_types=["sliding_attention", "full_attention"],
                **shape,
            )
        )
    return Gemma3ForCausalLM(
        Gemma3TextConfig(
            sliding_window=WINDOW,
            head_dim=8,
            query_pre_attn_scalar=8,
            layer_types=["sliding_attention", "full_attention"],
            **shape,
        )
    )


def saved(folder: Path, family: str = "llama", **changes: Any) -> Path:
    """A model folder in transformers' layout."""
    build(family, **changes).save_pretrained(folder)
    tokenizer(folder, bos=family != "llama")
    return folder


def loaded(folder: Path, family: str = "llama", bits: int = 32, **changes: Any) -> Loaded:
    """The same, resolved and loaded."""
    return load(resolve(str(saved(folder, family, **changes))), bits)


def write_adapter(
    folder: Path, seed: int, *, zero: bool = False, hidden: int = 32, **settings: Any
) -> Path:
    """A LoRA adapter with random weights on the tiny Gemma; `zero`: as before training.

    Whatever is trained beside the matrices (heads, biases) is random as well.
    """
    model = build("gemma3", hidden_size=hidden, attention_bias="bias" in settings)
    torch.manual_seed(seed)
    config: dict[str, Any] = {
        "r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.5,
        "target_modules": ["q_proj", "down_proj"],
        "task_type": "CAUSAL_LM",
    } | settings
    with warnings.catch_warnings():
        # PEFT 0.21 reads a property that transformers 5 renamed; it warns of saved embeddings.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers`", UserWarning)
        tuned = get_peft_model(model, LoraConfig(**config))
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad and "lora_A" not in name and not zero:
                torch.nn.init.normal_(parameter, std=0.5)
        tuned.save_pretrained(folder)
    return folder
