"""Losses whose gradient is made with them: the same numbers whatever comes back, and however many threads call."""

import gc
import threading
import weakref

import pytest
import torch

from lastlayer import errors, functional
from lastlayer.kernels.cpu import _binary_cross_entropy, _cross_entropy

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# one small call, one of few elements that threads share, and one that makes room of its own
SIZES = {"small": (40, 7), "few": (70, 300), "large": (300, 1000)}


def rows(shape=(40, 7), dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
    return z.requires_grad_(), torch.randint(shape[1], shape[:1], generator=generator), torch.rand(shape).to(dtype)


def cross_entropy(z, y, q, **options):
    return functional.cross_entropy(z, y, **options)


def binary(z, y, q, **options):
    return functional.binary_cross_entropy_with_logits(z, q, **options)


LOSSES = [cross_entropy, binary]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_small_call_has_the_bits_of_any_other(reduction, dtype):
    z, y, _ = rows(dtype=dtype)
    y[3] = -100
    for options in ({}, {"label_smoothing": 0.1}, {"z_loss": 0.2, "softcap": 5.0}, {"temperature": 0.7}):
        small = functional.cross_entropy(z, y, reduction=reduction, **options)
        other, _ = functional.cross_entropy(z, y, reduction=reduction, return_lse=True, **options)
        assert torch.equal(small, other)
        assert torch.equal(*(torch.autograd.grad(loss, z)[0] for loss in (small, other)))


def steps(dtype, *levels):
    """A row of several blocks, each as much higher or lower as `levels` say."""
    z = torch.randn(20, 1024 * len(levels) - 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for n, level in enumerate(levels):
        z[:, 1024 * n : 1024 * (n + 1)] += level
    return z.to(dtype).requires_grad_()


LEVELS = {
    "flat": (0, 0, 0),
    "falling": (20, 0, -20),
    "rising": (-20, 0, 20),
    "further than a frame can hold": (-90, 0, 90),
    "out of the near range": (0, 300, 500),
    "into the near range": (-500, -450, -300),
    "far away": (3000, 3100, 2900),
    "nothing at first": (-float("inf"), 0, 1),
    "nothing but below 1": (-float("inf"), -9, -8),
    "nothing at last": (0, 1, -float("inf")),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_a_large_call_has_the_bits_of_one_without_its_gradient(levels, dtype):
    """Exponentials that are kept in the frame of an earlier block are those of the last frame, digit for digit."""
    z = steps(dtype, *levels)
    y = torch.randint(1100, z.shape[1] - 1100, (20,), generator=torch.Generator().manual_seed(2))
    weight = torch.rand(z.shape[1], generator=torch.Generator().manual_seed(3)) + 0.5
    y[3] = -100
    for options in ({}, {"label_smoothing": 0.1}, {"z_loss": 1e-3}, {"temperature": 0.7}, {"weight": weight.to(dtype)}):
        if options.get("label_smoothing") and min(levels) == -float("inf"):
            continue  # an infinite loss
        for upstream in (1.0, 3.0):
            at_once = functional.cross_entropy(z, y, backend="cpu", **options)
            other, _ = functional.cross_entropy(z, y, backend="cpu", return_lse=True, **options)
            assert torch.isfinite(other)
            assert torch.equal(at_once, other)
            found, expected = (torch.autograd.grad(upstream * loss, z)[0] for loss in (at_once, other))
            assert torch.equal(found, expected)
        eager = torch.autograd.grad(upstream * functional.cross_entropy(z, y, backend="eager", **options), z)[0]
        tolerance = {torch.float64: 1e-13, torch.float32: 3e-6, torch.bfloat16: 1.6e-2, torch.float16: 2e-3}[dtype]
        torch.testing.assert_close(found, eager, rtol=tolerance, atol=1e-7 if dtype is torch.float16 else 1e-12)


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_probabilities_of_rows_of_any_shape(levels):
    z = steps(torch.float32, *levels).detach()
    found = functional.softmax(z, -1, backend="cpu")
    torch.testing.assert_close(found, torch.softmax(z.double(), -1).float(), rtol=3e-7, atol=1e-44)
    assert torch.equal(found, functional.softmax(torch.cat([z, z])[:20], -1, backend="cpu"))


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_whatever_gradient_reaches_the_loss(loss, shape):
    z, *targets = rows(shape)
    exact = z.detach().double().requires_grad_()
    (unit,) = torch.autograd.grad(loss(exact, *targets), exact)
    # the second time it is what the first time says; then it changes every time, and is the same again
    for upstream in (1.0, 0.25, 0.25, 3.0, -2.0, 5.0, 7.0, 7.0, 7.0, 0.0, 1.0):
        (found,) = torch.autograd.grad(upstream * loss(z, *targets), z)
        torch.testing.assert_close(found, (upstream * unit).to(z.dtype), rtol=2e-6, atol=1e-9)


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_a_second_backward_owns_its_gradient(loss, shape):
    z, *targets = rows(shape)
    value = loss(z, *targets)
    (first,) = torch.autograd.grad(value, z, retain_graph=True)
    expected = first.clone()
    first.zero_()
    (second,) = torch.autograd.grad(value, z, retain_graph=True)
    assert torch.equal(second, expected)
    (twice,) = torch.autograd.grad(value, z, create_graph=True)
    torch.testing.assert_close(twice.detach(), expected)
    assert torch.autograd.grad(twice.square().sum(), z)[0].abs().max() > 0


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_logits_changed_in_between_are_noticed(loss):
    leaf, *targets = rows()
    z = leaf * 1
    value = loss(z, *targets)
    z.data.add_(0)  # is not
    with torch.no_grad():
        z.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.backward()


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("grad", [True, False])
def test_targets_that_are_none_are_found_in_the_one_read(grad, shape, monkeypatch):
    z, y, q = rows(shape)
    z.requires_grad_(grad)
    monkeypatch.setattr(torch, "aminmax", None)  # nobody else looks
    cross_entropy(z, y, q)
    binary(z, y, q)
    monkeypatch.undo()
    y[11], q[5, 3] = shape[1], 1.5
    with pytest.raises(errors.TargetError, match=f"Row 11 names class {shape[1]}") as raised:
        cross_entropy(z, y, q)
    assert raised.value.__context__ is None
    with pytest.raises(errors.ProbabilityError, match=r"from .* to 1\.5"):
        binary(z, y, q)
    q[5, 3] = -0.25
    with pytest.raises(errors.ProbabilityError, match=r"from -0\.25 to"):
        binary(z, y, q)
    with pytest.raises(errors.ProbabilityError, match=r"from -0\.25 to"):
        binary(z, y, q, pos_weight=torch.ones(shape[1]), reduction="none")
    assert cross_entropy(z, y, q, ignore_index=shape[1]).isfinite()


FUNCTIONS = {
    "cross_entropy": cross_entropy,
    "binary": binary,
    "softmax": lambda z, y, q: functional.softmax(z, 1),
    "log_softmax": lambda z, y, q: functional.log_softmax(z, 1),
    "sigmoid": lambda z, y, q: functional.sigmoid(z),
    "logit": lambda z, y, q: functional.logit(q),
}
LAYOUTS = {
    "apart": lambda t: t.repeat_interleave(2, -1)[..., ::2],
    "columns first": lambda t: t.t().contiguous().t(),
    "negated": lambda t: torch._neg_view(-t) if t.is_floating_point() else t,
}


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_lies_otherwise_in_memory_is_read_where_it_lies(function, layout, shape):
    given = [t.detach() for t in rows(shape)]
    for wanted in (False, True):
        whole = function(given[0].requires_grad_(wanted), *given[1:])  # what is remembered of it serves no other layout
        for place in range(3):
            moved = [layout(t.detach()) if n == place else t.detach() for n, t in enumerate(given)]
            found = function(moved[0].requires_grad_(wanted), *moved[1:])
            torch.testing.assert_close(found, whole, rtol=1e-6, atol=0)
            if found.requires_grad:
                gradients = [
                    torch.autograd.grad(f.sum(), z, retain_graph=True)[0]
                    for f, z in ((found, moved[0]), (whole, given[0]))
                ]
                torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-12)


def test_a_large_gradient_is_not_made_early_where_hooks_decide_what_is_kept():
    z, _, q = rows((70, 301))
    leaf = z.detach().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        value = binary(leaf, None, q)
    assert value.grad_fn.early is None
    assert binary(leaf, None, q).grad_fn.early is not None
    value.backward()
    assert torch.equal(leaf.grad, torch.autograd.grad(binary(z, None, q), z)[0])


def test_options_that_are_tensors_are_read_each_time():
    z, y, q = rows()
    smoothing = torch.tensor(0.1)
    first = cross_entropy(z, y, q, label_smoothing=smoothing).item(), binary(z, y, q, label_smoothing=smoothing).item()
    smoothing.fill_(0.5)
    then = cross_entropy(z, y, q, label_smoothing=smoothing).item(), binary(z, y, q, label_smoothing=smoothing).item()
    assert first[0] != then[0] == cross_entropy(z, y, q, label_smoothing=0.5).item()
    assert first[1] != then[1] == binary(z, y, q, label_smoothing=0.5).item()


def test_many_shapes_are_not_remembered_for_ever():
    for classes in range(2, 400):
        functional.cross_entropy(torch.zeros(3, classes), torch.zeros(3, dtype=torch.long))
        functional.binary_cross_entropy_with_logits(torch.zeros(classes, requires_grad=True), torch.zeros(classes))
    for plans in (_cross_entropy._PLANS, _binary_cross_entropy._PLANS):
        assert 0 < len(plans) <= 256


def test_threads_share_no_workspace():
    cases = [rows(seed=seed) for seed in range(6)]
    expected = [[torch.autograd.grad(loss(*case), case[0])[0] for loss in LOSSES] for case in cases]
    wrong = []

    def work(case, gradients):
        for _ in range(150):
            for loss, gradient in zip(LOSSES, gradients, strict=True):
                if not torch.equal(torch.autograd.grad(loss(*case), case[0])[0], gradient):
                    wrong.append(loss.__name__)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(cases, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_a_loss_that_nobody_differentiates_keeps_nothing(loss, shape):
    """Its node must not hold it: the gradient would wait for the garbage collector."""
    z, *targets = rows(shape)
    loss(z, *targets)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            node = weakref.ref(loss(z, *targets).grad_fn)
            assert node() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_a_loss_that_is_held_keeps_no_gradient(loss, shape):
    z, *targets = rows(shape)
    for create_graph in (False, True):
        value = loss(z, *targets)
        torch.autograd.grad(value, z, create_graph=create_graph)
        assert value.grad_fn.early is None


@pytest.mark.parametrize("loss", LOSSES, ids=lambda f: f.__name__)
def test_what_is_remembered_of_a_call_holds_none_of_its_tensors(loss):
    given = rows((37, 11))  # a shape of its own: what is remembered of it is made here
    loss(*given, label_smoothing=0.125)
    alive = [weakref.ref(tensor) for tensor in given]
    del given
    gc.collect()
    assert [ref() for ref in alive] == [None, None, None]
