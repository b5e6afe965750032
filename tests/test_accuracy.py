"""The promised digits, on reduced inputs, in every dtype and on every backend; `make accuracy` asks the rest."""

import random
from types import SimpleNamespace

import mpmath
import pytest
import torch
from torch.nn import functional as F

from benchmarks.accuracy import __main__ as command
from benchmarks.accuracy import (
    cases,
    compared,
    distributions,
    elementwise,
    exact,
    measure,
    pages,
    promises,
    rows,
    tables,
)
from benchmarks.accuracy.libraries import PYTORCH, columns
from benchmarks.accuracy.question import DTYPES, HALF, Question
from lastlayer import functional, kernels
from lastlayer.errors import OptionError

ASKED = {
    "elementwise": elementwise.questions,
    "rows": rows.questions,
    "special rows": rows.special,
    "distributions": distributions.questions,
}
# Where a result cancels, only many inputs find the worst; long rows cost the most.
SIZES = {"elementwise": 200, "rows": measure.QUICK, "special rows": measure.FULL, "distributions": 600}
TORCH = [("lastlayer", PYTORCH, "cpu")]  # PyTorch under our name: what it would have to promise


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])
def test_promised_digits(dtype, what):
    everyone = list(columns())
    found = list(measure.results(ASKED[what](dtype, SIZES[what]), everyone))
    served = {name for result in found for name, score in result.scores.items() if score}
    assert "eager" in served
    misses = [f"{name}: {miss}" for name, miss in pages.misses(found)]
    assert not misses, "\n".join(["", *misses])


def test_every_function_and_backend_is_asked():
    asked = {question.function for questions in ASKED.values() for question in questions(torch.float16, 16)}
    public = {name for name in functional.__all__ if name[0].islower()} - {"one_hot", "hardmax"}  # integers
    assert asked == public
    assert {title for title, _, device in columns() if device == "cpu"} == set(kernels.BACKENDS)


# The judge, judged


@pytest.fixture(scope="module")
def plain():
    """Arithmetic in which the plain definitions do not cancel."""
    context = mpmath.MPContext()
    context.prec = 4000
    return context


ROWS = [[80.0, 0.0], [0.0, -700.0, 3.0], [1e4, 1e4 + 2, 1e4 - 5], [0.25], [-1.0, -1.0, -1.0], [2.0**-30, -650.0]]


@pytest.mark.parametrize("z", ROWS, ids=str)
def test_exact_rows_are_the_plain_definitions(plain, z):
    e = [plain.exp(plain.mpf(v)) for v in z]
    total = plain.fsum(e)
    row = exact.Row(z)

    def near(found, expected):
        assert abs(plain.mpf(found) - expected) <= abs(expected) * plain.mpf(2) ** -230

    near(row.logsumexp(), plain.log(total))
    near(row.entropy(), plain.fsum(-v / total * plain.log(v / total) for v in e))
    for j, v in enumerate(e):
        near(row.p(j), v / total)
        near(row.not_p(j), 1 - v / total)
        near(row.log_p(j), plain.log(v / total))
    q = [exact.mp.mpf(1) / 3] * len(z)
    near(row.cross_entropy(q), plain.fsum(-plain.mpf(s) * plain.log(v / total) for s, v in zip(q, e, strict=True)))
    other = [v + 0.5 * k for k, v in enumerate(z)]
    f = [plain.exp(plain.mpf(v)) for v in other]
    truth = plain.fsum(v / total * plain.log(v / total / (w / plain.fsum(f))) for v, w in zip(e, f, strict=True))
    found = row.kl_divergence(exact.Row(other))
    assert abs(plain.mpf(found) - truth) <= abs(truth) * plain.mpf(2) ** -150  # a difference: some bits are spent


@pytest.mark.parametrize("x", [-745.0, -80.0, -1e-300, 0.0, 3.0, 700.0])
def test_exact_numbers_are_the_plain_definitions(plain, x):
    p = 1 / (1 + plain.exp(-plain.mpf(x)))
    pairs = [
        (exact.sigmoid(x), p),
        (exact.softplus(x), -plain.log(1 - p)),
        (exact.binary_cross_entropy_with_logits(x, 0.25), -plain.log(p) / 4 - plain.log(1 - p) * 3 / 4),
        (exact.binary_cross_entropy_with_logits(x, 1.0), -plain.log(p)),
        (exact.binary_slope(x, 1.0), p - 1),
        (exact.binary_slope(x, 0.0), p),
    ]
    for found, truth in pairs:
        assert abs(plain.mpf(found) - truth) <= abs(truth) * plain.mpf(2) ** -240


@pytest.mark.parametrize("p", [1e-300, 0.3, 0.5 - 2**-54, 1 - 2**-53])
def test_exact_probabilities_are_the_plain_definitions(plain, p):
    yes, no = -plain.log(plain.mpf(p)), -plain.log(1 - plain.mpf(p))
    pairs = [
        (exact.logit(p), no - yes),
        (exact.binary_cross_entropy(p, 0.0), no),
        (exact.binary_cross_entropy(p, 1.0), min(yes, plain.mpf(100))),
        (exact.kl_term(-0.5, p, False), plain.mpf(p) * (0.5 - yes)),
        (exact.kl_term(-0.5, -p, True), plain.exp(-plain.mpf(p)) * (0.5 - plain.mpf(p))),
    ]
    for found, truth in pairs:
        assert abs(plain.mpf(found) - truth) <= abs(truth) * plain.mpf(2) ** -190


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_ulps(dtype):
    info, one = torch.finfo(dtype), exact.mp.mpf(1)
    for start in (1.0, 1.5, -3.0, info.tiny, info.tiny * info.eps * 3, info.max / 4):
        here = torch.tensor(start, dtype=dtype)
        up = torch.nextafter(here, torch.tensor(float("inf"), dtype=dtype)).item()
        assert exact.ulps(up, exact.mp.mpf(here.item()), dtype) == 1
        assert exact.ulps(here.item(), exact.mp.mpf(here.item()), dtype) == 0
    assert exact.ulps(1.0, one + exact.mp.mpf(info.eps) / 4, dtype) == 0.25
    assert exact.ulps(0.0, one, dtype) == 1 / info.eps
    assert exact.ulps(info.tiny * info.eps, exact.mp.mpf(0), dtype) == 1
    for wrong in (float("nan"), float("inf")):
        assert exact.ulps(wrong, one, dtype) == float("inf")
    assert exact.ulps(float("inf"), exact.mp.inf, dtype) == 0
    assert exact.ulps(float("nan"), exact.mp.inf, dtype) == float("inf")


WRONG = {
    "PyTorch's own": {},
    "no gradient": {"cross_entropy": lambda z, *rest, **options: F.cross_entropy(z, *rest, **options) * 0},
    "float64, p − 1": {
        "cross_entropy": lambda z, *rest, **options: F.cross_entropy(z.double(), *rest, **options).to(z.dtype)
    },
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("part", ["confident, 2 classes", "gradient at the target, confident, 2 classes"])
def test_a_wrong_cross_entropy_is_noticed(part, wrong):
    f = SimpleNamespace(**{**vars(PYTORCH), **wrong})
    asked = [q for q in _until(rows.questions(torch.float32, 64), part) if q.name == f"cross_entropy, {part}"]
    (result,) = measure.results(asked, [("wrong", f, "cpu")])
    assert result.missed() == ["wrong"]
    assert any(k.misses for k in promises.kept([result]))


def _until(questions, family):
    """The questions up to this family: what comes later takes seconds."""
    for question in questions:
        yield question
        if question.function == "cross_entropy" and question.family == family:
            return


def test_pytorch_misses_what_is_promised():
    found = list(measure.results(elementwise.questions(torch.float32, 64), TORCH))
    missed = {result.question.function for result in found if result.missed()}
    assert {"logit", "sigmoid", "binary_cross_entropy_with_logits"} <= missed


def test_a_negative_divergence_is_noticed():
    f = SimpleNamespace(**{**vars(PYTORCH), "kl_divergence": lambda p, q: functional.kl_divergence(p, q) - 1e-9})
    asked = [q for q in distributions.questions(torch.float32, 16) if q.name == "kl_divergence, close distributions"]
    (result,) = measure.results(asked, [("wrong", f, "cpu")])
    assert result.missed() == ["wrong"]


def test_a_backend_that_does_not_serve_a_call_is_left_out():
    def refuses(*arguments, **options):
        raise OptionError("this backend has no float32")

    x = torch.zeros(2)
    question = Question("sigmoid", "easy", (x,), lambda f, x: f.sigmoid(x), [exact.mp.mpf(0.5)] * 2, x.dtype, 3.0)
    both = [("refuses", SimpleNamespace(sigmoid=refuses), "cpu"), ("PyTorch", PYTORCH, "cpu")]
    (result,) = measure.results([question], both)
    assert result.scores["refuses"] is None
    assert result.missed() == []
    assert tables.shown(result.scores["refuses"], torch.float32) == "–"
    assert "refuses" not in pages.text([result], promises.kept([result]))


def test_a_new_backend_is_a_new_column(monkeypatch):
    monkeypatch.setitem(kernels.BACKENDS, "other", kernels.BACKENDS["eager"])
    select = kernels.select
    as_eager = {"other": "eager"}
    monkeypatch.setattr(kernels, "select", lambda op, x, backend: select(op, x, as_eager.get(backend, backend)))
    (question,) = [q for q in elementwise.questions(torch.float16, 16) if q.name == "sigmoid, easy"]
    (result,) = measure.results([question], [column for column in columns() if column[2] == "cpu"])
    assert result.scores["other"] == result.scores["eager"]
    assert "    other" in pages.text([result], promises.kept([result])).splitlines()[1]


# The comparison with PyTorch


@pytest.mark.parametrize("name", cases.CASES)
def test_case(name):
    case = cases.CASES[name]
    found = compared.results(case, functional)
    assert set(found) == set(case.exact)
    for label, truth in case.exact.items():
        away = compared.distance(found[label], truth)
        if away is None:  # an error, or NaN on purpose
            assert isinstance(truth, str)
            assert isinstance(found[label], str) or found[label].isnan()
        else:
            assert away <= (HALF if found[label].dtype.itemsize == 2 else 4.0), label


@pytest.mark.parametrize("name", random.Random(0).sample(list(cases.CASES), 3))
def test_one_command_reproduces_a_case(name, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["accuracy", "--case", name])
    assert command.main() == 0
    shown = capsys.readouterr().out
    page = (pages.ROOT / "docs" / "compared-with-pytorch.md").read_text(encoding="utf-8")
    part = page.split(f"## {cases.CASES[name].title}\n")[1].split("\n## ")[0]
    assert f"`python -m benchmarks.accuracy --case {name}`" in part
    for line in shown.splitlines():
        if line.startswith("  exact"):
            assert line.removeprefix("  exact").strip() in part


def test_the_pages_hold_every_case_and_function():
    compared = (pages.ROOT / "docs" / "compared-with-pytorch.md").read_text(encoding="utf-8")
    accuracy = (pages.ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    for case in cases.CASES.values():
        assert f"## {case.title}\n" in compared
    for name in {name for name in functional.__all__ if name[0].islower()}:
        assert f"`{name}`" in accuracy
    for promise in promises.PROMISES:
        assert f"| {promise.text} | {promise.bound} |" in accuracy
