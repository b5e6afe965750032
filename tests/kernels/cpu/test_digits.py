"""Units in the last place against 240-bit arithmetic, on rows that lose digits elsewhere."""

import mpmath
import pytest
import torch

from lastlayer import functional
from tests import reference

WIDTH = {torch.float32: 3.0, torch.float64: 3.0, torch.bfloat16: 0.51, torch.float16: 0.51}
ROWS = {
    "easy": ([0.1, -0.2, 0.3, 1.7, -2.5], 3),
    "confident": ([80.0, 0.0, -3.0], 0),
    "near the smallest number": ([86.0, 0.0, -3.0], 0),
    "hopeless": ([-3.0, 0.0, 60.0], 0),
    "tie": ([2.0, 2.0, 2.0], 1),
    "offset": ([1e4, 1e4 - 40.0, 0.0], 0),
    "opposite signs": ([16.3, -15.9, -15.7], 0),
    "opposite signs, wrong": ([16.3, -15.9, -15.7], 1),
}


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize(("row", "y"), ROWS.values(), ids=ROWS)
def test_cross_entropy(row, y, dtype):
    z = torch.tensor([row], dtype=dtype, requires_grad=True)
    loss = functional.cross_entropy(z, torch.tensor([y]), backend="cpu")
    loss.backward()
    exactly = z.detach()[0].tolist()
    assert reference.ulps(loss.item(), reference.exact_cross_entropy(exactly, y), dtype) <= WIDTH[dtype]
    for j in range(len(row)):
        bound = WIDTH[dtype] if WIDTH[dtype] < 1 else 4 if j == y else 8
        found = z.grad[0, j].item()
        assert reference.ulps(found, reference.exact_gradient(exactly, y, j), dtype) <= bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("classes", [1000, 100_000])
def test_wide_rows(classes, dtype):
    z = torch.randn(1, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype) * 3
    z[0, 5] = 25.0
    leaf = z.requires_grad_()
    for y in (5, 11):
        leaf.grad = None
        loss = functional.cross_entropy(leaf, torch.tensor([y]), backend="cpu")
        loss.backward()
        terms = [mpmath.exp(mpmath.mpf(v)) for v in z.detach()[0].tolist()]
        total = mpmath.fsum(terms)
        assert reference.ulps(loss.item(), mpmath.log(total) - mpmath.mpf(z[0, y].item()), dtype) <= 4
        own = -(total - terms[y]) / total
        assert reference.ulps(leaf.grad[0, y].item(), own, dtype) <= 4
        for j in (0, 1, 500, 999):
            assert reference.ulps(leaf.grad[0, j].item(), terms[j] / total, dtype) <= 8


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("x", [-86.0, -15.25, -1.0, -1e-3, 0.0, 0.3, 15.25, 80.0])
def test_binary_cross_entropy_and_sigmoid(x, dtype):
    exactly = torch.tensor(x, dtype=dtype).item()
    for y, exact, slope in (
        (0.0, reference.exact_softplus(exactly), reference.exact_sigmoid(exactly)),
        (1.0, reference.exact_softplus(-exactly), -reference.exact_sigmoid(-exactly)),
    ):
        logit = torch.tensor([exactly], dtype=dtype, requires_grad=True)
        loss = functional.binary_cross_entropy_with_logits(logit, torch.tensor([y], dtype=dtype), backend="cpu")
        loss.backward()
        assert reference.ulps(loss.item(), exact, dtype) <= WIDTH[dtype]
        assert reference.ulps(logit.grad.item(), slope, dtype) <= WIDTH[dtype]
    found = functional.sigmoid(torch.tensor([exactly], dtype=dtype), backend="cpu").item()
    assert reference.ulps(found, reference.exact_sigmoid(exactly), dtype) <= WIDTH[dtype]


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("p", [1e-30, 1e-3, 0.25, 0.4999, 0.5000001, 0.51, 0.6, 0.75, 0.999])
def test_logit(p, dtype):
    value = torch.tensor([p], dtype=dtype)
    limits = {0.0: -float("inf"), 0.5: 0.0, 1.0: float("inf")}  # what p may have rounded to
    if value.item() in limits:
        assert functional.logit(value, backend="cpu").item() == limits[value.item()]
        return
    found = functional.logit(value, backend="cpu").item()
    assert reference.ulps(found, reference.exact_logit(value.item()), dtype) <= WIDTH[dtype]


@pytest.mark.parametrize("dtype", WIDTH, ids=str)
@pytest.mark.parametrize("row", [row for row, _ in ROWS.values()], ids=ROWS)
def test_log_softmax_and_softmax(row, dtype):
    z = torch.tensor(row, dtype=dtype)
    exactly = z.tolist()
    logs, probabilities = functional.log_softmax(z, 0, backend="cpu"), functional.softmax(z, 0, backend="cpu")
    for j in range(len(row)):
        loss = reference.exact_cross_entropy(exactly, j)
        assert reference.ulps(logs[j].item(), -loss, dtype) <= WIDTH[dtype]
        assert reference.ulps(probabilities[j].item(), mpmath.exp(-loss), dtype) <= WIDTH[dtype]


def test_a_large_term_swallows_no_small_ones():
    """Each of 100,000 terms is lost beside exp(−0.1); together they are two hundred units in the last place."""
    z = torch.full((1, 100_000), -41.0, dtype=torch.float64)
    z[0, 0], z[0, 1] = 0.0, -0.1
    exact = mpmath.log1p(mpmath.exp(mpmath.mpf(z[0, 1].item())) + 99_998 * mpmath.exp(-41))
    found = functional.cross_entropy(z, torch.tensor([0]), backend="cpu").item()
    assert reference.ulps(found, exact, torch.float64) <= 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_equal_largest_classes_below_a_later_one(dtype):
    """The first block has four largest entries; all four count when the second has a larger one."""
    z = torch.full((1, 2000), -50.0, dtype=dtype)
    z[0, [0, 1, 40, 500]], z[0, 1500] = 0.0, 1.0
    exact = mpmath.log1p(4 * mpmath.exp(-1) + 1995 * mpmath.exp(-51))
    found = functional.cross_entropy(z, torch.tensor([1500]), backend="cpu").item()
    assert reference.ulps(found, exact, dtype) <= 3


@pytest.mark.parametrize("row", [[0.0, -3.33, -3.33], [0.0, -3.3355, -3.34]], ids=str)
def test_the_gradient_of_label_smoothing(row):
    """p − ε/C, where the two are nearly equal."""
    z = torch.tensor([row], requires_grad=True)
    functional.cross_entropy(z, torch.tensor([0]), label_smoothing=0.1, backend="cpu").backward()
    terms = [mpmath.exp(mpmath.mpf(v)) for v in z.detach()[0].tolist()]
    for j in (1, 2):
        exact = terms[j] / mpmath.fsum(terms) - mpmath.mpf(0.1) / 3
        assert reference.ulps(z.grad[0, j].item(), exact, torch.float32) <= 4


@pytest.mark.parametrize("beside", [1.0, 2**-127])
def test_bfloat16_rounds_a_tie_to_even(beside):
    """½·weight lies in the middle between two numbers of 8 bits; the lower is even first, the upper then.

    Beside a subnormal number no instruction rounds, as on a processor that has none.
    """
    weight = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, beside])
    x = torch.zeros(4, dtype=torch.bfloat16, requires_grad=True)
    target = torch.zeros(4, dtype=torch.bfloat16)
    functional.binary_cross_entropy_with_logits(x, target, weight, reduction="sum", backend="cpu").backward()
    assert x.grad.tolist() == [0.5, 0.5 + 2**-7, 0.5 + 2**-8, beside / 2]


@pytest.mark.parametrize("function", ["sigmoid", "logit", "softmax"])
def test_every_bfloat16_is_rounded_once(function):
    """Those below the smallest normal number too, which an instruction that rounds takes for 0."""
    x = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.bfloat16)
    if function == "softmax":
        x = torch.stack([x[x.isfinite()], torch.zeros_like(x[x.isfinite()])])
        found, exact = functional.softmax(x, 0, backend="cpu"), x.double().softmax(0)
    else:
        found, exact = getattr(functional, function)(x, backend="cpu"), getattr(torch, function)(x.double())
    assert torch.equal(found.isnan(), exact.isnan())
    found, exact = found[exact.isfinite()].double(), exact[exact.isfinite()]
    exponents = (torch.frexp(exact).exponent - 8).clamp(min=-133)
    assert ((found - exact).abs() / torch.ldexp(torch.ones_like(exact), exponents)).max() <= 0.501
    if function != "logit":
        assert ((exact > 2.0**-132) & (exact < 2.0**-126)).sum() >= 8
