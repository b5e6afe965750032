"""Questions to what compares distributions, to the linear losses, and to the reductions."""

from collections.abc import Iterator

import torch
from torch import Tensor

from benchmarks.accuracy import exact
from benchmarks.accuracy.elementwise import easy_logits
from benchmarks.accuracy.exact import Row, mp
from benchmarks.accuracy.question import EASY, HALF, HARD, Question, promise


def questions(dtype: torch.dtype, size: int) -> Iterator[Question]:
    yield from _kl_divergence(dtype, size // 8)
    yield from _kl_div(dtype, size // 8)
    yield from _cross_entropy_of(dtype, size // 8)
    yield from _linear(dtype, size // 4)
    yield from _reductions(dtype)
    if dtype is torch.float16:
        yield _million()


def _normal(rows: int, classes: int, scale: float, seed: int) -> Tensor:
    return torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * scale


def _kl_divergence(dtype: torch.dtype, count: int) -> Iterator[Question]:
    p = _normal(count, 10, 3, 20).to(dtype)
    step = torch.finfo(dtype).eps ** torch.linspace(0.3, 1, count, dtype=torch.float64).unsqueeze(1)
    families = {
        "easy": (p, _normal(count, 10, 3, 21).to(dtype), 2 * HARD if dtype is torch.float64 else EASY),
        # what is promised of close distributions is the sign
        "close distributions": (p, (p.double() + step * _normal(count, 10, 3, 22)).to(dtype), None),
    }
    for family, (p_logits, q_logits, bound) in families.items():
        pairs = zip(p_logits.tolist(), q_logits.tolist(), strict=True)
        truth = [Row(mine).kl_divergence(Row(other)) if mine != other else mp.mpf(0) for mine, other in pairs]
        yield Question(
            "kl_divergence",
            family,
            (p_logits, q_logits),
            lambda f, p, q: f.kl_divergence(p, q),
            truth,
            dtype,
            promise(dtype, bound),
            never_negative=True,
        )


def _kl_div(dtype: torch.dtype, count: int) -> Iterator[Question]:
    p = torch.softmax(_normal(count, 10, 2, 23), -1).to(dtype)
    log_p = p.double().log().to(dtype)
    other = torch.log_softmax(_normal(count, 10, 2, 24), -1).to(dtype)
    families = {
        "easy": (other, p, False, EASY),
        # float64 has no wider logarithm to subtract from: promised up to float32
        "close distributions": (log_p, p, False, None if dtype is torch.float64 else HARD),
        "positive inputs": (-other, p, False, EASY),
        "log_target": (other, log_p, True, EASY),
    }
    for family, (log_q, target, log_target, bound) in families.items():
        pairs = zip(log_q.flatten().tolist(), target.flatten().tolist(), strict=True)
        yield Question(
            "kl_div",
            family,
            (log_q, target),
            lambda f, q, t, log_target=log_target: f.kl_div(q, t, reduction="none", log_target=log_target),
            [exact.kl_term(q, t, log_target) for q, t in pairs],
            dtype,
            promise(dtype, bound),
        )
    pairs = list(zip(other.flatten().tolist(), p.flatten().tolist(), strict=True))
    total = mp.fsum(exact.kl_term(q, t, False) for q, t in pairs)
    yield Question(
        "kl_div",
        "easy, batchmean",
        (other, p),
        lambda f, q, t: f.kl_div(q, t, reduction="batchmean"),
        [total / count],
        dtype,
        promise(dtype, EASY),
    )


def _cross_entropy_of(dtype: torch.dtype, count: int) -> Iterator[Question]:
    p, q = (torch.softmax(_normal(count, 10, 2, seed), -1).to(dtype) for seed in (25, 26))
    truth = [
        mp.fsum(mp.mpf(a) * -mp.log(mp.mpf(b)) for a, b in zip(*rows, strict=True) if a)
        for rows in zip(p.tolist(), q.tolist(), strict=True)
    ]
    yield Question(
        "cross_entropy_of", "easy", (p, q), lambda f, p, q: f.cross_entropy_of(p, q), truth, dtype, promise(dtype, EASY)
    )


def _linear(dtype: torch.dtype, count: int) -> Iterator[Question]:
    """Exact products: few bits, so that the loss alone is measured. Easy: the products round too; not promised.

    bfloat16 rounds its logits as PyTorch's layers do (docs/decisions/009); float16 multiplies in float32 on a CPU.
    """
    features, weight = _normal(count, 64, 1, 27), _normal(10, 64, 0.3, 28)
    for family, steps, bound in (("exact products", 4, EASY), ("easy, 64 features", None, None)):
        x, w = (t if steps is None else (t * steps).round() / steps for t in (features, weight))
        x, w = x.to(dtype), w.to(dtype)
        target = torch.randint(10, (count,), generator=torch.Generator().manual_seed(29))
        columns = [[mp.mpf(v) for v in row] for row in w.tolist()]
        z = [[mp.fdot(row, column) for column in columns] for row in x.tolist()]
        truth = [-Row(row).log_p(y) for row, y in zip(z, target.tolist(), strict=True)]
        wide_products = family == "easy, 64 features" and dtype is torch.float16
        bound = HALF if wide_products else promise(dtype, bound)
        if dtype is torch.bfloat16:
            bound = None
        yield Question(
            "linear_cross_entropy",
            family,
            (x, w, target),
            lambda f, x, w, t: f.linear_cross_entropy(x, w, t, reduction="none"),
            truth,
            dtype,
            bound,
        )
        yes = (target.unsqueeze(1) == torch.arange(10)).to(dtype)
        hard = yes.flatten().tolist()
        flat = [value for row in z for value in row]
        truth = [exact.binary_cross_entropy_with_logits(v, y) for v, y in zip(flat, hard, strict=True)]
        yield Question(
            "linear_binary_cross_entropy",
            family,
            (x, w, yes),
            lambda f, x, w, t: f.linear_binary_cross_entropy(x, w, t, reduction="none"),
            truth,
            dtype,
            bound,
        )


def _reductions(dtype: torch.dtype) -> Iterator[Question]:
    """The mean and the sum of 1,000 rows."""
    rows = 1000
    z = easy_logits(dtype, rows * 3, 30).reshape(rows, 3)
    target = torch.arange(rows) % 3
    log_p = z.double().log_softmax(-1).to(dtype)
    x, y = z[:, 0].contiguous(), (target == 0).to(dtype)
    losses = {
        "cross_entropy": ((z, target), [-Row(r).log_p(t) for r, t in zip(z.tolist(), target.tolist(), strict=True)]),
        "nll_loss": ((log_p, target), [-mp.mpf(r[t]) for r, t in zip(log_p.tolist(), target.tolist(), strict=True)]),
        "binary_cross_entropy_with_logits": (
            (x, y),
            [exact.binary_cross_entropy_with_logits(*pair) for pair in zip(x.tolist(), y.tolist(), strict=True)],
        ),
    }
    for function, (inputs, per_row) in losses.items():
        total = mp.fsum(per_row)
        for reduction, truth in (("mean", [total / rows]), ("sum", [total])):
            answer = lambda f, *inputs, n=function, r=reduction: getattr(f, n)(*inputs, reduction=r)  # noqa: E731
            yield Question(
                function, f"easy, {reduction} of 1,000 rows", inputs, answer, truth, dtype, promise(dtype, EASY)
            )


def _million() -> Question:
    """A sum that float16 cannot hold, of a thousand rows over and over."""
    few = easy_logits(torch.float16, 3000, 31).reshape(1000, 3)
    target = torch.arange(1000) % 3
    truth = mp.fsum(-Row(r).log_p(t) for r, t in zip(few.tolist(), target.tolist(), strict=True)) / 1000
    return Question(
        "cross_entropy",
        "mean of a million rows",
        (few.repeat(1000, 1), target.repeat(1000)),
        lambda f, z, t: f.cross_entropy(z, t),
        [truth],
        torch.float16,
        HALF,
    )
