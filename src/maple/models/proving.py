"""Evidence about a model in memory: what its layers are."""

from __future__ import annotations

from torch import nn

from maple.errors import ModelError

_CLASSES = {4: "Linear4bit", 8: "Linear8bitLt", 16: "Linear", 32: "Linear"}


def first_linear(body: nn.Module) -> tuple[str, int]:
    """Class name and bits of the stored weights of the first linear layer of a body.

    Under an adapter that is the base's own layer, which the adapter's layer holds first.

    Raises:
        ModelError: there is none.
    """
    for module in body.modules():
        if isinstance(module, nn.Linear):
            name = type(module).__name__
            bits = {"Linear4bit": 4, "Linear8bitLt": 8}.get(name, 8 * module.weight.itemsize)
            return name, bits
    raise ModelError("the model has no linear layers")


def check_layers(model: nn.Module, bits: int) -> None:
    """Check that no module trains and that the layers have the asked bits.

    Raises:
        ModelError: either is not so.
    """
    training = [name for name, module in model.named_modules() if module.training]
    if training:
        raise ModelError(
            f"{len(training)} modules are in training mode, the first is {training[0]!r}"
        )
    found = first_linear(model)
    if found != (_CLASSES[bits], bits):
        raise ModelError(
            f"the model was asked for at {bits} bits, but its layers are {found[0]} "
            f"of {found[1]} bits"
        )
