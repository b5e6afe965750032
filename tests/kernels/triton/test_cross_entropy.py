"""Dense cross-entropy on the kernels: reference, digits, edges, and memory that is not theirs."""

import itertools

import mpmath
import pytest
import torch
from torch.autograd import gradgradcheck

from lastlayer.kernels import Options, eager
from lastlayer.kernels import triton as kernels
from lastlayer.kernels.triton import _launch
from tests import reference

NAN, INF = float("nan"), float("inf")
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


def example(rows, classes, dtype=torch.float64, soft=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, classes, generator=generator, dtype=torch.float64) * 3).to(dtype)
    if soft:
        target = torch.rand(rows, classes, generator=generator, dtype=torch.float64).softmax(1)
        return logits, target.to(dtype)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def loss_and_gradient(device, logits, target, weight=None, dtype=None, of_lse=None, **options):
    leaf = logits.detach().to(device).requires_grad_()
    weight = None if weight is None else weight.to(device)
    loss, lse = kernels.cross_entropy(leaf, target.to(device), weight, Options(dtype or logits.dtype, **options))
    total = loss.sum() if loss.dim() == 0 else (loss * torch.linspace(0.5, 1.5, len(loss), device=device)).sum()
    (total if of_lse is None else total + (lse * of_lse.to(device)).sum()).backward()
    return loss.detach().cpu(), lse.detach().cpu(), leaf.grad.cpu()


def exact_loss_and_gradient(logits, target, weight=None, of_lse=None, ignore_index=None, **options):
    leaf = logits.detach().double().requires_grad_()
    ignored = -100 if ignore_index is None else ignore_index
    loss = reference.cross_entropy(leaf, target, weight, ignore_index=ignored, **options)
    total = loss.sum() if loss.dim() == 0 else (loss * torch.linspace(0.5, 1.5, len(loss))).sum()
    if of_lse is not None:
        u = leaf if options.get("softcap") is None else options["softcap"] * torch.tanh(leaf / options["softcap"])
        total = total + (torch.logsumexp(u / options.get("temperature", 1.0), -1) * of_lse).sum()
    total.backward()
    return loss.detach(), leaf.grad


GRID = [
    options
    for options in itertools.product(
        [False, True],  # soft
        [False, True],  # weight
        [0.0, 0.1],  # label smoothing
        [None, 2],  # ignored index
        ["none", "mean", "sum"],
        [{}, {"z_loss": 0.3}, {"softcap": 4.0, "temperature": 0.7}, {"z_loss": 0.1, "softcap": 2.0}],
    )
    if not (options[0] and options[3])
]


@pytest.mark.parametrize(("soft", "weighted", "smoothing", "ignored", "reduction", "extra"), GRID)
def test_every_mix_of_options(soft, weighted, smoothing, ignored, reduction, extra, device):
    logits, target = example(5, 19, soft=soft, seed=1)
    if ignored:
        target[1] = ignored
    weight = torch.linspace(0, 2, 19, dtype=torch.float64) if weighted else None
    options = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignored, **extra}
    of_lse = torch.linspace(-1, 1, 5, dtype=torch.float64)
    loss, _, gradient = loss_and_gradient(device, logits, target, weight, of_lse=of_lse, **options)
    expected, slope = exact_loss_and_gradient(logits, target, weight, of_lse=of_lse, **options)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, slope, rtol=1e-11, atol=1e-12)


# 1: nothing to sum; 129: one past a power of two; 1000: odd tail; 5000: several tiles
@pytest.mark.parametrize("classes", [1, 2, 129, 5000])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_length(dtype, classes, soft, temperature, device):
    logits, target = example(3, classes, dtype, soft)
    loss, lse, gradient = loss_and_gradient(device, logits, target, temperature=temperature, reduction="none")
    expected, slope = exact_loss_and_gradient(logits, target, temperature=temperature, reduction="none")
    eps = torch.finfo(dtype).eps if dtype != torch.float64 else 1e-14
    # The smallest subnormal, or what the reference, in float64 and without such care, may err by.
    tiny = max(1e-15, torch.finfo(dtype).tiny * eps)
    assert loss.dtype == gradient.dtype == dtype
    assert lse.dtype == (torch.float32 if dtype in (torch.bfloat16, torch.float16) else torch.float64)
    lse_expected = torch.logsumexp(logits.double() / temperature, 1)
    torch.testing.assert_close(lse.double(), lse_expected, rtol=3e-7 if eps > 1e-6 else 2 * eps, atol=2 * eps * 1e-3)
    torch.testing.assert_close(loss.double(), expected, rtol=1.5 * eps, atol=tiny)
    # Per entry: relative to itself, and to the largest of its two terms p and q where they cancel.
    scale = slope.abs() + (target.double() if soft else 0.0)
    assert ((gradient.double() - slope).abs() <= 4 * eps * scale + tiny).all()


@pytest.mark.split
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_row_shared_by_programs(dtype, soft, device):
    logits, target = example(2, 20_000, dtype, soft)
    weight = torch.linspace(0, 2, 20_000).to(dtype)
    tile = _launch.tile_for(20_000, logits.element_size(), 0)
    assert _launch.splits_for(2, 20_000, tile, torch.device(device)) > 1
    options = {"label_smoothing": 0.1, "z_loss": 0.1, "temperature": 0.7}
    loss, _, gradient = loss_and_gradient(device, logits, target, weight, **options)
    expected, slope = exact_loss_and_gradient(logits, target, weight.double(), **options)
    eps = max(torch.finfo(dtype).eps, 1e-14)
    torch.testing.assert_close(loss.double(), expected, rtol=2 * eps, atol=0)
    assert ((gradient.double() - slope).abs() <= 4 * eps * slope.abs().amax(1, keepdim=True)).all()


def test_gradient_of_each_row_sums_to_zero(device):
    _, _, gradient = loss_and_gradient(device, *example(4, 1000), z_loss=0.0, label_smoothing=0.2)
    assert gradient.abs().sum() > 1
    assert gradient.sum(1).abs().max() < 1e-15


# Digits


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("row", "y"),
    [
        ([80.0, 0.0, -3.0], 0),  # the target dominates: the loss is exp(-80)
        ([-3.0, 0.0, 60.0], 0),  # the target is hopeless
        ([2.0, 2.0, 2.0], 1),  # a tie
        ([0.1, -0.2, 0.3], 2),
        ([1e4, 1e4 - 40.0, 0.0], 0),  # a common offset
        ([0.0, 95.0, 12.0], 1),  # a subnormal gradient in float32
    ],
)
def test_digits_of_a_row(row, y, dtype, device):
    logits = torch.tensor([row], dtype=dtype)
    loss, _, gradient = loss_and_gradient(device, logits, torch.tensor([y]))
    exactly = logits[0].tolist()
    assert reference.ulps(loss.item(), reference.exact_cross_entropy(exactly, y), dtype) <= 1.5
    for j in range(len(row)):
        exact = reference.exact_gradient(exactly, y, j)
        assert reference.ulps(gradient[0, j].item(), exact, dtype) <= 3


@pytest.mark.parametrize("device_width", [1, 512])
def test_large_terms_do_not_swallow_a_hundred_thousand_small_ones(device_width, device, monkeypatch):
    if device == "cpu":
        monkeypatch.setattr(_launch, "processors", lambda device: device_width)
    logits = torch.full((1, 100_000), -17.0)
    logits[0, 7], logits[0, 50_000] = 0.0, -0.01
    loss, _, gradient = loss_and_gradient(device, logits, torch.tensor([7]))
    small = mpmath.exp(-17)
    others = mpmath.exp(mpmath.mpf(float(logits[0, 50_000]))) + 99_998 * small
    assert reference.ulps(loss.item(), mpmath.log1p(others), torch.float32) <= 1
    assert reference.ulps(gradient[0, 7].item(), -others / (1 + others), torch.float32) <= 1
    assert reference.ulps(gradient[0, 0].item(), small / (1 + others), torch.float32) <= 2
    logits[0, 7] = 30.0
    loss, _, gradient = loss_and_gradient(device, logits, torch.tensor([7]))
    others = (mpmath.exp(mpmath.mpf(float(logits[0, 50_000]))) + 99_998 * small) * mpmath.exp(-30)
    assert reference.ulps(loss.item(), mpmath.log1p(others), torch.float32) <= 1
    assert reference.ulps(gradient[0, 7].item(), -others / (1 + others), torch.float32) <= 1


@pytest.mark.parametrize("temperature", [1.0, 0.35])
def test_wide_random_rows_to_one_unit(temperature, device):
    logits, target = example(4, 20_000, torch.float32, seed=5)
    loss, _, gradient = loss_and_gradient(device, logits, target, reduction="none", temperature=temperature)
    u = logits.double() / temperature
    exact = torch.logsumexp(u, 1) - u[torch.arange(4), target]
    assert max(reference.ulps(a, mpmath.mpf(b), torch.float32) for a, b in zip(loss.tolist(), exact.tolist())) <= 1  # noqa: B905 - same length
    p = u.softmax(1) / temperature * torch.linspace(0.5, 1.5, 4)[:, None].double()
    error = (gradient.double() - p).abs() / p
    error[torch.arange(4), target] = 0
    assert error.max() <= 3 * torch.finfo(torch.float32).eps


# Edges


def test_all_rows_ignored(device):
    logits, _ = example(3, 4)
    target = torch.full((3,), -100)
    loss, _, gradient = loss_and_gradient(device, logits, target, ignore_index=-100, z_loss=0.1)
    assert loss.isnan()
    assert (gradient == 0).all()
    for options in ({"reduction": "sum"}, {"empty": "zero"}):
        loss, _, gradient = loss_and_gradient(device, logits, target, ignore_index=-100, **options)
        assert loss == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.5}, {"softcap": 3.0}], ids=str)
def test_an_ignored_row_may_hold_anything(options, device):
    logits = torch.tensor([[1.0, 2.0], [NAN, INF], [-INF, -INF], [0.5, 0.0]])
    target = torch.tensor([0, -100, -100, 1])
    loss, _, gradient = loss_and_gradient(device, logits, target, ignore_index=-100, **options)
    alone, _, slope = loss_and_gradient(device, logits[[0, 3]], target[[0, 3]], **options)
    torch.testing.assert_close(loss, alone)
    torch.testing.assert_close(gradient, torch.stack([slope[0], torch.zeros(2), torch.zeros(2), slope[1]]))


@pytest.mark.parametrize("row", [[NAN, 1.0, 2.0], [-INF, -INF, -INF], [NAN, NAN, NAN]], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_without_a_distribution_are_nan_and_touch_no_other(row, dtype, device):
    logits = torch.tensor([row, [1.0, 2.0, 3.0]], dtype=dtype)
    loss, _, gradient = loss_and_gradient(device, logits, torch.tensor([1, 1]), reduction="none")
    assert loss.isnan().tolist() == [True, False]
    assert gradient.isnan().tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("classes", [3, 5000])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
def test_infinite_logits_are_as_in_the_eager_backend(soft, classes, device):
    cases = ((-INF, 1), (-INF, 0)) if soft else ((-INF, 1), (INF, 1), (-INF, 0))
    for value, place in cases:
        logits, target = example(2, classes)
        logits[0, place] = value
        target = torch.zeros(2, dtype=torch.long)
        if soft:
            target = torch.nn.functional.one_hot(target, classes).double()
        loss, _, gradient = loss_and_gradient(device, logits, target, reduction="none")
        leaf = logits.clone().requires_grad_()
        expected, _ = eager.cross_entropy(leaf, target, None, Options(torch.float64, "none"))
        torch.testing.assert_close(loss, expected.detach(), equal_nan=True)
        (expected * torch.linspace(0.5, 1.5, 2)).sum().backward()
        if not expected.isinf().any():
            torch.testing.assert_close(gradient, leaf.grad, equal_nan=True)


def test_blocks_of_minus_infinity(device):
    """Whole tiles ruled out, before, between and after the classes that are not: −inf − −inf is NaN."""
    logits = torch.full((3, 20_000), -INF)
    logits[0, 19_999], logits[1, 0], logits[2, 9_000:9_010] = 1.0, 2.0, 3.0
    target = torch.tensor([19_999, 0, 9_001])
    loss, _, gradient = loss_and_gradient(device, logits, target, reduction="none")
    torch.testing.assert_close(loss.double(), torch.tensor([0.0, 0.0, mpmath.log(10)], dtype=torch.float64))
    assert not gradient.isnan().any()
    assert gradient.count_nonzero() == 10
    soft = torch.zeros(3, 20_000)
    soft[torch.arange(3), target] = 1.0
    again, _, slope = loss_and_gradient(device, logits, soft, reduction="none")
    torch.testing.assert_close(again, loss)
    torch.testing.assert_close(slope, gradient)


def test_one_class_and_no_rows(device):
    loss, _, gradient = loss_and_gradient(device, torch.tensor([[3.0]]), torch.tensor([0]))
    assert loss == 0
    assert gradient == 0
    empty, none = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    for options, expected in (({}, NAN), ({"empty": "zero"}, 0.0), ({"reduction": "sum"}, 0.0)):
        loss, _, gradient = loss_and_gradient(device, empty, none, **options)
        torch.testing.assert_close(loss, torch.tensor(expected), equal_nan=True)
        assert gradient.shape == (0, 3)
    loss, _, _ = loss_and_gradient(device, empty, none, reduction="none")
    assert loss.shape == (0,)


# Memory


BAD = [5, -1, 2**40, -(2**62), 2**63 - 1]


@pytest.mark.parametrize("guarded", [None, -100], ids=["read", "unread"])
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.1}], ids=str)
def test_a_bad_index_is_nan_and_reads_and_writes_nothing_outside(options, guarded, device):
    room = torch.full((len(BAD) + 4, 9), 1e30, device=device)
    logits = room[2:-2, 2:7]
    logits.copy_(torch.randn(len(BAD), 5))
    weights = torch.full((25,), NAN, device=device)
    weights[10:15] = torch.linspace(1, 2, 5, device=device)
    target = torch.tensor(BAD, device=device)
    target[0] = 1
    leaf = logits.detach().requires_grad_()
    each = Options(torch.float32, "none", ignore_index=guarded, **options)
    loss, _ = kernels.cross_entropy(leaf, target, weights[10:15], each)
    loss.sum().backward()
    assert loss.isnan().tolist() == [False, True, True, True, True]
    assert leaf.grad[0].isfinite().all()
    assert leaf.grad[1:].isnan().all()
    mean, _ = kernels.cross_entropy(leaf.detach(), target, None, Options(torch.float32, ignore_index=guarded))
    assert mean.isnan()


@pytest.mark.parametrize("classes", [5, 129, 1000])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_nothing_is_written_outside_the_gradient(dtype, classes, device):
    """The backward writes into the middle of a sheet of sentinels."""
    from lastlayer.kernels.triton import _cross_entropy as module

    logits, target = example(5, classes, dtype)
    p = module.problem(logits.to(device), target.to(device), None, Options(dtype, "sum"))
    total, _, kept = module.forward_rows(p)
    sheet = torch.full((9, classes + 12), 77.0, dtype=dtype, device=device)
    module.backward_rows(p, (torch.ones_like(total), None), kept, sheet[2:-2, 5 : 5 + classes])
    inside = sheet[2:-2, 5 : 5 + classes].clone()
    sheet[2:-2, 5 : 5 + classes] = 77.0
    assert (sheet == 77.0).all()
    _, slope = exact_loss_and_gradient(logits, target, reduction="sum")
    assert (inside.cpu().double() - slope).abs().max() <= 4 * max(torch.finfo(dtype).eps, 1e-15)


def test_rows_and_classes_of_any_stride(device):
    logits, target = example(6, 130, torch.float32)
    plain = loss_and_gradient(device, logits, target)
    sheet = torch.full((12, 201), NAN)
    sheet[::2, 3:133] = logits
    columns = logits.t().contiguous().t()
    for other in (sheet[::2, 3:133], columns):
        assert not other.is_contiguous()
        for a, b in zip(plain, loss_and_gradient(device, other, target), strict=True):
            assert torch.equal(a, b)


def test_offsets_beyond_two_to_the_31(device):
    torch.utils.deterministic.fill_uninitialized_memory = False  # the sheet is 4 GiB that nobody touches
    try:
        logits = torch.empty_strided((2, 8), (2**31 + 64, 1), dtype=torch.float16, device=device)
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = True
    logits.copy_(torch.randn(2, 8))
    target = torch.tensor([3, 5], device=device)
    loss, lse = kernels.cross_entropy(logits, target, None, Options(torch.float16, "none"))
    expected, _ = kernels.cross_entropy(logits.contiguous(), target, None, Options(torch.float16, "none"))
    assert torch.equal(loss, expected)
    torch.testing.assert_close(lse.double(), logits.double().logsumexp(1), rtol=1e-6, atol=0)
    loss, _, _ = kernels.cross_entropy_in_place(logits, target, None, Options(torch.float16))
    assert (logits.float().sum(1).abs() < 1e-3).all()
    assert logits[1, 5] < 0


def test_rows_do_not_depend_on_their_neighbours(device):
    logits, target = example(37, 10, torch.float32)
    together, _, gradient = loss_and_gradient(device, logits, target, reduction="none")
    alone = [loss_and_gradient(device, logits[i : i + 1], target[i : i + 1], reduction="none") for i in range(0, 37, 6)]
    assert torch.equal(together[::6], torch.cat([loss for loss, _, _ in alone]))
    assert gradient.abs().max() > 0


def test_k_dimensions_and_second_order(device):
    logits = torch.randn(2, 3, 4, dtype=torch.float64, device=device, requires_grad=True)
    target = torch.randint(0, 4, (2, 3), device=device)
    options = Options(torch.float64, label_smoothing=0.1, z_loss=0.1, softcap=5.0)
    assert gradgradcheck(lambda z: kernels.cross_entropy(z, target, None, options)[0], logits)
    none = kernels.cross_entropy(logits, target, None, options._replace(reduction="none"))
    assert [x.shape for x in none] == [(2, 3), (2, 3)]
    hessian = torch.func.hessian(lambda z: kernels.cross_entropy(z, target, None, options)[0])(logits.detach())
    assert hessian.abs().max() > 0
