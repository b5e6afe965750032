"""Questions to the functions of one number: sigmoid and its relatives, binary losses, surprisal."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.accuracy import exact
from benchmarks.accuracy.exact import Exact, mp
from benchmarks.accuracy.question import EASY, HARD, Question, gradient, normal, promise


def questions(dtype: torch.dtype, size: int) -> Iterator[Question]:
    """`size` numbers per family."""
    yield from _of_logits(dtype, size)
    yield from _of_probabilities(dtype, size)
    yield from _binary_of_logits(dtype, size)
    yield from _binary_of_probabilities(dtype, size)


def easy_logits(dtype: torch.dtype, size: int, seed: int = 0) -> Tensor:
    """Normal with standard deviation 3."""
    return (torch.randn(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3).to(dtype)


def uniform(dtype: torch.dtype, size: int, seed: int = 1) -> Tensor:
    """Probabilities strictly between 0 and 1."""
    p = torch.rand(size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)
    return p.clamp(torch.finfo(dtype).eps, 1 - torch.finfo(dtype).eps)


def depth(dtype: torch.dtype) -> float:
    """The x where exp(−x) is the smallest normal number."""
    return -math.log(torch.finfo(dtype).tiny)


def tail(dtype: torch.dtype, size: int) -> Tensor:
    """Logits from 1 to where exp(−x) is the smallest normal number."""
    return torch.linspace(1, depth(dtype), size, dtype=torch.float64).to(dtype)


def below_tail(dtype: torch.dtype, size: int) -> Tensor:
    """Logits whose exp(−x) is subnormal."""
    smallest = -math.log(torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)
    return torch.linspace(depth(dtype), smallest, size, dtype=torch.float64).to(dtype)


def _near(middle: float, dtype: torch.dtype) -> Tensor:
    """Both neighbours of `middle` at every power of two of distance that the dtype has."""
    least = round(-math.log2(torch.finfo(dtype).eps))
    steps = [step * 2.0**-k for k in range(3, least + 2) for step in (1, 1.25, 1.5)]
    found = torch.tensor([middle + sign * step for step in steps for sign in (-1, 1)], dtype=torch.float64).to(dtype)
    return found[(found != middle) & (found > 0) & (found < 1)].unique()


def _small(dtype: torch.dtype, size: int) -> Tensor:
    """Probabilities from 1/4 down to the smallest normal number."""
    return torch.exp(-torch.linspace(1.4, depth(dtype) * 0.9999, size, dtype=torch.float64)).to(dtype)


def _elementwise(function: str, family: str, bound: float | None, x: Tensor, f: Callable[[float], Exact]) -> Question:
    return Question(
        function,
        family,
        (x,),
        lambda library, x: getattr(library, function)(x),
        [f(value) for value in x.tolist()],
        x.dtype,
        promise(x.dtype, bound),
    )


def _of_logits(dtype: torch.dtype, size: int) -> Iterator[Question]:
    easy, far, deep = easy_logits(dtype, size), tail(dtype, size // 2), below_tail(dtype, size // 8)
    both = torch.cat([-far, far])
    forms: dict[str, Callable[[float], Exact]] = {
        "sigmoid": exact.sigmoid,
        "logsigmoid": lambda x: -exact.softplus(-x),
        "softplus": exact.softplus,
    }
    for function, form in forms.items():
        yield _elementwise(function, "easy", EASY, easy, form)
        yield _elementwise(function, "both tails", HARD, both, form)
        yield _elementwise(function, "subnormal results", HARD, deep if function == "logsigmoid" else -deep, form)
        yield _elementwise(function, "subnormal inputs", HARD, _subnormal(dtype), form)
    for family, x in (("easy", easy), ("both tails", both)):
        slopes = [exact.sigmoid(v) * exact.sigmoid(-v) for v in x.tolist()]
        keep = normal(slopes, dtype)
        answer = gradient()(lambda f, x: f.sigmoid(x).sum())
        yield Question(
            "sigmoid", f"gradient, {family}", (x,), answer, [slopes[i] for i in keep], dtype, promise(dtype, HARD), keep
        )


def _subnormal(dtype: torch.dtype) -> Tensor:
    info = torch.finfo(dtype)
    steps = torch.tensor([1, 2, 3, 7, 1 / info.eps - 1], dtype=torch.float64) * info.tiny * info.eps
    return torch.cat([steps, -steps]).to(dtype)


def _of_probabilities(dtype: torch.dtype, size: int) -> Iterator[Question]:
    tiny = _subnormal(dtype)
    families = {
        "easy": (EASY, uniform(dtype, size)),
        "near 0": (HARD, _small(dtype, size // 2)),
        "near 0.5": (HARD, _near(0.5, dtype)),
        "near 1": (HARD, _near(1.0, dtype)),
        "subnormal inputs": (HARD, tiny[tiny > 0]),
    }
    for family, (bound, p) in families.items():
        yield _elementwise("logit", family, bound, p, exact.logit)
        if family != "near 0.5":
            yield _elementwise("surprisal", family, bound, p, lambda p: -mp.log(mp.mpf(p)))


def _binary(
    function: str,
    family: str,
    bound: float | None,
    slope_bound: float | None,
    x: Tensor,
    y: Tensor,
    loss: Callable[[float, float], Exact],
    slope: Callable[[float, float], Exact],
) -> Iterator[Question]:
    """The loss per element and its gradient."""
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    yield Question(
        function,
        family,
        (x, y),
        lambda f, x, y: getattr(f, function)(x, y, reduction="none"),
        [loss(*pair) for pair in pairs],
        x.dtype,
        promise(x.dtype, bound),
    )
    slopes = [slope(*pair) for pair in pairs]
    keep = list(range(len(slopes))) if family == "subnormal results" else normal(slopes, x.dtype)
    answer = gradient()(lambda f, x, y: getattr(f, function)(x, y, reduction="sum"))
    yield Question(
        function,
        f"gradient, {family}",
        (x, y),
        answer,
        [slopes[i] for i in keep],
        x.dtype,
        promise(x.dtype, slope_bound),
        keep,
    )


def _binary_of_logits(dtype: torch.dtype, size: int) -> Iterator[Question]:
    name, forms = "binary_cross_entropy_with_logits", (exact.binary_cross_entropy_with_logits, exact.binary_slope)
    easy, far = easy_logits(dtype, size, 2), tail(dtype, size // 4)
    hard = (uniform(torch.float64, size, 3) > 0.5).to(dtype)
    yield from _binary(name, "easy", EASY, HARD, easy, hard, *forms)
    # σ(x) − y of a soft target is a difference of near numbers: measured, not promised; half precision rounds it once
    soft_slope = HARD if dtype.itemsize == 2 else None
    yield from _binary(name, "soft targets", EASY, soft_slope, easy, uniform(dtype, size, 4), *forms)
    x = torch.cat([far, -far, far, -far])
    y = torch.cat([torch.ones_like(far), torch.zeros_like(far), torch.zeros_like(far), torch.ones_like(far)])
    yield from _binary(name, "both tails", HARD, HARD, x, y, *forms)
    deep = below_tail(dtype, size // 8)
    x, y = torch.cat([deep, -deep]), torch.cat([torch.ones_like(deep), torch.zeros_like(deep)])
    yield from _binary(name, "subnormal results", HARD, HARD, x, y, *forms)


def _binary_of_probabilities(dtype: torch.dtype, size: int) -> Iterator[Question]:
    name = "binary_cross_entropy"
    hard = (uniform(torch.float64, size, 3) > 0.5).to(dtype)

    def slope(p: float, y: float) -> Exact:
        return (mp.mpf(p) - mp.mpf(y)) / (mp.mpf(p) * (1 - mp.mpf(p)))

    yield from _binary(name, "easy", EASY, HARD, uniform(dtype, size), hard, exact.binary_cross_entropy, slope)
    ends = torch.cat([_near(1.0, dtype), _small(dtype, size // 4)])
    ends = ends[ends > 1e-11]  # PyTorch's gradient is clamped where p(1 − p) < 1e-12
    p, y = torch.cat([ends, ends]), torch.cat([torch.zeros_like(ends), torch.ones_like(ends)])
    kept = (p * (1 - p)).double() > 1e-11
    yield from _binary(name, "both tails", HARD, HARD, p[kept], y[kept], exact.binary_cross_entropy, slope)
