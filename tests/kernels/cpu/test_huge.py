"""More than 2³¹ logits: offsets, counts and addresses are 64 bits wide.

What is only read is memory that nobody has written, which the system keeps no pages for: it costs time. A gradient has
pages of its own.
"""

import math

import pytest
import torch

from lastlayer import functional

CLASSES = 2**20
ROWS = 2**11 + 1  # the last row begins at element 2³¹


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.bfloat16)


@pytest.mark.memory(1)
def test_rows_beyond_two_to_the_31_are_read_where_they_are():
    z, y = zeros(ROWS, CLASSES), torch.zeros(ROWS, dtype=torch.long)
    z[-1, 7] = 20.0
    y[-1] = 7
    loss, lse = functional.cross_entropy(z, y, reduction="none", return_lse=True, backend="cpu")
    assert lse[:-1].allclose(torch.tensor(math.log(CLASSES)))
    assert lse[-1].item() == pytest.approx(20 + math.log1p((CLASSES - 1) * math.exp(-20)))
    assert loss[-1].item() == pytest.approx(math.log1p((CLASSES - 1) * math.exp(-20)), rel=2**-8)
    assert functional.logsumexp(z, 1, backend="cpu")[-1].item() == pytest.approx(lse[-1].item(), rel=2**-8)
    y[-1] = CLASSES
    with pytest.raises(IndexError, match=f"Row {ROWS - 1} "):
        functional.cross_entropy(z, y, backend="cpu")


@pytest.mark.memory(1)
def test_one_row_of_more_than_two_to_the_31_elements():
    x, y = zeros(2**31 + 64), zeros(2**31 + 64)
    x[-1] = y[-1] = 1.0
    mean = functional.binary_cross_entropy_with_logits(x, y, backend="cpu")
    assert mean.item() == pytest.approx(math.log(2), rel=2**-8)
    y[-1] = 2.0
    with pytest.raises(ValueError, match="to 2"):
        functional.binary_cross_entropy_with_logits(x, y, backend="cpu")


@pytest.mark.memory(5)
def test_the_gradient_of_rows_beyond_two_to_the_31():
    z, y = zeros(ROWS, CLASSES), torch.zeros(ROWS, dtype=torch.long)
    z[-1, 7] = 20.0
    y[-1] = 9
    torch.use_deterministic_algorithms(False)  # or fresh memory is written twice
    z.requires_grad_()
    (gradient,) = torch.autograd.grad(functional.cross_entropy(z, y, reduction="sum", backend="cpu"), z)
    assert gradient[-1, 9].item() == -1
    others = 1 + (CLASSES - 1) * math.exp(-20)
    assert gradient[-1, 7].item() == pytest.approx(1 / others, rel=2**-8)
    assert gradient[-1, -1].item() == pytest.approx(math.exp(-20) / others, rel=2**-8)
    assert gradient[-2, 0].item() == -1
    assert gradient[-2, -1].item() == pytest.approx(1 / CLASSES, rel=2**-8)
