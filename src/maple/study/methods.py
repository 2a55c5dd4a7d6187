"""Methods of training: one row each, plain facts. A new method is a new row.

What a row says is all that the rest of the program knows about a method: which of a study's keys
it uses and by which of PEFT's names, what else a study may set, where it cannot be trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from maple.errors import MapleError, nearest

OptionValue = str | int | float | bool

UNTUNED, FULL = "none", "full"


@dataclass(frozen=True, slots=True)
class Option:
    """A PEFT option that a study may set beside the keys that all methods share.

    Attributes:
        name: PEFT's.
        kind: of its values; whole numbers count as fractions, too.
        default: PEFT's, which names the same cell as leaving the option out; None where there is
            no value to write.
        low, high: smallest and largest number; `high` itself is out where `open` says so.
        choices: the words that a "str" may be.
        about: what it does, for the guide.
    """

    name: str
    kind: Literal["bool", "int", "float", "str"]
    about: str
    default: OptionValue | None = None
    low: float = 0.0
    high: float = 0.0
    open: bool = False
    choices: tuple[str, ...] = ()

    def expected(self) -> str:
        """Its values in words."""
        if self.kind == "bool":
            return "true or false"
        if self.kind == "str":
            return " or ".join(f'"{choice}"' for choice in self.choices)
        number = "a whole number" if self.kind == "int" else "a number"
        end = f"below {self.high:g}" if self.open else f"to {self.high:g}"
        return f"{number} from {self.low:g} {end}"

    def checked(self, value: object) -> OptionValue:
        """The value in the option's own type.

        Raises:
            MapleError: it is none that the option may have.
        """
        if self.kind == "bool" and isinstance(value, bool):
            return value
        if self.kind == "str" and isinstance(value, str) and value in self.choices:
            return value
        if self.kind in ("int", "float") and isinstance(value, int | float):
            whole = isinstance(value, int)
            held = self.low <= value and (value < self.high if self.open else value <= self.high)
            if held and not isinstance(value, bool) and (whole or self.kind == "float"):
                return value if self.kind == "int" else float(value)
        raise MapleError(f"got {value!r}, expected {self.expected()}")


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train.

    Attributes:
        name: as the study writes it.
        label: as reports write it.
        paper: where it is from.
        learning_rate: peak rate where the study states none for it.
        config: PEFT's configuration class; None where PEFT has no part in it.
        fixed: PEFT options that make the method what it is.
        fields: PEFT's names of the study's keys `r`, `lora_alpha`, `lora_dropout` and
            `target_modules`; a key that is not in here is not used.
        options: what else a study may set.
        impossible: why it cannot be trained, by `train_bits`.
        decomposition: of each weight, where the adapter starts from it: by singular values, or
            into Q and R. Trained as a difference and stored as plain LoRA of twice the rank.
        feedforward: names of modules whose input is scaled, where PEFT asks for them.
        served: whether a vLLM server takes its adapters.
        seeded: the PEFT option that takes a seed of the cell, if the study does not set it.
    """

    name: str
    label: str
    paper: str
    learning_rate: float
    config: str | None = None
    fixed: Mapping[str, OptionValue] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    options: tuple[Option, ...] = ()
    impossible: Mapping[int, str] = field(default_factory=dict)
    decomposition: Literal["svd", "qr"] | None = None
    feedforward: tuple[str, ...] = ()
    served: bool = False
    seeded: str | None = None

    @property
    def converted(self) -> bool:
        """Whether its adapter is stored as another kind than it was trained as."""
        return self.decomposition is not None

    def uses(self, key: str) -> bool:
        """Whether it uses one of the keys of `fields`."""
        return key in self.fields

    def bits(self) -> tuple[int, ...]:
        """Precisions that it can be trained at."""
        return tuple(bits for bits in (4, 8, 16, 32) if bits not in self.impossible)

    def checked(
        self, values: Mapping[str, object]
    ) -> tuple[tuple[tuple[str, OptionValue], ...], dict[str, MapleError]]:
        """Options as a study states them, in canonical form.

        Returns:
            Names and values, sorted, without those that say what PEFT does anyway; and what is
            wrong with the others, by name.
        """
        known = {option.name: option for option in self.options}
        found: dict[str, OptionValue] = {}
        problems: dict[str, MapleError] = {}
        for name, value in values.items():
            if name not in known:
                problems[name] = MapleError(
                    f"{self.name} has no option {name!r} that a study may set",
                    nearest(name, known) if known else "it has none",
                )
                continue
            try:
                found[name] = known[name].checked(value)
            except MapleError as error:
                problems[name] = error
                continue
            if found[name] == known[name].default:
                del found[name]
        return tuple(sorted(found.items())), problems


_LORA = MappingProxyType(
    {key: key for key in ("r", "lora_alpha", "lora_dropout", "target_modules")}
)
_LYCORIS = MappingProxyType({"r": "r", "lora_alpha": "alpha", "target_modules": "target_modules"})
_GAUSSIAN = Option(
    "init_lora_weights", "str", "how A starts, instead of He's uniform", choices=("gaussian",)
)
_BIAS = Option("lora_bias", "bool", "train a bias with B", default=False)
_RSLORA = Option("use_rslora", "bool", "scale by alpha / sqrt(r), as rslora does", default=False)
_DROPOUTS = (
    Option("rank_dropout", "float", "share of output rows dropped", 0.0, 0, 1, open=True),
    Option("module_dropout", "float", "share of modules left out", 0.0, 0, 1, open=True),
)
_PACKED = MappingProxyType(
    {4: "PEFT 0.21 makes its update in the shape of the stored weight, which 4 bits pack"}
)

_ROWS = (
    Method(UNTUNED, "untuned", "the base as published", 0.0),
    Method(
        "lora",
        "LoRA",
        "Hu et al. 2021, arXiv 2106.09685",
        learning_rate=3e-4,  # not from the paper
        config="LoraConfig",
        fields=_LORA,
        options=(_GAUSSIAN, _BIAS),
        served=True,
    ),
    Method(
        "rslora",
        "rsLoRA",
        "Kalajdzievski 2023, arXiv 2312.03732",
        learning_rate=3e-4,  # not from the paper
        config="LoraConfig",
        fixed={"use_rslora": True},
        fields=_LORA,
        options=(_GAUSSIAN, _BIAS),
        served=True,
    ),
    Method(
        "dora",
        "DoRA",
        "Liu et al. 2024, arXiv 2402.09353",
        learning_rate=3e-4,  # not from the paper
        config="LoraConfig",
        fixed={"use_dora": True},
        fields=_LORA,
        options=(_GAUSSIAN, _RSLORA),
        impossible={8: "it needs the weights whole in every pass, which LLM.int8 does not give"},
    ),
    Method(
        "pissa",
        "PiSSA",
        "Meng et al. 2024, arXiv 2404.02948",
        learning_rate=2e-5,  # not from the paper
        config="LoraConfig",
        fields=_LORA,
        options=(
            Option(
                "init_lora_weights",
                "str",
                "singular values by so many rounds of a random projection, which is faster",
                default="pissa",
                choices=("pissa", "pissa_niter_4", "pissa_niter_16"),
            ),
            _RSLORA,
        ),
        decomposition="svd",
        served=True,
    ),
    Method(
        "olora",
        "OLoRA",
        "Büyükakyüz 2024, arXiv 2406.01775",
        learning_rate=3e-4,  # not from the paper
        config="LoraConfig",
        fields=_LORA,
        options=(_RSLORA,),
        decomposition="qr",
        served=True,
    ),
    Method(
        "loha",
        "LoHa",
        "Hyeon-Woo et al. 2021, arXiv 2108.06098",
        learning_rate=3e-4,  # not from the paper
        config="LoHaConfig",
        fields=_LYCORIS,
        options=_DROPOUTS,
        impossible=_PACKED,
    ),
    Method(
        "lokr",
        "LoKr",
        "Edalati et al. 2022, arXiv 2212.10650",
        learning_rate=3e-4,  # not from the paper
        config="LoKrConfig",
        fields=_LYCORIS,
        options=(
            *_DROPOUTS,
            Option("rank_dropout_scale", "bool", "scale what is not dropped", default=False),
            Option("decompose_both", "bool", "give both factors a rank", default=False),
            Option("decompose_factor", "int", "size of the left factor", None, 2, 1024),
        ),
        impossible=_PACKED,
    ),
    Method(
        "vera",
        "VeRA",
        "Kopiczko et al. 2023, arXiv 2310.11454",
        learning_rate=4e-3,  # not from the paper
        config="VeraConfig",
        fixed={"save_projection": True},
        fields={"r": "r", "lora_dropout": "vera_dropout", "target_modules": "target_modules"},
        options=(
            Option("d_initial", "float", "start of the vector inside", 0.1, 1e-6, 10),
            Option("projection_prng_key", "int", "seed of the shared matrices", high=2**31 - 1),
        ),
        seeded="projection_prng_key",
    ),
    Method(
        "ia3",
        "(IA)³",
        "Liu et al. 2022, arXiv 2205.05638",
        learning_rate=3e-3,  # of its authors
        config="IA3Config",
        fields={"target_modules": "target_modules"},
        feedforward=("down_proj", "fc2"),
    ),
    Method(
        FULL,
        "full finetuning",
        "every weight of the base",
        learning_rate=2e-5,  # not from the paper
        impossible={
            bits: f"{bits}-bit weights are codes without a gradient, and all of them would change"
            for bits in (4, 8)
        },
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.name: row for row in _ROWS})
"""Every method by name."""

TRAINED: tuple[str, ...] = tuple(name for name in METHODS if name != UNTUNED)
"""Those that a study may ask for; the untuned base is always evaluated."""


def method(name: str) -> Method:
    """The row of a method.

    Raises:
        MapleError: there is none, or it is the untuned base.
    """
    if name == UNTUNED:
        raise MapleError('the untuned base is always evaluated; leave "none" out')
    if name not in METHODS:
        raise MapleError(f"unknown method {name!r}", nearest(name, TRAINED))
    return METHODS[name]
