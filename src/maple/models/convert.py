"""Child process: dequantise one GGUF file to bfloat16 in transformers' layout.

    python -m maple.models.convert FILE.gguf FOLDER

transformers reads the weights; its conversion of the tokenizer is mended below where it differs
from what the file asks for.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from gguf import GGUFReader
from tokenizers import Regex, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedTokenizerBase,
)

from maple.errors import MapleError, ModelError

_GPT2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
_BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _by_regex(pattern: str) -> pre_tokenizers.PreTokenizer:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    return pre_tokenizers.Sequence([split, _BYTES])


# GGUF files name how byte-level tokenizers split text before merging (`tokenizer.ggml.pre`), and
# transformers gives them all GPT-2's rule. SmolLM2 isolates each digit first ("  12" is two
# spaces, 1, 2 - not space, space-1, 2), so its own rule is put back. The patterns are those of
# the models' own tokenizer.json and of llama.cpp (src/llama-vocab.cpp).
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PRE_TOKENIZERS = {
    "gpt-2": _GPT2,
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _GPT2]),
    "llama-bpe": _by_regex(_WORDS + r"\p{N}{1,3}" + _REST),
    "qwen2": _by_regex(_WORDS + r"\p{N}" + _REST),
}


def convert(gguf_file: Path, folder: Path) -> None:
    """Write config, bfloat16 safetensors and tokenizer of `gguf_file` into `folder`.

    Raises:
        ModelError: the tokenizer splits text by a rule that is not known here.
    """
    tokenizer = AutoTokenizer.from_pretrained(gguf_file.parent, gguf_file=gguf_file.name)
    _mend(tokenizer, GGUFReader(gguf_file), gguf_file)
    tokenizer.save_pretrained(folder)
    _drop_volatile(folder / "tokenizer_config.json")
    # Without dequantize=True the weights would stay packed, and could not be saved.
    model = AutoModelForCausalLM.from_pretrained(
        gguf_file.parent,
        gguf_file=gguf_file.name,
        quantization_config=GgufConfig(dequantize=True),
        dtype=torch.bfloat16,
    )
    model.save_pretrained(folder)


def _mend(tokenizer: PreTrainedTokenizerBase, reader: GGUFReader, gguf_file: Path) -> None:
    """Put the pre-tokenizer in place that the file names; SentencePiece models need none."""
    if _text(reader, "tokenizer.ggml.model") != "gpt2":
        return
    rule = _text(reader, "tokenizer.ggml.pre")
    if rule not in _PRE_TOKENIZERS:
        raise ModelError(f"{gguf_file}: its tokenizer splits text by a rule unknown here: {rule!r}")
    tokenizer.backend_tokenizer.pre_tokenizer = _PRE_TOKENIZERS[rule]


def _text(reader: GGUFReader, key: str) -> str:
    field = reader.get_field(key)
    return str(field.contents()) if field is not None else ""


def _drop_volatile(path: Path) -> None:
    """Remove what says how the tokenizer was loaded; the file is part of its identity."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only"):
        settings.pop(key, None)
    path.write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")


def main() -> int:
    """Run on the command line's two arguments; 1 where the file cannot be converted."""
    gguf_file, folder = (Path(argument) for argument in sys.argv[1:])
    try:
        convert(gguf_file, folder)
    except (MapleError, ValueError, KeyError, RuntimeError, OSError) as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
