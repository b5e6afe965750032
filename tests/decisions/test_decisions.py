"""Calibration and scores."""

import numpy as np
import pytest
import torch
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from lastlayer.decisions import brier_score, calibrate, decide, fit_temperature, log_loss, reliability


def honest(rows=4000, classes=5, seed=0):
    """Logits whose softmax is the true distribution of the target."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return logits, target


@pytest.mark.parametrize("factor", [0.2, 1.0, 3.0, 10.0])
def test_multiplied_logits_need_a_temperature_as_many_times_higher(factor):
    logits, target = honest()
    base = fit_temperature(logits, target)
    assert base == pytest.approx(1, abs=0.05)
    assert fit_temperature(factor * logits, target) == pytest.approx(factor * base, rel=1e-9)


@pytest.mark.parametrize("binary", [False, True])
def test_the_fit_is_the_minimum(binary):
    logits, target = honest(seed=1)
    if binary:
        logits = logits[:, 0]
        target = (torch.rand(4000, generator=torch.Generator().manual_seed(2)) < torch.sigmoid(logits / 2)).long()
    best = fit_temperature(logits, target)
    losses = [log_loss(logits, target, best * step) for step in np.geomspace(0.5, 2, 41)]
    assert int(np.argmin(losses)) == 20
    assert log_loss(logits, target, best) < log_loss(logits, target, best * 1.0001)
    assert log_loss(logits, target, best) < log_loss(logits, target, best / 1.0001)


def test_a_perfect_and_a_hopeless_model_stop_at_the_ends():
    logits = torch.tensor([[5.0, 0.0], [0.0, 5.0]])
    assert fit_temperature(logits, torch.tensor([0, 1])) == 0.05
    assert fit_temperature(logits, torch.tensor([1, 0])) == 20.0


def test_a_temperature_is_kept_where_it_helps():
    logits, target = honest()
    found = calibrate(3 * logits, target)
    assert found.kept
    assert found.temperature == found.fitted == pytest.approx(3, rel=0.05)
    assert found.before == pytest.approx(log_loss(3 * logits, target))
    assert found.after < found.before


def test_a_temperature_is_not_kept_where_it_does_not_help_unseen_rows():
    kept = [calibrate(*honest(rows=40, seed=seed)).kept for seed in range(30)]
    assert sum(kept) <= 2  # the interval says 2.5 %


def test_rows_that_are_all_right_say_nothing_about_how_sure_to_be():
    logits, _ = honest(rows=100)
    found = calibrate(logits, logits.argmax(1))
    assert (found.temperature, found.kept, found.fitted) == (1.0, False, 0.05)
    hopeless = calibrate(logits, logits.argmin(1))
    assert (hopeless.temperature, hopeless.kept, hopeless.fitted) == (1.0, False, 20.0)


def test_held_out_loss_is_of_rows_that_the_fit_has_not_seen():
    logits, target = honest(rows=60)
    found = calibrate(5 * logits, target, folds=60 // 2)
    assert found.after > log_loss(5 * logits, target, found.fitted)


def test_too_few_rows_keep_temperature_one():
    logits, target = honest(rows=9)
    found = calibrate(10 * logits, target)
    assert (found.temperature, found.kept) == (1.0, False)


def test_scores_match_scikit_learn():
    logits, target = honest()
    p = logits.softmax(1)
    assert log_loss(logits, target) == pytest.approx(sklearn_log_loss(target, p))
    truth = torch.nn.functional.one_hot(target)
    assert brier_score(p, target) == pytest.approx(((p - truth) ** 2).sum(1).mean().item())
    yes = torch.stack([1 - p[:, 0], p[:, 0]], 1)
    # scikit-learn counts one of the two classes of a binary problem, Brier both
    theirs = brier_score_loss((target == 0).long(), p[:, 0])
    assert brier_score(yes, (target == 0).long()) == pytest.approx(2 * theirs)


def test_reliability_of_an_honest_model():
    logits, target = honest(rows=20_000)
    confidence, predicted = logits.softmax(1).max(1)
    found = reliability(confidence, predicted == target)
    assert found.ece < 0.02
    assert sum(each.count for each in found.bins) == 20_000
    overconfident = reliability((3 * logits).softmax(1).max(1).values, predicted == target)
    assert overconfident.ece > 0.1
    assert all(each.confidence > each.accuracy for each in overconfident.bins[5:])


def test_reliability_by_hand():
    confidence = torch.tensor([0.95, 0.85, 1.0, 0.55])
    correct = torch.tensor([True, False, True, True])
    found = reliability(confidence, correct, bins=10)
    assert [(each.count, round(each.accuracy, 2)) for each in found.bins] == [(1, 1.0), (1, 0.0), (2, 1.0)]
    assert found.ece == pytest.approx((0.45 + 0.85 + 2 * 0.025) / 4, abs=1e-6)


def test_equal_mass_bins_hold_equally_many():
    confidence = torch.linspace(0.9, 1.0, 100)
    found = reliability(confidence, confidence > 0.95, bins=5, equal_mass=True)
    assert [each.count for each in found.bins] == [20] * 5
    assert len(reliability(confidence, confidence > 0.95, bins=5).bins) == 1


def test_no_rows_have_no_bins():
    assert reliability(torch.zeros(0), torch.zeros(0, dtype=torch.bool)).bins == ()
    with pytest.raises(ValueError, match="1 or more"):
        reliability(torch.ones(1), torch.ones(1, dtype=torch.bool), bins=0)


def test_decide_takes_an_explicit_threshold():
    p = torch.tensor([0.2, 0.5, 0.9])
    assert decide(p, 0.5).tolist() == [False, False, True]
    assert decide(p, 0.1).all()
    with pytest.raises(TypeError, match="threshold"):
        decide(p)  # type: ignore[call-arg]  # that is the test
    for threshold in (0.0, 1.0):
        with pytest.raises(ValueError, match="between 0 and 1"):
            decide(p, threshold)
    with pytest.raises(ValueError, match="Apply the sigmoid"):
        decide(torch.tensor([2.0]), 0.5)
    with pytest.raises(TypeError, match="int64"):
        decide(torch.tensor([1]), 0.5)
