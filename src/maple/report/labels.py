"""Names and numbers as people read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

from maple.analysis.estimates import Estimate
from maple.languages import language
from maple.records import TrainCell
from maple.study.methods import METHODS
from maple.study.setups import translation

MINUS = "\N{MINUS SIGN}"
UP, DOWN = "▲", "▼"
ERROR_RATE = 0.05
"""Below this a corrected p-value counts."""
_STEPS = ("learning_rate", "options")
"""Fields that are told of every table's methods, and in a label where they tell cells apart."""


Told = frozenset[tuple[str, str]]
"""(method, field of `_STEPS`) that labels must tell."""


def differing(cells: Iterable[TrainCell]) -> Told:
    """What of `_STEPS` a study varies within a method."""
    seen: dict[tuple[str, str], set[object]] = {}
    for cell in cells:
        for name in _STEPS:
            seen.setdefault((cell.method, name), set()).add(getattr(cell, name))
    return frozenset(key for key, values in seen.items() if len(values) > 1)


def cell_label(cell: TrainCell, eval_bits: int, told: Told = frozenset()) -> str:
    """ "untuned, 4 bits" or "LoRA r=8, 4 bits, mini, seed 0".

    Args:
        told: from `differing`.
    """
    if cell.train_bits in {None, eval_bits}:
        bits = f"{eval_bits} bits"
    else:
        bits = f"trained in {cell.train_bits} bits, evaluated in {eval_bits}"
    return ", ".join([method_label(cell, told), bits, *_origin(cell)])


def train_label(cell: TrainCell, told: Told = frozenset()) -> str:
    """A train cell without a word on its evaluation."""
    bits = [] if cell.train_bits is None else [f"{cell.train_bits} bits"]
    return ", ".join([method_label(cell, told), *bits, *_origin(cell)])


def method_label(cell: TrainCell, told: Told = frozenset()) -> str:
    """ "untuned", "LoRA r=8", "LoRA r=8 (learning rate 0.0003)", "adapter my-folder"."""
    return _method(cell, told, "" if cell.r is None else f" r={cell.r}")


def kind_label(cell: TrainCell, told: Told = frozenset()) -> str:
    """ "LoRA", "LoRA (learning rate 0.0003)": a method whatever the rank."""
    return _method(cell, told, "")


def _method(cell: TrainCell, told: Told, rank: str) -> str:
    if cell.method == "adapter":
        return f"adapter {PurePath(cell.source or '').name}"
    name = METHODS[cell.method].label + rank
    steps = [text for field, text in _steps(cell).items() if (cell.method, field) in told]
    return f"{name} ({', '.join(steps)})" if steps else name


def bits_label(cell: TrainCell, eval_bits: int) -> str:
    """ "4", or "16 → 4" where training and evaluation differ."""
    if cell.train_bits in {None, eval_bits}:
        return str(eval_bits)
    return f"{cell.train_bits} → {eval_bits}"


def steps_label(cells: Sequence[TrainCell]) -> str:
    """What sets the size of the steps of cells that differ in r at most.

    "LoRA, lora_alpha = 2r, learning rate 0.0003": without it, nothing follows from a slope over r.
    """
    steps = [METHODS[cells[0].method].label]
    alphas = {(cell.lora_alpha, cell.r) for cell in cells if cell.lora_alpha and cell.r}
    ratios = {alpha / r for alpha, r in alphas}
    if len(ratios) == 1:
        ratio = ratios.pop()
        steps.append(f"lora_alpha = {'' if ratio == 1 else f'{ratio:g}'}r")
    elif alphas:
        values = sorted({alpha for alpha, _ in alphas})
        steps.append(f"lora_alpha = {', '.join(f'{alpha:g}' for alpha in values)}")
    return ", ".join([*steps, *_steps(cells[0]).values()])


def _steps(cell: TrainCell) -> dict[str, str]:
    found = {}
    if cell.learning_rate is not None:
        found["learning_rate"] = f"learning rate {cell.learning_rate:g}"
    if cell.options:
        found["options"] = ", ".join(f"{name} = {value}" for name, value in cell.options)
    return found


def data_label(source: str | None, mixture: str | None) -> str:
    """ "multialpaca", "multialpaca, more-english"; "" for the untuned base."""
    return ", ".join(name for name in (source, mixture) if name)


def trained_on(cell: TrainCell) -> str:
    """`data_label` with the training template: "multialpaca, more-english, template chat"."""
    data = data_label(cell.source, cell.mixture)
    # Cells of earlier versions, which had no template but the plain one, do not name it.
    plain = cell.template_name in {None, "plain"}
    return data if plain else f"{data}, template {cell.template_name}"


def subset_label(subset: str, key: str, shared: bool) -> str:
    """The language's name; with the subset's own where several subsets share the language."""
    origin = translation(subset)
    if origin is not None:
        return (
            f"{language(origin[0].partition('.')[0]).name} in {language(key).name} by {origin[1]}"
        )
    name = language(key).name
    return f"{name} ({subset})" if shared else name


def points(value: float) -> str:
    """A score of 0 to 1 as points of 100, one decimal."""
    return f"{_rounded(value):.1f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference of scores in points, its sign always written; 0.0 has none."""
    rounded = _rounded(value)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", MINUS)


def signed_two(value: float) -> str:
    """A number with its sign and two decimals; 0.00 has none."""
    rounded = round(value, 2) + 0.0
    return "0.00" if rounded == 0 else f"{rounded:+.2f}".replace("-", MINUS)


def nats(value: float | None) -> str:
    """A loss, three decimals; a dash if unknown."""
    return "–" if value is None else f"{value:.3f}"


def signed_nats(value: float) -> str:
    """A difference of losses, its sign always written; 0.000 has none."""
    rounded = round(value, 3)
    return "0.000" if rounded == 0 else f"{rounded:+.3f}".replace("-", MINUS)


def interval(estimate: Estimate, *, sign: bool = False) -> str:
    """ "[48.1, 60.0]"; "" where there is no interval.

    Where it excludes 0 by less than a decimal shows, that end has more: "[+0.04, +3.1]".
    """
    if estimate.low is None or estimate.high is None:
        return ""
    shown = signed if sign else points
    if sign and direction(estimate):
        shown = _beside_zero
    return f"[{shown(estimate.low)}, {shown(estimate.high)}]"


def _beside_zero(value: float) -> str:
    exact = round(100 * value, 3)
    if signed(value) != "0.0" or exact == 0:
        return signed(value)
    return f"{exact:+.1g}".replace("-", MINUS)


def direction(estimate: Estimate) -> str:
    """A triangle up or down where the interval lies wholly above or below 0, else ""."""
    if estimate.low is not None and estimate.low > 0:
        return UP
    if estimate.high is not None and estimate.high < 0:
        return DOWN
    return ""


def mark(estimate: Estimate | None, adjusted: float | None) -> str:
    """`direction`, doubled where the p-value is below 0.05 after correction, too."""
    sign = "" if estimate is None else direction(estimate)
    return 2 * sign if sure(adjusted) else sign


def sure(adjusted: float | None) -> bool:
    """Whether a corrected p-value counts."""
    return adjusted is not None and adjusted < ERROR_RATE


def seconds(value: float | None) -> str:
    """ "0.4 s", "12 s", "3 min 20 s", "2 h 05 min"; a dash if unknown."""
    if value is None:
        return "–"
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(value: float | None) -> str:
    """Bytes as MB of 10**6; a dash if unknown."""
    return "–" if value is None else f"{value / 1e6:,.1f} MB"


def count(value: float | None) -> str:
    """A whole number with commas; a dash if unknown."""
    return "–" if value is None else f"{value:,.0f}"


def percent(share: float) -> str:
    """A share of 0 to 1 in percent, one decimal."""
    return f"{100 * share:.1f} %"


def plural(number: int, noun: str) -> str:
    """ "1 adapter", "2 adapters"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def spread(values: list[int]) -> str:
    """ "40", or "20–40" where they differ."""
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _origin(cell: TrainCell) -> list[str]:
    if cell.method in {"none", "adapter"}:
        return []
    data = trained_on(cell)
    return [*([data] if data else []), f"seed {cell.seed}"]


def _rounded(value: float) -> float:
    # Adding 0.0 turns -0.0 into 0.0.
    return round(100 * value, 1) + 0.0
