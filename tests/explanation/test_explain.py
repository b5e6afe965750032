"""A computation as data: its values are the library's, its steps the published ones."""

import json
import math

import pytest
import torch

import lastlayer
from lastlayer.explanation import Trace
from lastlayer.explanation.columns import display_width
from lastlayer.explanation.expressions import Call, Number, Symbol, total
from lastlayer.explanation.printing import numbers, symbols

ANIMALS = ["dog", "cat", "rabbit"]


def test_the_published_example():
    """Rows 24, 48, 50 and 51 of the concepts."""
    trace = lastlayer.explain([4.0, 2.0, -2.0], "dog", classes=ANIMALS)
    assert [step.id for step in trace] == [
        "logits", "shift", "exp", "sum", "probabilities", "decision", "truth", "log_probabilities", "pick", "surprisal",
        "loss", "gradient",
    ]  # fmt: skip
    assert trace.probabilities.tolist() == pytest.approx([0.8789, 0.1189, 0.0022], abs=1e-4)
    assert trace["exp"].value.tolist() == pytest.approx([1.0, math.exp(-2), math.exp(-6)])
    assert trace["sum"].value.item() == pytest.approx(62.1225 / math.exp(4), abs=1e-4)
    assert trace["probabilities"].beside[0].value.tolist() == pytest.approx([0.9820, 0.8808, 0.1192], abs=1e-4)
    assert trace["pick"].value.item() == pytest.approx(0.8789, abs=1e-4)
    assert trace["surprisal"].value.item() == pytest.approx(0.1291, abs=1e-4)
    assert trace.loss == pytest.approx(0.1291, abs=1e-4)
    assert trace["gradient"].value.tolist() == pytest.approx([-0.1211, 0.1189, 0.0022], abs=1e-4)
    assert all(check.holds for step in trace for check in step.invariants)


@pytest.mark.parametrize("temperature", [1.0, 0.3, 4.0])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1e-3])
def test_loss_and_gradient_are_the_librarys(temperature, scale):
    z = torch.randn(7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * scale
    for target in range(7):
        leaf = z.clone().requires_grad_()
        expected = lastlayer.cross_entropy(leaf, torch.tensor(target), temperature=temperature)
        expected.backward()
        trace = lastlayer.explain(z, target, temperature=temperature)
        assert trace.loss == expected.item()
        assert torch.equal(trace["gradient"].value, leaf.grad)
        assert all(check.holds for step in trace for check in step.invariants), str(trace)


def test_a_dominant_logit_keeps_its_digits():
    trace = lastlayer.explain([80.0, 0.0], 0)
    assert trace.loss == pytest.approx(math.exp(-80), rel=1e-12)
    assert trace["surprisal"].value.item() == pytest.approx(math.exp(-80), rel=1e-12)


def test_binary():
    """Row 6 of the concepts."""
    trace = lastlayer.explain(-0.1522, "hot dog", classes=["other", "hot dog"], kind="binary")
    assert trace.probabilities.tolist() == pytest.approx([1 - 0.4620, 0.4620], abs=1e-4)
    assert trace.loss == pytest.approx(-math.log(0.4620), abs=1e-4)
    assert trace["gradient"].value.item() == pytest.approx(0.4620 - 1, abs=1e-4)
    no = lastlayer.explain([-0.1522], 0, kind="binary", temperature=2.0)
    assert no.loss == pytest.approx(math.log1p(math.exp(-0.0761)), abs=1e-9)
    assert all(check.holds for step in no for check in step.invariants)


def test_multilabel():
    trace = lastlayer.explain([4.0, 2.0, -2.0], ["dog", "rabbit"], classes=ANIMALS, kind="multilabel")
    assert trace.target == (1, 0, 1)
    y = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    z = torch.tensor([4.0, 2.0, -2.0], dtype=torch.float64, requires_grad=True)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
    expected.backward()
    assert trace.loss == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(trace["gradient"].value, z.grad)
    assert lastlayer.explain([1.0, 2.0], [], kind="multilabel").target == (0, 0)


def test_without_a_target_the_trace_ends_at_the_probabilities():
    for trace in (
        lastlayer.explain([1.0, 2.0]),
        lastlayer.explain(0.3, kind="binary"),
        lastlayer.explain([1.0, 2.0], kind="multilabel"),
    ):
        assert list(trace)[-1].id == "decision"
        assert trace.loss is None


@pytest.mark.parametrize(
    "logits", [[1, 2], (1.0, 2.0), torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 2.0]]), torch.tensor([1, 2]).numpy()]
)
def test_what_may_be_given_as_logits(logits):
    assert lastlayer.explain(logits, 1).loss == pytest.approx(math.log1p(math.exp(-1)))


def test_a_target_may_be_a_tensor():
    assert lastlayer.explain([1.0, 2.0], torch.tensor([1])).target == 1


# Text


def test_text_fits_the_terminal_and_shows_the_numbers():
    for trace in (
        lastlayer.explain([4.0, 2.0, -2.0], "dog", classes=ANIMALS),
        lastlayer.explain(torch.randn(300) * 3, 17, temperature=0.7),
        lastlayer.explain([1e-9, 1e5, -3.0], 0, classes=["a" * 60, "고양이" * 20, "x"]),
    ):
        for language in ("en", "ko"):
            for line in trace.text(language).splitlines():
                assert display_width(line) <= 80, line
    shown = str(lastlayer.explain([4.0, 2.0, -2.0], "dog", classes=ANIMALS))
    assert "▸ dog        4.0000" in shown
    assert "0.1291  = −log 0.8789" in shown
    assert "= 1 · 0.8789 + 0 · 0.1189 + 0 · 0.0022" in shown
    assert "✓ equals cross_entropy" in shown


def test_columns_are_aligned_in_korean_too():
    shown = lastlayer.explain([4.0, 2.0, -2.0], "강아지", classes=["강아지", "고양이", "토끼"]).text("ko")
    rows = [line for line in shown.splitlines() if line.lstrip("▸ ").startswith(("강아지", "고양이", "토끼"))]
    points = {display_width(row[: row.index(".")]) for row in rows if "." in row}
    assert len(points) == 1


def test_many_classes_are_summed_up_and_the_true_one_is_always_shown():
    z = torch.zeros(50, dtype=torch.float64)
    z[7] = 5.0
    shown = str(lastlayer.explain(z, 33))
    assert "▸ class 33" in shown
    p = lastlayer.softmax(z, 0)
    rest = p.sum() - p[7] - 10 * p[0]  # ten largest and the target are shown
    assert f"{rest.item():.4f}" in shown
    assert "39 more classes" in shown
    assert "= 1 · " in shown


def test_a_broken_check_is_shown_as_broken():
    from lastlayer.explanation import Invariant, Step

    step = Step("probabilities", Symbol("p", "j"), None, torch.tensor([0.5, 0.6]), (Invariant("sum_is_one", 0.1),))
    logits = Step("logits", Symbol("z", "j"), None, torch.tensor([1.0, 2.0]))
    assert "✗ sums to 1" in str(Trace("multiclass", (logits, step), {"j": ("a", "b")}))
    assert not Invariant("sum_is_one", float("nan")).holds


def test_one_tree_prints_symbols_and_numbers():
    tree = Call("log", total(Call("exp", Symbol("z", "k")))) - Symbol("z", "j") / Number(2)
    values = {"z": torch.tensor([4.0, -2.0])}
    assert symbols(tree) == "log(Σₖ exp zₖ) − zⱼ / 2"
    assert numbers(tree, values, {"j": 1}) == "log(exp 4 + exp(−2)) − (−2 / 2)"
    nested = 1 - (Symbol("a") - (Symbol("b") - 1)) * 2
    assert symbols(nested) == "1 − (a − (b − 1)) · 2"


# JSON


def test_json_keeps_every_digit():
    trace = lastlayer.explain([0.1, 0.2, 0.3], 2, temperature=0.7)
    kept = json.loads(trace.to_json())
    assert (kept["format"], kept["version"]) == ("lastlayer-trace", 2)
    assert kept["loss"] == trace.loss
    for step, original in zip(kept["steps"], trace, strict=True):
        assert torch.tensor(step["value"], dtype=torch.float64).equal(original.value)
        assert all(check["holds"] for check in step["checks"])
    assert kept["steps"][3]["formula"] == ["exp", ["d", "j"]]
    assert kept["steps"][3]["formula_text"] == "exp dⱼ"
    assert kept["steps"][3]["inputs"] == ["d"]
    assert len(kept["steps"][3]["substituted"]) == 3


# Bad input


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0, float("nan")],), {}, ValueError, "finite number"),
        (([1.0, float("inf")],), {}, ValueError, "inf"),
        (([],), {}, ValueError, "no logits"),
        (([3.0],), {}, ValueError, 'kind="binary"'),
        (([[1.0, 2.0], [3.0, 4.0]],), {}, ValueError, "2 rows need a target each"),
        (([[1.0, 2.0], [3.0, 4.0]], [0]), {}, ValueError, "got 1"),
        (([[1.0, 2.0], [3.0, 4.0]], 0), {}, ValueError, "target each"),
        (([[1.0], [3.0, 4.0]],), {}, ValueError, "rows of 1 and of 2"),
        (([1.0, 2.0], [0.5, 0.6]), {}, ValueError, "sum to 1"),
        (([1.0, 2.0], [1.5, -0.5]), {}, ValueError, "lie in"),
        (([1.0, 2.0], [0.5, 0.25, 0.25]), {}, ValueError, "shape of the logits"),
        (([1.0, 2.0], 0), {"label_smoothing": 2.0}, ValueError, "label_smoothing"),
        (([1.0, 2.0], 0), {"before": "relu"}, ValueError, "softmax, sigmoid"),
        (([1.0, 2.0], 0), {"dtype": "float8"}, ValueError, "bfloat16"),
        (([1e6, 2.0], 0), {"dtype": "float16"}, ValueError, "do not fit"),
        (([1.0, 2.0], 0), {"by": "jax"}, ValueError, "torch"),
        (([1.0, 2.0], 0), {"weight": [1.0]}, ValueError, "one number per class"),
        (([1.0, 2.0], 0), {"weight": [1.0, -1.0]}, ValueError, "0 or more"),
        (([1.0, 2.0], 0), {"kind": "multilabel", "weight": [1.0, 1.0]}, ValueError, "multiclass"),
        ((1.0, 0), {"kind": "binary", "threshold": 1.0}, ValueError, "between 0 and 1"),
        (("1, 2",), {}, TypeError, "str"),
        (([1.0, 2.0],), {"kind": "binary"}, ValueError, 'kind="multiclass"'),
        (([1.0, 2.0],), {"kind": "multiclas"}, ValueError, "Did you mean 'multiclass'"),
        (([1.0, 2.0],), {"temperature": 0.0}, ValueError, "positive"),
        (([1.0, 2.0],), {"classes": ["a"]}, ValueError, "expected 2, got 1"),
        (([1.0, 2.0], "dgo"), {"classes": ["dog", "cat"]}, IndexError, "Did you mean 'dog'"),
        (([1.0, 2.0], 2), {}, IndexError, "0 to 1"),
        (([1.0, 2.0], -1), {}, IndexError, "out of bounds"),
        (([1.0, 2.0], 0.5), {}, TypeError, "class index or a class name"),
    ],
)
def test_bad_input(arguments, options, error, message):
    with pytest.raises(error, match=message) as raised:
        lastlayer.explain(*arguments, **options)
    assert isinstance(raised.value, lastlayer.errors.LastLayerError)
