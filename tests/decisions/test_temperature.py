"""Temperatures: one, or one per label; kept where the gain exceeds its interval."""

import pytest
import torch

from lastlayer.decisions import (
    calibrate,
    calibrate_labels,
    fit_temperature,
    fit_temperatures,
    mean_interval,
    row_losses,
)
from tests.decisions.made import honest, honest_labels


def test_a_temperature_per_label_is_that_of_the_label_alone():
    logits, target = honest_labels()
    logits = logits * torch.tensor([1.0, 3.0, 0.5, 2.0])
    found = fit_temperatures(logits, target)
    alone = [fit_temperature(logits[:, label], target[:, label]) for label in range(4)]
    assert found.tolist() == pytest.approx(alone, rel=1e-12)
    assert found.tolist() == pytest.approx([1, 3, 0.5, 2], rel=0.15)


@pytest.mark.parametrize("factor", [3.0, 0.25])
def test_multiplied_labels_need_temperatures_as_many_times_higher(factor):
    logits, target = honest_labels()
    base = fit_temperatures(logits, target)
    assert fit_temperatures(factor * logits, target).tolist() == pytest.approx((factor * base).tolist(), rel=1e-9)


@pytest.mark.parametrize("kind", ["multiclass", "binary", "multilabel"])
def test_an_offset_is_added_after_dividing(kind):
    """Logits that learnt a shift and are three times too sure need T = 3 once the shift is known."""
    logits, target = honest_labels() if kind == "multilabel" else honest()
    if kind == "binary":
        logits, target = (each[:, 0] for each in honest_labels())
    offset = torch.tensor(-1.5).double() if kind == "binary" else torch.linspace(-1, 1, logits.shape[1]).double()
    learnt = 3 * (logits - offset)
    fit = fit_temperatures if kind == "multilabel" else fit_temperature
    plain = torch.as_tensor(fit(logits - offset, target, offset=offset), dtype=torch.float64)
    found = torch.as_tensor(fit(learnt, target, offset=offset), dtype=torch.float64)
    assert torch.allclose(found, 3 * plain, rtol=1e-9)
    assert torch.allclose(found, torch.full_like(found, 3), rtol=0.15)
    best = row_losses(learnt / found + offset, target).mean(0)
    for step in (0.98, 1.02):
        assert (row_losses(learnt / (found * step) + offset, target).mean(0) > best).all()


def test_a_label_without_a_single_yes_stops_at_an_end():
    logits = torch.tensor([[-3.0, 2.0], [-1.0, 1.0], [-2.0, 3.0]])
    assert fit_temperatures(logits, torch.zeros(3, 2, dtype=torch.int64)).tolist() == [0.05, 20.0]
    found = calibrate_labels(-logits.repeat(10, 1), torch.zeros(30, 2, dtype=torch.int64))
    assert [each.kept for each in found] == [False, False]


def test_the_gain_is_that_of_rows_at_the_temperature_of_the_others():
    logits, target = honest_labels(rows=200)
    logits = 2 * logits
    for label, found in enumerate(calibrate_labels(logits, target, folds=4)):
        z, y = logits[:, label], target[:, label]
        order = y.argsort(stable=True)
        gain = torch.empty(200, dtype=torch.float64)
        for part in range(4):
            held = torch.zeros(200, dtype=torch.bool)
            held[order[part::4]] = True
            temperature = fit_temperature(z[~held], y[~held])
            gain[held] = row_losses(z[held], y[held]) - row_losses(z[held] / temperature, y[held])
        assert found.gain.value == pytest.approx(float(gain.mean()), rel=1e-9)
        assert found.gain.value == pytest.approx(found.before - found.after, abs=1e-12)
        assert found.gain.value == pytest.approx(calibrate(z, y, folds=4).gain.value)
        again = mean_interval(gain)
        assert (found.gain.low, found.gain.high) == pytest.approx((again.low, again.high), rel=1e-9)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.2, 3.0])
def test_what_is_kept_gains_more_than_its_interval(factor):
    for seed in range(20):
        logits, target = honest(rows=150, seed=seed)
        found = calibrate(factor * logits, target)
        assert found.kept == (found.gain.low > found.risk)
        assert found.temperature == (found.fitted if found.kept else 1.0)


def test_honest_logits_keep_temperature_one_nearly_always():
    kept = [calibrate(*honest(rows=200, seed=seed)).kept for seed in range(60)]
    assert sum(kept) <= 4  # the interval says 2.5 %


def test_a_gain_that_few_rows_make_is_not_kept():
    """Two wrong rows among many sure ones: a higher T would help these two, and nothing says that there are more."""
    logits = torch.tensor([[6.0, 0.0]]).repeat(400, 1)
    target = torch.zeros(400, dtype=torch.int64)
    target[:2] = 1
    found = calibrate(logits, target)
    assert found.fitted > 1.1
    assert not found.kept
    target[:40] = 1
    assert calibrate(logits, target).kept


def test_few_rows_that_are_nearly_all_right_do_not_sharpen():
    """Sixteen rows, two of them wrong by a hair: the interval of the gain lies above 0, and means nothing."""
    logits = torch.tensor([[0.0, margin] for margin in (*[1.5] * 14, -0.05, -0.08)])
    found = calibrate(logits, torch.ones(16, dtype=torch.int64))
    assert found.gain.low > 0
    assert 0.05 < found.fitted < 0.5
    assert found.risk > found.gain.low
    assert not found.kept


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("offset", [None, (0.5, -0.2, 1.0)])
def test_the_risk_is_the_most_that_another_truth_of_a_row_would_lose(factor, offset):
    logits, _ = honest(classes=3, rows=60)
    target = torch.arange(60) % 3
    logits = factor * logits
    add = torch.zeros(3).double() if offset is None else torch.tensor(offset).double()
    found = calibrate(logits, target, offset=None if offset is None else add)
    lost = [
        row_losses(logits / found.fitted + add, torch.full((60,), truth)) - row_losses(logits + add, target * 0 + truth)
        for truth in range(3)
    ]
    assert found.risk == pytest.approx(float(torch.stack(lost).max()) / 60, rel=1e-9)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_the_risk_of_a_label_is_that_of_either_answer(factor):
    logits, target = honest_labels(rows=80)
    logits = factor * logits
    for label, found in enumerate(calibrate_labels(logits, target)):
        z = logits[:, label]
        lost = [
            row_losses(z / found.fitted, torch.full((80,), truth)) - row_losses(z, torch.full((80,), truth))
            for truth in (0, 1)
        ]
        assert found.risk == pytest.approx(float(torch.stack(lost).max()) / 80, rel=1e-9)
        assert found.risk == pytest.approx(calibrate(z, target[:, label]).risk, rel=1e-9)


def test_shapes_that_do_not_belong_together_are_named():
    logits, target = honest_labels(rows=20)
    with pytest.raises(ValueError, match="fit_temperatures"):
        fit_temperature(logits, target)
    with pytest.raises(ValueError, match="calibrate_labels"):
        calibrate(logits, target)
    with pytest.raises(ValueError, match=r"\(20,\)"):
        fit_temperatures(logits, target[:, 0])
    with pytest.raises(ValueError, match=r"\(19,\)"):
        fit_temperature(logits, target[:19, 0])
    with pytest.raises(IndexError, match="0 or 1"):
        fit_temperatures(logits, target + 1)
    with pytest.raises(ValueError, match="row 3"):
        calibrate(logits.index_fill(0, torch.tensor([3]), torch.inf), target[:, 0])
    with pytest.raises(ValueError, match="2 or more"):
        calibrate(logits, target[:, 0], folds=1)
