"""What may not matter: the place in the batch, the number of threads, the backend, the size of a block or a chunk."""

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor

from lastlayer import functional as ours
from lastlayer import kernels
from tests.functional.cases import distributions, indices, numbers, probabilities
from tests.functional.judging import EACH_BACKEND, FLOATS, device, gradients, naming, served_dtype, upstream_of

CLASSES = 33
WEIGHT = torch.linspace(0.0, 2.0, CLASSES, dtype=torch.float64)
OPTIONS: dict[str, Any] = {"label_smoothing": 0.1, "z_loss": 0.1, "softcap": 9.0, "temperature": 0.7}


def _by_index(z: Tensor, **options: Any) -> Tensor:
    y = indices(tuple(z.shape)).to(z.device)
    y[::7] = -100
    return ours.cross_entropy(z, y, **options)


def _by_probability(z: Tensor, **options: Any) -> Tensor:
    return ours.cross_entropy(z, distributions(tuple(z.shape), z.dtype).to(z.device), **options)


def _binary(z: Tensor, **options: Any) -> Tensor:
    return ours.binary_cross_entropy_with_logits(z, probabilities(tuple(z.shape), z.dtype).to(z.device), **options)


# rows in, one result per row out
PER_ROW = {
    "cross_entropy": (_by_index, {}),
    "cross_entropy, weight": (_by_index, {"weight": WEIGHT}),
    "cross_entropy, options": (_by_index, {**OPTIONS, "weight": WEIGHT}),
    "cross_entropy, probabilities": (_by_probability, OPTIONS),
    "binary_cross_entropy_with_logits": (_binary, {}),
    "binary_cross_entropy_with_logits, options": (
        _binary,
        {"weight": WEIGHT, "pos_weight": WEIGHT, "focal_gamma": 2.0},
    ),
}
FUNCTIONS = ["sigmoid", "logsigmoid", "softplus", "softmax", "log_softmax", "logsumexp", "entropy"]


def losses(name: str, backend: str, dtype: torch.dtype, reduction: str) -> Any:
    """The loss `name` of logits, with its weights in `dtype`."""
    function, options = PER_ROW[name]
    options = {k: v.to(device(backend), dtype) if isinstance(v, Tensor) else v for k, v in options.items()}
    return lambda z: function(z, **options, reduction=reduction, backend=backend)


def equal(first: tuple[Tensor, list[Tensor]], second: tuple[Tensor, list[Tensor]]) -> None:
    """To the bit, losses and gradients."""
    for a, b in zip([first[0], *first[1]], [second[0], *second[1]], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)


def dtypes(backend: str, name: str) -> list[torch.dtype]:
    return FLOATS[FLOATS.index(served_dtype(backend, name.split(",")[0])) :]


# Place in the batch: equal to the bit


@EACH_BACKEND
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_row_is_the_same_wherever_it_stands(name, backend):
    for dtype in dtypes(backend, name):
        z = numbers((700, CLASSES), dtype).to(device(backend))
        options = {} if name in ("sigmoid", "logsigmoid", "softplus") else {"dim": -1}

        def call(x, options=options):
            return getattr(ours, name)(x, **options, backend=backend)

        together = gradients(lambda x: call(x), [z])
        upstream = upstream_of(together[0])
        with naming(dtype):
            for start, stop in ((0, 1), (311, 312), (699, 700), (128, 517)):
                leaf = z[start:stop].clone().requires_grad_()
                part = call(leaf)
                part.backward(upstream[start:stop])
                equal((together[0][start:stop], [together[1][0][start:stop]]), (part.detach(), [leaf.grad]))


@EACH_BACKEND
def test_a_loss_is_the_same_wherever_its_row_stands(backend):
    """In a batch of one, at either end of 700 rows, and between other neighbours."""
    for dtype in dtypes(backend, "cross_entropy"):
        z = (numbers((700, CLASSES), dtype) * 2).to(device(backend))
        y, q = indices((700, CLASSES)).to(z.device), distributions((700, CLASSES), dtype).to(z.device)
        y[::7] = -100
        weight = WEIGHT.to(z.device, dtype)
        for target, options in ((y, {}), (y, {**OPTIONS, "weight": weight}), (q, {"weight": weight}), (q, OPTIONS)):

            def call(rows, z=z, target=target, options=options):
                leaf = z[rows].clone().requires_grad_()
                loss, lse = ours.cross_entropy(
                    leaf, target[rows], reduction="none", return_lse=True, **options, backend=backend
                )
                (loss.sum() + lse.sum()).backward()
                return loss.detach(), [lse.detach(), leaf.grad]

            together = call(slice(None))
            for rows in (slice(0, 1), slice(699, 700), slice(100, 103), slice(200, 600)):
                with naming((dtype, rows, options)):
                    equal((together[0][rows], [x[rows] for x in together[1]]), call(rows))
            order = torch.randperm(700, generator=torch.Generator().manual_seed(0)).to(z.device)
            with naming((dtype, "shuffled", options)):
                equal((together[0][order], [x[order] for x in together[1]]), call(order))


# Threads: equal to the bit


@contextlib.contextmanager
def threads(count: int):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@EACH_BACKEND
@pytest.mark.parametrize("shape", [(1200, CLASSES), (3, 70_000)], ids=str)
@pytest.mark.parametrize("name", ["cross_entropy", "cross_entropy, probabilities", "binary_cross_entropy_with_logits"])
def test_the_number_of_threads_changes_no_bit(name, shape, backend):
    """Large enough to be shared out; the mean too, whose sum threads would like to split."""
    for dtype in dtypes(backend, name)[:2]:
        z = numbers(shape, dtype).to(device(backend))
        for reduction in ("none", "mean"):
            call, found = losses(name, backend, dtype, reduction), []
            for count in (1, 2):
                with threads(count):
                    found.append(gradients(call, [z]))
            with naming((dtype, reduction)):
                equal(*found)


# Sizes of blocks and chunks: equal to rounding


@pytest.mark.parametrize("name", [name for name in PER_ROW if name.startswith("cross_entropy")])
def test_the_size_of_a_block_does_not_matter(name, monkeypatch):
    """The eager kernel works on some rows at a time: one row, a few, or all give every row the same bits."""
    from lastlayer.kernels.eager import _softmax as kernel

    z = numbers((50, CLASSES), torch.float32)
    for reduction in ("none", "mean", "sum"):
        call, found = losses(name, "eager", torch.float32, reduction), []
        for size in (1, CLASSES * 7, 2**17):
            monkeypatch.setattr(kernel, "_BLOCK_ON_CPU", size)
            found.append(gradients(call, [z]))
        with naming(reduction):
            equal(found[0], found[2])
            equal(found[1], found[2])


@EACH_BACKEND
def test_a_batch_in_pieces_is_the_batch(backend):
    """The sum of the losses of its pieces, and each piece's gradients: what a chunked kernel has to keep."""
    dtype, place = served_dtype(backend, "linear_cross_entropy"), device(backend)
    x, w, b = numbers((90, 8), dtype), numbers((CLASSES, 8), dtype, seed=8), numbers((CLASSES,), dtype, seed=9)
    y = indices((90, CLASSES))
    y[::7] = -100
    weight = WEIGHT.to(place, dtype)

    def total(x, w, b, target=y):
        options = {**OPTIONS, "weight": weight, "reduction": "sum"}
        return ours.linear_cross_entropy(x, w, target.to(place), linear_bias=b, **options, backend=backend)

    tensors = [t.to(place) for t in (x, w, b)]
    whole = gradients(total, tensors)
    for size in (1, 7, 64, 89):

        def in_pieces(x, w, b, size=size):
            pieces = range(0, len(x), size)
            return sum(total(x[i : i + size], w, b, y[i : i + size]) for i in pieces)

        with naming(size):
            found = gradients(in_pieces, tensors)
            tolerance = 1e-11 if dtype is torch.float64 else 1e-4
            for mine, expected in zip([found[0], *found[1]], [whole[0], *whole[1]], strict=True):
                torch.testing.assert_close(mine, expected, rtol=tolerance, atol=tolerance)


# Backends: equal to rounding


@pytest.mark.parametrize("backend", [b for b in kernels.BACKENDS if b != "eager"] or ["auto"])
@pytest.mark.parametrize("name", PER_ROW)
def test_backends_agree(name, backend):
    for dtype in dtypes(backend, name) if backend != "auto" else FLOATS:
        z = numbers((40, CLASSES), dtype)
        for reduction in ("none", "mean", "sum"):
            eager = gradients(losses(name, "eager", dtype, reduction), [z])
            other = gradients(losses(name, backend, dtype, reduction), [z.to(device(backend))])
            tolerance = 4 * torch.finfo(dtype).eps
            with naming((dtype, reduction)):
                for mine, expected in zip([other[0], *other[1]], [eager[0], *eager[1]], strict=True):
                    torch.testing.assert_close(mine.cpu(), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", ["cross_entropy", "softmax", "log_softmax", "logsumexp", "entropy"])
def test_the_axis_of_the_classes_does_not_matter(name):
    """Classes on axis 1 of many, or rows after rows: the same losses, in the places of their rows."""
    z = numbers((3, 5, 2, 4), torch.float64)
    rows = z.movedim(1, -1).reshape(-1, 5)
    if name == "cross_entropy":
        y = indices(tuple(z.shape))
        found, expected = (
            ours.cross_entropy(x, t, reduction="none", **OPTIONS) for x, t in ((z, y), (rows, y.reshape(-1)))
        )
        assert torch.equal(found.reshape(-1), expected)
        return
    found, expected = getattr(ours, name)(z, dim=1), getattr(ours, name)(rows, dim=-1)
    if found.dim() == z.dim():
        found = found.movedim(1, -1)
    torch.testing.assert_close(found.reshape(expected.shape), expected, rtol=1e-14, atol=1e-15)
