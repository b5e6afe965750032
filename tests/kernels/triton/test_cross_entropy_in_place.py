"""The kernel between the products of a linear cross-entropy: against the dense loss, options, sentinels around it."""

import itertools

import pytest
import torch

from lastlayer.kernels import Options
from lastlayer.kernels import triton as kernels
from tests import reference

DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
NAN = float("nan")


def example(rows, classes, dtype, soft, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, classes, generator=generator, dtype=torch.float64) * 3).to(dtype)
    if soft:
        return logits, torch.rand(rows, classes, generator=generator, dtype=torch.float64).softmax(1).to(dtype)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def in_place(device, logits, target, weight=None, dtype=None, scales=(None, None, None), **options):
    """Run on a buffer in the middle of a sheet of NaN, which has to stay NaN around it."""
    rows, classes = logits.shape
    sheet = torch.full((rows + 2, classes + 7), NAN, dtype=logits.dtype, device=device)
    buffer = sheet[1:-1, 3 : 3 + classes]
    buffer.copy_(logits)
    of_loss, of_penalty, of_lse = (None if scale is None else scale.to(device) for scale in scales)
    loss, share, lse = kernels.cross_entropy_in_place(
        buffer,
        target.to(device),
        None if weight is None else weight.to(device),
        Options(dtype or logits.dtype, **options),
        of_loss=of_loss,
        of_penalty=of_penalty,
        of_lse=of_lse,
    )
    gradient = buffer.clone()
    buffer.fill_(NAN)
    assert sheet.isnan().all()
    return loss.cpu(), share.cpu(), lse.cpu(), gradient.cpu()


def expected(logits, target, weight, scales, ignore_index=None, z_loss=0.0, **options):
    """The reference, its rows and their penalties scaled apart."""
    leaf = logits.double().requires_grad_()
    ignored = -100 if ignore_index is None else ignore_index
    rows = len(logits)
    of_loss, of_penalty, of_lse = (torch.ones(rows) if s is None else s.double().expand(rows) for s in scales)
    options |= {"ignore_index": ignored, "reduction": "none"}
    loss = reference.cross_entropy(leaf, target, weight, **options)
    both = reference.cross_entropy(leaf, target, weight, z_loss=z_loss, **options)
    total = loss * of_loss + (both - loss) * of_penalty
    result = total.sum()
    if scales[2] is not None:
        cap = options.get("softcap")
        u = leaf if cap is None else cap * torch.tanh(leaf / cap)
        result = result + (torch.logsumexp(u / options.get("temperature", 1.0), 1) * of_lse).sum()
    result.backward()
    return total.detach(), leaf.grad


SCALES = [
    (None, None, None),
    (torch.tensor(0.3), torch.tensor(0.7), None),
    (torch.linspace(0.1, 1, 4), torch.linspace(1, 0.2, 4), torch.linspace(-1, 1, 4, dtype=torch.float64)),
]
GRID = [
    options
    for options in itertools.product(
        [False, True],  # soft
        [False, True],  # weight
        [0.0, 0.1],  # label smoothing
        [None, 2],  # ignored index
        [{}, {"z_loss": 0.3}, {"softcap": 4.0, "temperature": 0.7}],
        SCALES,
    )
    if not (options[0] and options[3])
]


@pytest.mark.parametrize(("soft", "weighted", "smoothing", "ignored", "extra", "scales"), GRID[::2])
def test_every_mix_of_options(soft, weighted, smoothing, ignored, extra, scales, device):
    check(19, torch.float64, soft, weighted, smoothing, ignored, extra, scales, device)


@pytest.mark.split
@pytest.mark.parametrize(("soft", "weighted", "smoothing", "ignored", "extra", "scales"), GRID[::9])
def test_every_mix_of_options_shared_by_programs(soft, weighted, smoothing, ignored, extra, scales, device):
    check(9000, torch.float64, soft, weighted, smoothing, ignored, extra, scales, device)


@pytest.mark.parametrize("classes", [1, 129, 5000])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
@pytest.mark.parametrize("dtype", DTYPES[1:], ids=str)
def test_every_dtype_and_length(dtype, soft, classes, device):
    check(classes, dtype, soft, True, 0.0, None, {"z_loss": 0.1}, SCALES[1], device)


def check(classes, dtype, soft, weighted, smoothing, ignored, extra, scales, device):
    logits, target = example(4, classes, dtype, soft)
    if ignored:
        target[target == ignored] = ignored + 1
        target[1] = ignored
    weight = torch.linspace(0.5, 2, classes, dtype=torch.float64) if weighted else None
    options = {"label_smoothing": smoothing, "ignore_index": ignored, **extra}
    weight = None if weight is None else weight.to(dtype)
    loss, share, lse, gradient = in_place(device, logits, target, weight, scales=scales, **options)
    weight = None if weight is None else weight.double()
    total, slope = expected(logits, target, weight, scales, **options)
    eps = max(torch.finfo(dtype).eps, 1e-14)
    u = logits.double() if extra.get("softcap") is None else 4.0 * torch.tanh(logits.double() / 4.0)
    exact_lse = torch.logsumexp(u / extra.get("temperature", 1.0), 1)
    torch.testing.assert_close(lse.double(), exact_lse, rtol=1e-6 if eps > 1e-4 else 2 * eps, atol=1e-15)
    single = max(eps * 1e-3, 5e-7) if dtype in (torch.bfloat16, torch.float16) else 2 * eps
    torch.testing.assert_close(loss, total, rtol=4 * single, atol=1e-15)
    largest = slope.abs().amax(1, keepdim=True) + (1.0 if soft or classes == 1 else 0.0)
    assert ((gradient.double() - slope).abs() <= 3 * eps * largest).all()
    counted = torch.ones(4, dtype=torch.float64)
    if not soft:
        counted = counted if weight is None else weight[target]
        counted = torch.where(target == (-100 if ignored is None else ignored), 0.0, counted)
    assert torch.equal(share, counted)


def test_equals_the_dense_loss_chunk_by_chunk(device):
    """What a linear loss does: chunks of rows, one divisor for all, the same mean and gradient."""
    logits, target = example(10, 300, torch.float32, False)
    target[::3] = -100
    options = Options(torch.float32, ignore_index=-100, z_loss=0.1, label_smoothing=0.1)
    leaf = logits.to(device).requires_grad_()
    mean, _ = kernels.cross_entropy(leaf, target.to(device), None, options)
    mean.backward()
    kept = 1.0 / (target != -100).sum().double()
    same = {"scales": (kept, kept, None), "ignore_index": -100, "z_loss": 0.1, "label_smoothing": 0.1}
    parts = [in_place(device, logits[i : i + 3], target[i : i + 3], **same) for i in range(0, 10, 3)]
    total = sum(loss.sum() for loss, _, _, _ in parts)
    torch.testing.assert_close(total.float(), mean.detach().cpu(), rtol=2e-7, atol=0)
    gradient = torch.cat([part[3] for part in parts])
    torch.testing.assert_close(gradient, leaf.grad.cpu(), rtol=3e-7, atol=1e-10)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 0.1}], ids=str)
def test_ignored_and_bad_rows(options, device):
    logits = torch.randn(5, 7)
    logits[1] = NAN
    target = torch.tensor([3, -100, 7, -(2**62), 2**40])
    loss, share, _, gradient = in_place(device, logits, target, torch.ones(7), ignore_index=-100, **options)
    assert loss.isnan().tolist() == [False, False, True, True, True]
    assert loss[1] == 0
    assert (gradient[1] == 0).all()
    assert gradient[0].isfinite().all()
    assert gradient[2:].isnan().all()
    assert share[:2].tolist() == [1.0, 0.0]


def test_no_rows_and_strided_classes(device):
    empty = torch.zeros(0, 3, device=device)
    found = kernels.cross_entropy_in_place(
        empty, torch.zeros(0, dtype=torch.long, device=device), None, Options(torch.float32)
    )
    assert [len(x) for x in found] == [0, 0, 0]
    strided = torch.zeros(3, 4, device=device).t()
    with pytest.raises(ValueError, match="classes side by side"):
        kernels.cross_entropy_in_place(strided, torch.zeros(4, dtype=torch.long), None, Options(torch.float32))
