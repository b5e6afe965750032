"""Every story: each formula gives the value beside it, each check holds, the last number is the library's."""

import itertools

import pytest
import torch

import lastlayer
from lastlayer import messages
from lastlayer.explanation import Trace, explain, explain_features, explain_next_token, texts
from lastlayer.explanation.expressions import from_plain, to_plain, worked_out
from tests.explanation.told import ROWS, TOLD, Z

EPS = {"float16": 1e-3, "float32": 1e-6}
MEANT_TO_BREAK = {("ratio-exp", "ratio")}  # the contrast shows that a ratio can be negative


@pytest.mark.parametrize("name", TOLD)
def test_each_formula_gives_its_value(name):
    trace = TOLD[name]
    within = EPS.get(str(trace.options.get("dtype")), 1e-6 if trace.kind == "contrast_naive_stable" else 1e-9)
    for step in trace:
        if step.formula is None or (name, step.id) == ("overflow", "naive_softmax"):
            continue
        if name == "overflow" and step.id in ("probabilities", "log_probabilities", "naive_exp"):
            continue  # as it is written the formula overflows, which is what the story is about
        for place in itertools.product(*map(range, step.value.shape)):
            found = worked_out(step.formula, trace.values, dict(zip(step.symbol.index, place, strict=True)))
            stated = float(step.value[place])
            assert found == pytest.approx(stated, rel=within, abs=within, nan_ok=True), (step.id, place)


@pytest.mark.parametrize("name", TOLD)
def test_each_check_holds(name):
    broken = {(name, step.id) for step in TOLD[name] for check in step.invariants if not check.holds}
    assert broken <= MEANT_TO_BREAK


def test_checks_can_break():
    assert any(not check.holds for step in TOLD["ratio-exp"] for check in step.invariants)


@pytest.mark.parametrize("name", TOLD)
def test_what_a_step_uses_comes_before_it(name):
    known: set[str] = set()
    for step in TOLD[name]:
        assert set(step.inputs) <= known, step.id
        assert step.symbol.name not in known, step.id
        known.add(step.symbol.name)
        assert step.value.dtype is torch.float64
        assert step.value.dim() == len(step.symbol.index)


@pytest.mark.parametrize("name", TOLD)
def test_json_round_trip(name):
    trace = TOLD[name]
    again = Trace.from_json(trace.to_json())
    assert again.to_json() == trace.to_json()
    assert again.plot == trace.plot
    for one, other in zip(trace, again, strict=True):
        assert one.formula == other.formula
        assert one.plot == other.plot
        assert torch.equal(one.value.nan_to_num(nan=7e77), other.value.nan_to_num(nan=7e77))
        assert trace.compare(again).parting is None
    for language in ("en", "ko"):
        assert again.text(language) == trace.text(language)
        assert again.html(language) == trace.html(language)


def test_expressions_round_trip():
    for trace in TOLD.values():
        for step in trace:
            if step.formula is not None:
                assert from_plain(to_plain(step.formula)) == step.formula


BATCHES = [
    {}, {"reduction": "sum"}, {"label_smoothing": 0.3}, {"temperature": 0.4}, {"weight": [0.5, 2.0, 1.0]},
    {"weight": [0.5, 2.0, 0.0], "label_smoothing": 0.2}, {"ignore_index": 2}, {"reduction": "none"},
]  # fmt: skip


@pytest.mark.parametrize("target", [[0, 1, 2, 1, 0], [0, -100, 2, 1, 2], None], ids=["hard", "ignored", "soft"])
@pytest.mark.parametrize("options", BATCHES, ids=str)
def test_a_batch_is_the_librarys_and_torchs(options, target):
    if target is None and "ignore_index" in options:
        pytest.skip("probabilities have no index")
    given = ROWS.softmax(1).flip(0) if target is None else target
    plain = {name: value for name, value in options.items() if name not in ("weight", "temperature")}
    weight = torch.tensor(options["weight"], dtype=torch.float64) if "weight" in options else None
    leaf = ROWS.clone().requires_grad_()
    z = leaf / options.get("temperature", 1.0)
    truth = given if target is None else torch.tensor(target)
    if (options.get("ignore_index") == 2) and target is not None:
        truth = torch.where(truth == -100, 2, truth)
        given = truth.tolist()
    expected = torch.nn.functional.cross_entropy(z, truth, weight, **plain)
    expected.sum().backward()
    for by in ("lastlayer", "torch"):
        trace = explain(ROWS, given, by=by, **options)
        torch.testing.assert_close(trace["loss"].value, expected.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(trace["gradient"].value, leaf.grad, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"temperature": 3.0}], ids=str)
def test_a_soft_target_is_the_librarys(options):
    y = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    z = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    expected = lastlayer.cross_entropy(z, y, **options)
    expected.backward()
    trace = explain(Z, y, **options)
    assert trace.loss == expected.item()
    assert torch.equal(trace["gradient"].value, z.grad)


def test_a_step_lowers_the_loss():
    trace = explain(Z, 2, learning_rate=0.5)
    new = torch.tensor(Z, dtype=torch.float64) - 0.5 * trace["gradient"].value
    assert trace["new_loss"].value.item() == lastlayer.cross_entropy(new, torch.tensor(2)).item() < trace.loss


def test_features_are_the_librarys():
    x, weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((4,), (3, 4), (3,)))
    w, b = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    loss = lastlayer.linear_cross_entropy(x.unsqueeze(0), w, torch.tensor([2]), linear_bias=b)
    loss.backward()
    trace = explain_features(x, weight, 2, linear_bias=bias, learning_rate=0.3)
    assert trace.loss == pytest.approx(loss.item(), rel=1e-13)
    torch.testing.assert_close(trace["weight_gradient"].value, w.grad)
    torch.testing.assert_close(trace["bias_gradient"].value, b.grad)
    after = lastlayer.cross_entropy((weight - 0.3 * w.grad) @ x + bias - 0.3 * b.grad, torch.tensor(2))
    assert trace["new_loss"].value.item() == pytest.approx(after.item(), rel=1e-12)


def test_next_token_sums_up_the_rest():
    z = torch.randn(50_000, dtype=torch.float64) * 3
    trace = explain_next_token(z, 123, top=5)
    p = lastlayer.softmax(z, 0)
    shown = trace["probabilities"].value
    assert len(shown) == 6
    assert trace["rest"].value.item() == pytest.approx(1 - shown.sum().item(), rel=1e-9)
    assert trace["perplexity"].value.item() == pytest.approx(1 / p[123].item(), rel=1e-9)
    assert trace.loss == pytest.approx(lastlayer.cross_entropy(z, torch.tensor(123)).item(), rel=1e-12)
    assert len(trace.to_json()) < 40_000


def test_numerics_say_what_carelessness_gives():
    exp = explain([100.0, 0.0], 0)["exp"].numerics
    assert (exp.dtype, exp.shift) == ("float64", 100.0)
    assert [(one.dtype, one.value[0].item()) for one in exp.naive] == [
        ("float32", float("inf")),
        ("float16", float("inf")),
    ]
    edge = {88.7: False, 88.8: True}  # exp overflows between them in float32, and between 11 and 11.1 in float16
    for z, overflows in edge.items():
        assert explain([z, 0.0])["exp"].numerics.naive[0].value[0].isinf().item() is overflows
    for z, overflows in {11.0: False, 11.1: True}.items():
        assert explain([z, 0.0])["exp"].numerics.naive[1].value[0].isinf().item() is overflows
    logs = explain([110.0, 0.0], 1)["log_probabilities"].numerics.naive[0]
    assert (logs.dtype, logs.value[1].item()) == ("float32", float("-inf"))
    assert "without care float32 gives ∞" in explain([100.0, 0.0], 0).text()
    assert "without care" not in explain([1.0, 0.0], 0).text()


def test_digits_survive_the_way_in():
    assert explain([0.1, 0.2], 0)["logits"].value.tolist() == [0.1, 0.2]


@pytest.mark.parametrize("name", TOLD)
def test_every_step_has_a_title_and_its_note_has_its_numbers(name):
    for step in TOLD[name]:
        for language in ("en", "ko"):
            assert texts.title(TOLD[name], step, language) != messages.text("step.unnamed", language, step=step.id)
            assert messages.has(f"note.{step.id}") <= bool(texts.note(TOLD[name], step, language)), step.id


def test_a_formula_with_its_numbers():
    trace = TOLD["batch weights"]
    assert trace.substituted("sum", 2).count(" + ") == 2
    with pytest.raises(ValueError, match="1 indices, got 0"):
        trace.substituted("sum")
    with pytest.raises(ValueError, match="was given"):
        trace.substituted("logits", 0, 0)


def test_a_step_that_is_too_long_is_said_to_be():
    assert "the step was too long" in explain([0.1, 0.0], [0.5, 0.5], learning_rate=100.0).text()
    assert "too long" not in explain([0.1, 0.0], 0, learning_rate=0.1).text()
