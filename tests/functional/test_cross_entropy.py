"""Cross-entropy and NLL against the reference and against PyTorch."""

import mpmath
import pytest
import torch
from torch.nn import functional as F

import lastlayer
from lastlayer import functional as ours
from tests import reference
from tests.functional.judging import EACH_BACKEND, FLOATS, TOLERANCE, assert_loss_and_gradient, device, served_dtype

# One row, a batch, and K dimensions
SHAPES = [(5,), (7, 5), (3, 5, 4), (2, 5, 2, 3)]


def example(shape, dtype=torch.float64, soft=False, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64) * 3
    axis = 0 if len(shape) == 1 else 1
    if soft:
        target = torch.rand(shape, generator=generator, dtype=torch.float64).softmax(axis)
        return logits.to(dtype), target.to(dtype)
    rows = (*shape[:axis], *shape[axis + 1 :])
    return logits.to(dtype), torch.randint(0, shape[axis], rows, generator=generator)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_loss_and_gradient_match_reference(shape, soft, reduction, dtype):
    logits, target = example(shape, dtype, soft)
    assert_loss_and_gradient(
        lambda z: ours.cross_entropy(z, target, reduction=reduction),
        lambda z: reference.cross_entropy(z, target, reduction=reduction),
        logits,
        tolerance=TOLERANCE[dtype] * (10 if reduction == "sum" else 1),
    )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("soft", [False, True], ids=["index", "probabilities"])
def test_reference_itself_agrees_with_pytorch(soft, smoothing, reduction):
    """The judge is judged: where PyTorch has the option, both mean the same."""
    logits, target = example((6, 5, 3), soft=soft)
    weight = torch.rand(5, dtype=torch.float64)
    options = {"reduction": reduction, "label_smoothing": smoothing}
    theirs = F.cross_entropy(logits, target, weight, **options)
    torch.testing.assert_close(reference.cross_entropy(logits, target, weight, **options), theirs)


def test_gradients_reach_soft_targets_weights_and_log_sum_exp():
    logits, target = example((6, 5), soft=True)
    weight = torch.rand(5, dtype=torch.float64) + 0.5
    assert_loss_and_gradient(
        lambda z, q, w: ours.cross_entropy(z, q, w, label_smoothing=0.1),
        lambda z, q, w: reference.cross_entropy(z, q, w, label_smoothing=0.1),
        logits,
        target,
        weight,
        tolerance=1e-12,
    )
    _, index = example((6, 5))
    assert_loss_and_gradient(
        lambda z, w: ours.cross_entropy(z, index, w, label_smoothing=0.1),
        lambda z, w: reference.cross_entropy(z, index, w, label_smoothing=0.1),
        logits,
        weight,
        tolerance=1e-12,
    )

    def both(z):
        loss, lse = ours.cross_entropy(z, index, return_lse=True)
        return torch.cat([loss.reshape(1), lse])

    assert_loss_and_gradient(
        both, lambda z: torch.cat([F.cross_entropy(z, index).reshape(1), z.logsumexp(1)]), logits, tolerance=1e-12
    )


def test_log_sum_exp_alone_has_a_gradient():
    logits = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    _, lse = ours.cross_entropy(logits, torch.tensor([0]), return_lse=True)
    lse.sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1))


def test_log_sum_exp_is_wide_and_of_ignored_rows_too():
    logits = torch.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=torch.bfloat16)
    loss, lse = ours.cross_entropy(logits, torch.tensor([1, -100]), return_lse=True)
    assert loss.dtype is torch.bfloat16
    assert lse.dtype is torch.float32
    torch.testing.assert_close(lse, logits.float().logsumexp(1))


# Digits: PyTorch loses all of them in the first three.


@pytest.mark.parametrize("backend", ["cpu", "eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("row", "y"),
    [
        ([80.0, 0.0, -3.0], 0),  # the target dominates: the loss is exp(-80)
        ([-3.0, 0.0, 60.0], 0),  # the target is hopeless
        ([2.0, 2.0, 2.0], 1),  # a tie
        ([0.1, -0.2, 0.3], 2),
        ([1e4, 1e4 - 40.0, 0.0], 0),  # a common offset
        ([16.3, -15.9, -15.7], 0),  # differences that are rounded themselves
    ],
)
def test_digits_of_a_row(row, y, dtype, backend):
    logits = torch.tensor([row], dtype=dtype, requires_grad=True)
    loss = ours.cross_entropy(logits, torch.tensor([y]), backend=backend)
    loss.backward()
    exactly = logits.detach()[0].tolist()
    assert reference.ulps(loss.item(), reference.exact_cross_entropy(exactly, y), dtype) <= 3
    for j in range(len(row)):
        exact = reference.exact_gradient(exactly, y, j)
        if abs(exact) > torch.finfo(dtype).tiny:
            assert reference.ulps(logits.grad[0, j].item(), exact, dtype) <= 4


@EACH_BACKEND
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_half_precision_loss_is_rounded_once_with_its_penalty(dtype, backend):
    served_dtype(backend, "cross_entropy")
    logits, target = example((200, 5), dtype)
    exact = reference.cross_entropy(logits, target, reduction="none", z_loss=0.3)
    place = device(backend)
    found = ours.cross_entropy(logits.to(place), target.to(place), reduction="none", z_loss=0.3, backend=backend)
    for row in range(200):
        assert reference.ulps(found[row].item(), mpmath.mpf(exact[row].item()), dtype) <= 0.51
    mean = ours.cross_entropy(logits.to(place), target.to(place), z_loss=0.3, backend=backend)
    exact_mean = reference.cross_entropy(logits, target, z_loss=0.3)
    assert reference.ulps(mean.item(), mpmath.mpf(exact_mean.item()), dtype) <= 0.51


def test_one_confident_class_among_a_hundred_thousand():
    logits = torch.zeros(1, 100_000, requires_grad=True)
    with torch.no_grad():
        logits[0, 7] = 30.0
    loss = ours.cross_entropy(logits, torch.tensor([7]))
    loss.backward()
    exact = mpmath.log1p(99_999 * mpmath.exp(-30))
    assert reference.ulps(loss.item(), exact, torch.float32) <= 1
    own = -mpmath.mpf(99_999) / (99_999 + mpmath.exp(30))
    assert reference.ulps(logits.grad[0, 7].item(), own, torch.float32) <= 1


def test_half_precision_mean_of_many_rows_is_finite():
    loss = ours.cross_entropy(torch.zeros(70_000, 3, dtype=torch.float16), torch.zeros(70_000, dtype=torch.long))
    assert loss.dtype is torch.float16
    assert loss.item() == pytest.approx(1.0986, abs=1e-3)


# Edges


def test_an_ignored_row_may_hold_anything():
    logits = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]], requires_grad=True)
    loss = ours.cross_entropy(logits, torch.tensor([0, -100]), z_loss=0.5, label_smoothing=0.1)
    loss.backward()
    alone = logits.detach()[:1].clone().requires_grad_()
    expected = ours.cross_entropy(alone, torch.tensor([0]), z_loss=0.5, label_smoothing=0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits.grad, torch.cat([alone.grad, torch.zeros(1, 2)]))


@pytest.mark.parametrize("by_hand", [True, False], ids=["own backward", "formula"])
def test_a_bad_index_that_nobody_read_is_nan_and_touches_no_other_row(by_hand):
    logits = torch.randn(3, 4, requires_grad=True)
    target = torch.tensor([1, 9, -7])

    def loss_of(z):
        return ours.cross_entropy(z, target, reduction="none", check=False)

    loss = loss_of(logits) if by_hand else torch.func.vmap(loss_of)(logits.unsqueeze(0))[0]
    loss[0].backward(retain_graph=True)
    assert loss.isnan().tolist() == [False, True, True]
    loss.sum().backward()
    assert logits.grad[1:].isnan().all()
    assert logits.grad[0].isfinite().all()


# Drop-in


def test_inputs_are_never_written():
    logits, target = example((4, 5), torch.float64)
    before, indices = logits.clone(), target.clone()
    leaf = logits.requires_grad_()
    ours.cross_entropy(leaf, target, label_smoothing=0.1, softcap=3.0, z_loss=0.1).backward()
    assert torch.equal(leaf.detach(), before)
    assert torch.equal(target, indices)


def test_changing_the_target_before_the_backward_is_noticed():
    logits, target = example((4, 5))
    loss = ours.cross_entropy(logits.requires_grad_(), target)
    target[0] = (target[0] + 1) % 5
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_rows_do_not_depend_on_their_neighbours():
    """More rows than one block holds: each row's loss is the same to the bit wherever it stands."""
    logits, target = example((300, 1000), torch.float32)
    together = ours.cross_entropy(logits, target, reduction="none")
    alone = torch.cat([ours.cross_entropy(logits[i : i + 1], target[i : i + 1], reduction="none") for i in range(300)])
    assert torch.equal(together, alone)
    leaf = logits.clone().requires_grad_()
    ours.cross_entropy(leaf, target, reduction="sum").backward()
    last = logits[-1:].clone().requires_grad_()
    ours.cross_entropy(last, target[-1:], reduction="sum").backward()
    assert torch.equal(leaf.grad[-1:], last.grad)


def test_a_single_row_takes_its_index_in_either_shape():
    row = torch.randn(4)
    for target in (torch.tensor(2), torch.tensor([2])):
        torch.testing.assert_close(ours.cross_entropy(row, target), F.cross_entropy(row, target))


def test_published_numbers():
    """Rows 13, 24, 31 to 35, 43 and 48 of the concepts."""
    logits = torch.tensor(
        [
            [0.1752, 0.0539, -0.0581],
            [0.0544, 0.0642, 0.0782],
            [0.3230, 0.0958, 0.1941],
            [0.1143, -0.0508, 0.0701],
            [0.1249, 0.0510, 0.1147],
        ]
    )
    target = torch.tensor([1, 0, 2, 0, 2])
    losses = lastlayer.cross_entropy(logits, target, reduction="none")
    expected = torch.tensor([1.1062, 1.1099, 1.1132, 1.0312, 1.0813])
    torch.testing.assert_close(losses, expected, atol=1e-4, rtol=0)
    assert lastlayer.cross_entropy(logits, target).item() == pytest.approx(1.0884, abs=1e-4)
    picked = lastlayer.nll_loss(lastlayer.softmax(logits, 1), target, reduction="none")
    expected = torch.tensor([-0.3308, -0.3296, -0.3285, -0.3566, -0.3391])
    torch.testing.assert_close(picked, expected, atol=1e-4, rtol=0)
    dog = lastlayer.cross_entropy(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0]))
    assert dog.item() == pytest.approx(0.1291, abs=1e-4)
