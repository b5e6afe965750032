"""Who follows a call or keeps what it saved: checkpoints, hooks, tracers; and options that are tensors."""

import pytest
import torch
from torch.autograd import gradcheck
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from lastlayer import functional as ours
from tests.functional.test_derivatives import EACH, INDEX, SOFT, logits

MATRIX = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
WIDE = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@EACH
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_a_checkpoint_changes_no_gradient(function, use_reentrant):
    z, kept = logits().requires_grad_(), logits().requires_grad_()
    checkpoint(function, z, use_reentrant=use_reentrant).sum().backward()
    function(kept).sum().backward()
    assert torch.equal(z.grad, kept.grad)


@EACH
def test_what_was_saved_is_asked_for_once(function):
    counts = {"packed": 0, "unpacked": 0}

    def count(name):
        def hook(tensor):
            counts[name] += 1
            return tensor

        return hook

    with torch.autograd.graph.saved_tensors_hooks(count("packed"), count("unpacked")):
        loss = function(logits().requires_grad_()).sum()
    loss.backward()
    assert 0 < counts["unpacked"] <= counts["packed"]


@EACH
@pytest.mark.unchecked  # in a trace of torch.jit the sizes are tensors, of which the type checker cannot say anything
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:`torch.jit.trace")
@pytest.mark.parametrize("by", ["torch.jit", "make_fx"])
def test_a_trace_holds_no_numbers_of_its_example(function, by):
    def followed(z):
        return function(z)

    z = logits()
    traced = make_fx(followed)(z) if by == "make_fx" else torch.jit.trace(followed, z, check_trace=False)
    torch.testing.assert_close(traced(z * 2), function(z * 2))


def dense(z, **options):
    return ours.cross_entropy(z, INDEX, **options)


def soft(z, **options):
    return ours.cross_entropy(z, SOFT, **options)


def each(z, **options):
    return ours.cross_entropy(z, INDEX, reduction="none", **options)


def binary(z, **options):
    return ours.binary_cross_entropy_with_logits(z, SOFT, **options)


def linear(z, **options):
    return ours.linear_cross_entropy(z, MATRIX, INDEX, **options)


def linear_binary(z, **options):
    return ours.linear_binary_cross_entropy(z, MATRIX, WIDE, **options)


LEARNT = {  # at its default an option changes nothing, but its slope does
    "cross_entropy": (dense, "temperature", 1.0),
    "cross_entropy none": (each, "temperature", 0.7),
    "cross_entropy softcap": (dense, "softcap", 3.0),
    "cross_entropy smoothing": (dense, "label_smoothing", 0.1),
    "cross_entropy z-loss": (dense, "z_loss", 0.2),
    "cross_entropy soft": (soft, "temperature", 1.0),
    "bce focal": (binary, "focal_gamma", 2.0),
    "bce smoothing": (binary, "label_smoothing", 0.1),
    "linear": (linear, "temperature", 1.0),
    "linear softcap": (linear, "softcap", 3.0),
    "linear smoothing": (linear, "label_smoothing", 0.1),
    "linear z-loss": (linear, "z_loss", 0.2),
    "linear binary": (linear_binary, "focal_gamma", 2.0),
    "linear binary smoothing": (linear_binary, "label_smoothing", 0.1),
    "softmax": (lambda z, **options: ours.softmax(z, 1, **options) ** 2, "temperature", 1.0),
    "log_softmax": (lambda z, **options: ours.log_softmax(z, 1, **options), "temperature", 0.7),
    "logsumexp": (lambda z, **options: ours.logsumexp(z, 1, **options), "temperature", 1.0),
    "softmin": (lambda z, **options: ours.softmin(z, 1, **options) ** 2, "temperature", 1.0),
    "entropy": (lambda z, **options: ours.entropy(z, 1, **options), "temperature", 1.0),
    "bce of probabilities": (
        lambda z, **options: ours.binary_cross_entropy(z.sigmoid(), SOFT, **options),
        "focal_gamma",
        2.0,
    ),
}
LEARNS = pytest.mark.parametrize(("function", "option", "value"), LEARNT.values(), ids=LEARNT)


@LEARNS
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_an_option_is_learnt(function, option, value, backend):
    number = torch.tensor(value, dtype=torch.float64, requires_grad=True)
    for z in (logits(), logits().requires_grad_()):
        assert gradcheck(lambda n, z=z: function(z, backend=backend, **{option: n}), (number,))


@LEARNS
def test_an_option_that_changes_later_changes_no_gradient(request, function, option, value):
    z, number = logits().requires_grad_(), torch.tensor(value, dtype=torch.float64)
    found = function(z, **{option: number})
    number.mul_(0.5)
    if request.node.callspec.id in ("entropy", "bce of probabilities"):  # PyTorch's own operations kept the tensor
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            found.sum().backward()
        return
    expected = function(z, **{option: value})
    torch.testing.assert_close(*(torch.autograd.grad(f.sum(), z)[0] for f in (found, expected)), rtol=1e-12, atol=0)


@LEARNS
@pytest.mark.unchecked  # the annotations say less than is taken: no axes
@pytest.mark.parametrize("backend", ["auto", "eager"])
def test_an_option_of_one_axis_is_a_number(function, option, value, backend):
    z = logits().requires_grad_()
    expected = function(z, backend=backend, **{option: value})
    found = function(z, backend=backend, **{option: torch.full((1,), value, dtype=torch.float64)})
    assert found.shape == expected.shape
    torch.testing.assert_close(*(torch.autograd.grad(f.sum(), z)[0] for f in (found, expected)), rtol=1e-12, atol=0)


@pytest.mark.unchecked  # as above
@pytest.mark.parametrize("backend", ["auto", "eager"])
@pytest.mark.parametrize("reduction", ["none", "mean"])
@pytest.mark.parametrize("option", ["temperature", "softcap", "label_smoothing", "z_loss"])
def test_an_option_of_one_axis_adds_none_to_the_loss(option, reduction, backend):
    number = torch.full((1,), 0.5, dtype=torch.float64, requires_grad=True)
    loss = ours.cross_entropy(logits()[0], INDEX[0], reduction=reduction, backend=backend, **{option: number})
    loss.backward()
    assert loss.shape == ()
    assert number.grad.shape == (1,)


def test_a_batch_of_temperatures():
    z, temperatures = logits(), torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)
    found = torch.vmap(lambda t: ours.cross_entropy(z, INDEX, temperature=t))(temperatures)
    expected = [ours.cross_entropy(z, INDEX, temperature=float(t)) for t in temperatures]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-12, atol=0)


@pytest.mark.unchecked  # torch.compile cannot trace through the run-time type checker
@pytest.mark.parametrize("option", ["temperature", "label_smoothing"])
def test_an_option_is_learnt_in_a_compiled_program(option):
    z, number = logits(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    def loss(z, number):
        return ours.cross_entropy(z, INDEX, **{option: number})

    found = torch.compile(loss, backend="aot_eager", fullgraph=True)(z, number)
    torch.testing.assert_close(
        *(torch.autograd.grad(f, number)[0] for f in (found, loss(z, number))), rtol=1e-12, atol=0
    )
