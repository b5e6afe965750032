"""Questions to the functions of a row of logits: softmax and its relatives, cross-entropy, entropy."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.accuracy.elementwise import below_tail, depth
from benchmarks.accuracy.exact import Row, mp
from benchmarks.accuracy.question import EASY, ENTRIES, HARD, Question, gradient, normal, promise

WIDE = 100_000
SAMPLED = 200  # entries of a wide row that are looked at, besides the target's


class Family(NamedTuple):
    """Rows of logits of one width, with one target each."""

    z: Tensor  # (rows, classes)
    target: Tensor  # (rows)
    rows: list[Row]
    looked_at: list[list[int]]  # per row, the classes whose entries are measured

    @property
    def indices(self) -> list[int]:
        return self.target.tolist()

    def places(self) -> list[int]:
        return [row * self.z.shape[1] + j for row, classes in enumerate(self.looked_at) for j in classes]

    def targets(self) -> list[int]:
        return [row * self.z.shape[1] + y for row, y in enumerate(self.indices)]


def family(z: Tensor, target: Tensor) -> Family:
    """Rows with their exact exponentials."""
    memory: dict[float, mp.mpf] | None = {} if z.element_size() == 2 else None
    rows: list[Row] = []
    for place, values in enumerate(z.tolist()):
        again = place > 0 and torch.equal(z[place], z[place - 1])  # one row with two targets is one computation
        rows.append(rows[-1] if again else Row(values, memory))
    classes = z.shape[1]
    if classes <= SAMPLED:
        looked_at = [list(range(classes)) for _ in rows]
    else:
        some = torch.randperm(classes, generator=_random(9))[:SAMPLED].tolist()
        looked_at = [sorted({*some, y}) for y in target.tolist()]
    return Family(z, target, rows, looked_at)


def questions(dtype: torch.dtype, size: int) -> Iterator[Question]:
    """Every family of rows; `size` says how many rows."""
    for classes, count in ((2, size), (10, size // 2), (100, size // 10), (1000, size // 50)):
        z = (torch.randn(max(count, 2), classes, dtype=torch.float64, generator=_random(classes)) * 3).to(dtype)
        target = torch.randint(classes, (len(z),), generator=_random(5))
        yield from _all(f"easy, {classes:,} classes", family(z, target), EASY)
    confident, wrong = _dominated(dtype, size // 8)
    for classes, (z, target) in confident.items():
        yield from _all(f"confident, {classes} classes", family(z, target), HARD)
    for classes, (z, target) in wrong.items():
        yield from _all(f"dominant wrong class, {classes} classes", family(z, target), HARD)
    deep = torch.stack([torch.zeros(size // 8, dtype=dtype), -below_tail(dtype, size // 8)], 1)
    subnormal = family(deep, torch.zeros(len(deep), dtype=torch.long))
    yield from _cross_entropy("subnormal loss", subnormal, HARD, subnormal_too=True)
    yield from _all("wide, one confident class", family(*_wide_confident(dtype, size)), HARD)
    yield from _all("wide, offset and spread", family(*_wide_spread(dtype)), HARD)


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _dominated(
    dtype: torch.dtype, count: int
) -> tuple[dict[int, tuple[Tensor, Tensor]], dict[int, tuple[Tensor, Tensor]]]:
    """Class 0 leads by a gap from 1 to where the loss is the smallest normal number; it is the target, or is not."""
    right, wrong = {}, {}
    for classes in (2, 10):
        gap = torch.linspace(1, depth(dtype), count, dtype=torch.float64).unsqueeze(1)
        base = torch.randn(count, 1, dtype=torch.float64, generator=_random(6))
        others = base - gap - torch.randn(count, classes - 1, dtype=torch.float64, generator=_random(7)).abs()
        others[:, 0] = (base - gap)[:, 0]
        z = torch.cat([base, others], 1).to(dtype)
        z = z[[Row(row).not_p(0) >= torch.finfo(dtype).tiny for row in z.tolist()]]
        right[classes] = z, torch.zeros(len(z), dtype=torch.long)
        wrong[classes] = z, torch.randint(1, classes, (len(z),), generator=_random(8))
    return right, wrong


def _wide_confident(dtype: torch.dtype, size: int) -> tuple[Tensor, Tensor]:
    gaps = [20.0, 60.0] if size >= 500 else [20.0]
    if dtype is torch.float16:
        gaps = [15.0, 18.0][: len(gaps)]  # beyond that its loss is subnormal
    z = torch.randn(2 * len(gaps), WIDE, dtype=torch.float64, generator=_random(10))
    target = torch.full((len(z),), 777)
    for row, gap in enumerate(gaps):
        z[2 * row : 2 * row + 2, 777] = gap
    target[1::2] = 4  # every other row is sure of a wrong class
    z[1::2] = z[::2]
    return z.to(dtype), target


def _wide_spread(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    z = torch.randn(1, WIDE, dtype=torch.float64, generator=_random(11)) * 20 + 1000
    z = torch.cat([z, z]).to(dtype)
    return z, torch.stack([z[0].argmax(), torch.tensor(4)])


def _all(name: str, rows: Family, bound: float) -> Iterator[Question]:
    yield from _cross_entropy(name, rows, bound)
    yield from _softmax(name, rows, bound)
    if rows.z.shape[1] < WIDE:
        yield from _soft_targets(name, rows, bound)
        yield from _weighted(name, rows, bound)
        exact = [row.entropy() for row in rows.rows]
        keep = normal(exact, rows.z.dtype)
        yield _question("entropy", name, rows, lambda f, z, t: f.entropy(z, -1), [exact[i] for i in keep], bound, keep)


def _question(function, name, rows, answer, exact, bound, keep=None) -> Question:
    dtype = rows.z.dtype
    return Question(function, name, (rows.z, rows.target), answer, exact, dtype, promise(dtype, bound), keep)


def _cross_entropy(name: str, rows: Family, bound: float, *, subnormal_too: bool = False) -> Iterator[Question]:
    def loss(f, z, t, reduction="sum"):
        return f.cross_entropy(z, t, reduction=reduction)

    exact = [-row.log_p(y) for row, y in zip(rows.rows, rows.indices, strict=True)]
    answer = lambda f, z, t: loss(f, z, t, "none")  # noqa: E731
    yield _question("cross_entropy", name, rows, answer, exact, bound)
    slopes = [-row.not_p(y) for row, y in zip(rows.rows, rows.indices, strict=True)]
    yield _question(
        "cross_entropy", f"gradient at the target, {name}", rows, gradient()(loss), slopes, HARD, rows.targets()
    )
    own = set(rows.targets())
    places = [place for place in rows.places() if place not in own]
    width = rows.z.shape[1]
    slopes = [rows.rows[place // width].p(place % width) for place in places]
    keep = list(range(len(slopes))) if subnormal_too else normal(slopes, rows.z.dtype)
    yield _question(
        "cross_entropy",
        f"other gradient entries, {name}",
        rows,
        gradient()(loss),
        [slopes[i] for i in keep],
        ENTRIES,
        [places[i] for i in keep],
    )


def _softmax(name: str, rows: Family, bound: float) -> Iterator[Question]:
    places, width = rows.places(), rows.z.shape[1]
    of = [(rows.rows[place // width], place % width) for place in places]
    p = [row.p(j) for row, j in of]
    keep = normal(p, rows.z.dtype)
    for function, sign in (("softmax", 1), ("softmin", -1)):
        answer = lambda f, z, t, function=function, sign=sign: getattr(f, function)(sign * z, -1)  # noqa: E731
        yield _question(function, name, rows, answer, [p[i] for i in keep], bound, [places[i] for i in keep])
    log_p = [row.log_p(j) for row, j in of]
    yield _question("log_softmax", name, rows, lambda f, z, t: f.log_softmax(z, -1), log_p, bound, places)
    lse = [row.logsumexp() for row in rows.rows]
    away = [i for i, value in enumerate(lse) if abs(value) >= 1]  # nearer to 0 is a family of its own
    yield _question("logsumexp", name, rows, lambda f, z, t: f.logsumexp(z, -1), [lse[i] for i in away], bound, away)


def _soft_targets(name: str, rows: Family, bound: float) -> Iterator[Question]:
    dtype, (count, classes) = rows.z.dtype, rows.z.shape
    raw = torch.randn(count, classes, dtype=torch.float64, generator=_random(12))
    q = torch.softmax(raw, -1).to(dtype)
    shares = [[mp.mpf(v) for v in row] for row in q.tolist()]

    def loss(f, z, q, reduction="sum"):
        return f.cross_entropy(z, q, reduction=reduction)

    exact = [row.cross_entropy(share) for row, share in zip(rows.rows, shares, strict=True)]
    answer = lambda f, z, q: loss(f, z, q, "none")  # noqa: E731
    inputs = (rows.z, q)
    yield Question("cross_entropy", f"soft targets, {name}", inputs, answer, exact, dtype, promise(dtype, bound))
    slopes, keep = [], []
    for row, (mine, share) in enumerate(zip(rows.rows, shares, strict=True)):
        if row >= SAMPLED // classes + 1:
            break
        total, ones = mp.fsum(share), range(classes)
        slopes += [total * mine.p(j) - share[j] for j in ones]
        keep += [row * classes + j for j in ones]
    # p − q is a difference of what float64 cannot hold: promised up to float32 only
    slope_bound = None if dtype is torch.float64 else ENTRIES
    yield Question(
        "cross_entropy",
        f"soft targets, gradient, {name}",
        inputs,
        gradient()(loss),
        slopes,
        dtype,
        promise(dtype, slope_bound),
        keep,
    )


def _weighted(name: str, rows: Family, bound: float) -> Iterator[Question]:
    """Class weights and label smoothing together, by PyTorch's definition."""
    dtype, classes = rows.z.dtype, rows.z.shape[1]
    weight = torch.linspace(0.5, 2, classes, dtype=torch.float64).to(dtype)
    smoothing, w = 0.125, [mp.mpf(v) for v in weight.tolist()]  # a power of two: exact in every dtype
    exact = []
    for row, y in zip(rows.rows, rows.indices, strict=True):
        uniform = mp.fsum(w[j] * -row.log_p(j) for j in range(classes))
        exact.append((1 - smoothing) * w[y] * -row.log_p(y) + smoothing / classes * uniform)
    yield Question(
        "cross_entropy",
        f"weights and smoothing, {name}",
        (rows.z, rows.target, weight),
        lambda f, z, t, w: f.cross_entropy(z, t, w, label_smoothing=smoothing, reduction="none"),
        exact,
        dtype,
        promise(dtype, bound),
    )


def special(dtype: torch.dtype, size: int) -> Iterator[Question]:
    """Entropy with an offset, logsumexp near 0."""
    for classes in (5, 100):
        z = (torch.randn(size // classes + 2, classes, dtype=torch.float64, generator=_random(13)) * 3 + 1e4).to(dtype)
        rows = family(z, torch.zeros(len(z), dtype=torch.long))
        exact = [row.entropy() for row in rows.rows]
        keep = normal(exact, dtype)
        name = f"logits around 10,000, {classes} classes"
        yield _question("entropy", name, rows, lambda f, z, t: f.entropy(z, -1), [exact[i] for i in keep], HARD, keep)
    for classes in (2, 10):
        z = torch.randn(size // 2, classes, dtype=torch.float64, generator=_random(14)) * 2
        distance = torch.logspace(0, math.log10(torch.finfo(dtype).eps), len(z), dtype=torch.float64)
        sign = torch.where(torch.arange(len(z)) % 2 == 0, 1.0, -1.0)
        z = (z - torch.logsumexp(z, -1, keepdim=True) + (sign * distance).unsqueeze(1)).to(dtype)
        rows = family(z, torch.zeros(len(z), dtype=torch.long))
        exact = [row.logsumexp() for row in rows.rows]
        bound = None if dtype is torch.float64 else HARD  # float64 has nothing wider to subtract in
        name = f"near 0, {classes} classes"
        yield _question("logsumexp", name, rows, lambda f, z, t: f.logsumexp(z, -1), exact, bound)
