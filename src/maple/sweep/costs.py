"""What training and answering cost, from the shape of a base: formulas, no measurement.

Sizes are in bytes, 1 GB is 10^9 of them; an addition and a multiplication are two operations.
Letters: H hidden width, I intermediate width, Q width of all queries, K of all keys, V words of the
vocabulary, r rank, T tokens of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maple.models.architecture import Architecture

# A response row takes some 100 bytes compressed, a score row some 20 in each of several metrics;
# each cell is half a dozen small files, which take whole disk blocks.
BYTES_PER_ANSWER = 300
BYTES_PER_CELL = 50_000
ADAPTER_COPIES = 7
"""Adapter in float32 once finished; while training two checkpoints, each with Adam's moments."""

RESERVE = 1_500_000_000
"""Bytes of a card that are not ours: the CUDA context, libraries' workspaces, fragments."""

_NF4 = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes a weight: half a byte, an 8-bit scale each 64, a 32-bit scale of scales each 256 of these
(Dettmers et al. 2023, arXiv 2305.14314, section 3: 4.127 bits)."""

_STATE = 16
"""Bytes of a trained parameter: weight, gradient and AdamW's two moments, float32 each."""

_CAST = 2
"""Bytes of the bfloat16 copy of it that autocast keeps until the backward pass is done."""

_HEAD_BLOCKS = 2 * 2 * 2**20
"""Two blocks of float32 logits, as `maple.models.head` makes them: 256 rows by 2,048 words."""

_HEAD_ROWS = 256


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU.

    Attributes:
        peak: operations a second in bfloat16 with float32 sums, dense, by its data sheet.
    """

    name: str
    peak: float


CARDS = (
    # NVIDIA L4 data sheet: 242 TFLOPS with sparsity, half of it without
    Card("L4", 121e12),
    # NVIDIA Ada architecture white paper, table of the RTX 4090
    Card("RTX 4090", 165.2e12),
    # NVIDIA A100 data sheet; the cards of 40 and of 80 GB compute alike
    Card("A100", 312e12),
)

MEMORIES = (24 * 10**9, 40 * 10**9, 80 * 10**9)
"""Bytes of common cards by their names: an L4 or RTX 4090, and the two A100. They have a little
more."""

SHARES = {4: 0.30, 8: 0.15, 16: 0.40, 32: 0.05}
"""Assumed share of a card's peak that training and reading prompts reach, by bits: 16 as well-kept
trainers of 7B models report; 4 pays for making bfloat16 of each weight at each use; 8 for splitting
each product in two (Dettmers et al. 2022, arXiv 2208.07339, appendix D: slower than 16 bits below
some 13B); 32 has no tensor cores."""

WRITING_SHARES = {4: 0.02, 8: 0.015, 16: 0.05, 32: 0.01}
"""As `SHARES`, while an answer is written token by token: the memory's speed decides, not the
peak. 5 % is 32 sequences at 25 ms a token (7B, A100)."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """What of a train cell decides about memory and operations.

    Attributes:
        bits: of the frozen base.
        r: rank of LoRA's matrices.
        targets: names of modules, or "all-linear".
        dropout: whether LoRA's inputs are dropped at random.
    """

    bits: int
    r: int
    targets: str | Sequence[str]
    dropout: bool


def weight_bytes(shape: Architecture, bits: int) -> int:
    """A base in memory: the layers' matrices at `bits`, embeddings, head and norms at 16 (or 32).

    Args:
        bits: 4 NF4 with double quantisation; 8 LLM.int8: a byte a weight and a float32 scale a row;
            16; 32.
    """
    if bits == 4:
        linear = shape.linear_parameters * _NF4
    elif bits == 8:
        rows = shape.layers * sum(rows for rows, _ in shape.linears.values())
        linear = float(shape.linear_parameters + 4 * rows)
    else:
        linear = shape.linear_parameters * bits / 8
    return round(linear + shape.other_parameters * (4 if bits == 32 else 2))


def adapter_parameters(shape: Architecture, tuning: Tuning) -> int:
    """LoRA's parameters: r x (outputs + inputs) of each adapted matrix (Hu et al. 2021)."""
    adapted = _adapted(shape, tuning).values()
    return shape.layers * tuning.r * sum(rows + columns for rows, columns in adapted)


def adapter_bytes(shape: Architecture, tuning: Tuning) -> int:
    """Size of the adapter's file: float32, headers not counted."""
    return 4 * adapter_parameters(shape, tuning)


def state_bytes(shape: Architecture, tuning: Tuning) -> int:
    """Adapter, its gradient and AdamW's two moments, all float32; below 32 bits a bfloat16 copy."""
    copies = 0 if tuning.bits == 32 else _CAST
    return (_STATE + copies) * adapter_parameters(shape, tuning)


def activation_bytes(shape: Architecture, tuning: Tuning, *, checkpointing: bool) -> int:
    """What one token keeps for the backward pass under bfloat16 autocast.

    A layer keeps, frozen matrices needing none of their inputs: the input of its two norms (2H)
    with a factor in float32 (4); rotated queries and keys, values and the attention's result (2
    bytes each of Q, K, K, Q) with a factor a head (4); the gate before and after its squashing and
    what it is multiplied with (2I each), or only what these are made from; the input of each
    adapted matrix, 2 bytes a value and, with dropout, another for its mask and a copy of its own
    for each matrix; and LoRA's r values between its two matrices. LLM.int8 keeps all inputs of
    frozen matrices beside that.

    Args:
        checkpointing: layers keep their input alone (2H), and one of them at a time the rest.
    """
    width = 4 if tuning.bits == 32 else 2
    adapted = _adapted(shape, tuning)
    # A block whose last layer has an adapter makes its product again (`finetune.fused`).
    is_fused = "down_proj" in adapted and not tuning.dropout and tuning.bits != 8
    vectors = 2 * shape.queries + 2 * shape.keys + (2 if is_fused else 3) * shape.intermediate
    fixed = 2 * width * shape.hidden + 8 + width * vectors + 4 * shape.heads
    # What several matrices read is kept once; the attention's result is counted above.
    read = {_INPUT_OF[name]: columns for name, (_, columns) in shape.linears.items()}
    kept = set(read) if tuning.bits == 8 else {_INPUT_OF[name] for name in adapted}
    if tuning.dropout and tuning.bits != 8:
        kept = set()
    counted = {"attention", _INPUT_OF["down_proj"]} if is_fused else {"attention"}
    inputs = width * sum(read[name] for name in kept - counted)
    if tuning.dropout:
        inputs += (width + 1) * sum(columns for _, columns in adapted.values())
    layer = fixed + inputs + width * tuning.r * len(adapted)
    if checkpointing:
        return shape.layers * width * shape.hidden + layer
    return shape.layers * layer


def head_bytes(shape: Architecture, labelled: int, bits: int) -> int:
    """The blockwise head's buffers: states and gradient of each labelled token, and its blocks."""
    width = 4 if bits == 32 else 2
    rows = min(labelled, _HEAD_ROWS)
    return 2 * width * labelled * shape.hidden + 2 * 4 * rows * shape.hidden + _HEAD_BLOCKS


def matrix_bytes(shape: Architecture, bits: int) -> int:
    """The largest matrix of a layer in bfloat16: what a quantised base is unpacked into."""
    if bits in (16, 32):
        return 0
    return 2 * max(rows * columns for rows, columns in shape.linears.values())


def resident_bytes(shape: Architecture, tuning: Tuning) -> int:
    """What training holds whatever the batch: base, adapter with its state, unpacking, reserve."""
    return (
        weight_bytes(shape, tuning.bits)
        + state_bytes(shape, tuning)
        + matrix_bytes(shape, tuning.bits)
        + RESERVE
    )


def training_bytes(
    shape: Architecture, tuning: Tuning, tokens: int, labelled: int, *, checkpointing: bool
) -> int:
    """Peak memory of training with batches of so many tokens that go through the model together."""
    kept = tokens * activation_bytes(shape, tuning, checkpointing=checkpointing)
    return resident_bytes(shape, tuning) + kept + head_bytes(shape, labelled, tuning.bits)


def rows_that_fit(
    shape: Architecture, tuning: Tuning, memory: int, row_tokens: int, *, checkpointing: bool
) -> int:
    """Rows of `row_tokens` tokens, all of them labelled, that train together; 0: not even one."""
    one = training_bytes(shape, tuning, row_tokens, row_tokens, checkpointing=checkpointing)
    two = training_bytes(shape, tuning, 2 * row_tokens, 2 * row_tokens, checkpointing=checkpointing)
    return max(0, 1 + (memory - one) // (two - one))


def training_operations(
    shape: Architecture, tuning: Tuning, tokens: float, labelled: float, row_tokens: float
) -> float:
    """Operations of training on `tokens` tokens without gradient checkpointing.

    Frozen matrices: 2 a weight forward, 2 backward (no gradient of the weights); LoRA's: 2 and 4;
    causal attention over half a row on average: 4 Q T / 2 a layer forward, twice that backward; the
    head: two products with V x H for each labelled token, its gradient taken at once.

    Args:
        row_tokens: mean length of a row.
    """
    forward = 2 * shape.linear_parameters + _attention(shape, row_tokens)
    backward = 2 * shape.linear_parameters + 2 * _attention(shape, row_tokens)
    adapter = 6 * adapter_parameters(shape, tuning)
    head = 4 * shape.vocabulary * shape.hidden
    return tokens * (forward + backward + adapter) + labelled * head


def recomputed_operations(
    shape: Architecture, tuning: Tuning, tokens: float, row_tokens: float
) -> float:
    """What gradient checkpointing adds: the layers' forward pass once more."""
    adapter = 2 * adapter_parameters(shape, tuning)
    return tokens * (2 * shape.linear_parameters + adapter + _attention(shape, row_tokens))


def answering_operations(
    shape: Architecture, tuning: Tuning | None, tokens: float, scored: float, row_tokens: float
) -> float:
    """Operations of reading or writing `tokens` tokens, of which `scored` meet the vocabulary.

    Args:
        tuning: of the adapter that answers, unmerged; None for the untuned base.
    """
    adapter = 2 * adapter_parameters(shape, tuning) if tuning else 0
    layers = 2 * shape.linear_parameters + adapter + _attention(shape, row_tokens)
    return tokens * layers + scored * 2 * shape.vocabulary * shape.hidden


def hours(operations: float, card: Card, share: float) -> float:
    """Hours on a card that reaches a share of its peak."""
    return operations / (card.peak * share) / 3600


_INPUT_OF: Mapping[str, str] = {
    "q_proj": "norm",
    "k_proj": "norm",
    "v_proj": "norm",
    "o_proj": "attention",
    "gate_proj": "second norm",
    "up_proj": "second norm",
    "down_proj": "gated",
}
"""What each matrix of a layer reads."""


def _adapted(shape: Architecture, tuning: Tuning) -> Mapping[str, tuple[int, int]]:
    if isinstance(tuning.targets, str):
        return shape.linears
    named = {target.rpartition(".")[2] for target in tuning.targets}
    return {name: size for name, size in shape.linears.items() if name in named}


def _attention(shape: Architecture, row_tokens: float) -> float:
    """Scores and weighed values of one token, which sees half of its row on average."""
    return 4 * shape.layers * shape.queries * row_tokens / 2
