"""Products of bfloat16 matrices through float32: the same values, rounded once."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from maple.models import products

SHAPES = [(1, 8, 5), (4, 1, 4), (5, 16, 4096), (300, 640, 48), (7, 0, 9), (0, 3, 4), (4, 9000, 600)]


def matrices(*shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).bfloat16() for shape in shapes]


def near(found: Tensor, exact: Tensor) -> None:
    """Within one rounding to bfloat16 (2**-8 of the value), and float32's own error."""
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.double(), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize(("n", "k", "m"), SHAPES)
def test_values(n: int, k: int, m: int) -> None:
    left, right, bias = matrices((n, k), (k, m), (m,))
    product = left.double() @ right.double()
    near(products.mm(left, right), product)
    near(products.mm(left, right.T.contiguous().T), product)
    near(products.addmm(bias, left, right), product + bias.double())
    near(
        products.addmm(bias, left, right, beta=0.5, alpha=-2.0), 0.5 * bias.double() - 2.0 * product
    )
    out = bias.expand(n, m).clone()
    assert products.addmm_(out, left, right, alpha=2.0) is out
    near(out, bias.double() + 2.0 * product)


@pytest.mark.parametrize("batch", [0, 1, 9])
def test_values_of_batches(batch: int) -> None:
    left, right = matrices((batch, 30, 600), (batch, 600, 700))
    near(products.bmm(left, right), left.double() @ right.double())


def test_other_types_keep_their_kernels() -> None:
    left, right = (matrix.float() for matrix in matrices((30, 40), (40, 20)))
    bias = torch.ones(20)
    assert torch.equal(products.mm(left, right), torch.mm(left, right))
    assert torch.equal(products.addmm(bias, left, right), torch.addmm(bias, left, right))
    out = torch.ones(30, 20)
    assert torch.equal(products.addmm_(out.clone(), left, right), out.clone().addmm_(left, right))
    assert torch.equal(products.bmm(left[None], right[None]), torch.bmm(left[None], right[None]))
    with pytest.raises(RuntimeError, match="same dtype"):
        products.mm(left, right.bfloat16())


INSTALLED = """
import torch
from maple.models import products
x = torch.arange(24.0).reshape(4, 6)
w = torch.arange(30.0).reshape(5, 6).sin()
before = torch.nn.functional.linear(x, w), torch.nn.functional.linear(x, w, w[:, 0])
products.install()
products.install()
asked = []
plain = products._converts
products._converts = lambda a, b: asked.append(a.dtype) or plain(a, b)
after = torch.nn.functional.linear(x, w), torch.nn.functional.linear(x, w, w[:, 0])
assert all(torch.equal(a, b) for a, b in zip(before, after))
half, weight = x.bfloat16().requires_grad_(), w.bfloat16().requires_grad_()
asked.clear()
torch.nn.functional.linear(half, weight).float().sum().backward()
if products.are_slow():
    assert asked.count(torch.bfloat16) == 3, asked
assert torch.allclose(half.grad.float(), weight.sum(0).float().expand(4, 6), atol=2e-2)
assert torch.allclose(weight.grad.float(), half.sum(0).float().expand(5, 6), rtol=1e-2)
with torch.inference_mode():
    print(torch.nn.functional.linear(half, weight).dtype)
"""


def test_installed() -> None:
    """In a process of its own: what is registered stays."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", INSTALLED], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "torch.bfloat16", "")
