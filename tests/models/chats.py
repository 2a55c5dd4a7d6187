"""Tokenizers with chat templates in the manner of well-known families, written for these tests."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CHATML = """
{%- for message in messages -%}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}
"""

GEMMA = """
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'system' -%}{{ raise_exception('no scene, please') }}{%- endif -%}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('roles must take turns') }}
{%- endif -%}
{%- set role = 'model' if message.role == 'assistant' else message.role -%}
{{ '<start_of_turn>' + role + '\n' + message.content | trim + '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}
"""

LLAMA = """
{%- for message in messages -%}
{%- if message.role == 'user' -%}
{{ bos_token + '[INST] ' + message.content + ' [/INST]' }}
{%- elif message.role == 'assistant' -%}
{{ ' ' + message.content + ' ' + eos_token }}
{%- else -%}
{{ '<<' + message.content + '>>\n' }}
{%- endif -%}
{%- endfor -%}
"""

MISTRAL = """
{{- bos_token -}}
{%- for message in messages -%}
{%- if message.role == 'user' -%}{{ '[INST] ' + message.content + '[/INST]' }}
{%- elif message.role == 'assistant' -%}{{ ' ' + message.content + eos_token }}
{%- else -%}{{ raise_exception('Only user and assistant roles are supported!') }}
{%- endif -%}
{%- endfor -%}
"""

FORGETFUL = """
{%- for message in messages -%}
{%- if message.role == 'assistant' and not loop.last -%}{{ 'Bot: ...\n' }}
{%- else -%}{{ message.role + ': ' + message.content + '\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'assistant: ' }}{%- endif -%}
"""
"""Leaves out what was said earlier."""

# Template, does the tokenizer add BOS, BOS, EOS.
FAMILIES = {
    "chatml": (CHATML, False, "<|im_start|>", "<|im_end|>"),
    "gemma": (GEMMA, True, "<s>", "</s>"),
    "llama": (LLAMA, True, "<s>", "</s>"),
    "mistral": (MISTRAL, True, "<s>", "</s>"),
    "forgetful": (FORGETFUL, True, "<s>", "</s>"),
}
_SPECIAL = [
    "<pad>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<start_of_turn>",
    "<end_of_turn>",
]


def tokenizer(family: str, merges: int = 0) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer of a family; without merges every byte is a token."""
    template, adds_bos, bos, eos = FAMILIES[family]
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + len(_SPECIAL) + merges,
        special_tokens=_SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([f"user\nassistant {template} the answer is the river. " * 9], trainer)
    steps: list[processors.PostProcessor] = [processors.ByteLevel(trim_offsets=False)]
    if adds_bos:
        added = [(bos, raw.token_to_id(bos))]
        steps.append(processors.TemplateProcessing(single=f"{bos} $A", special_tokens=added))
    raw.post_processor = processors.Sequence(steps)
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token=bos, eos_token=eos)
    made.chat_template = template
    return made
