"""Brier scores in parts, calibration errors, and their intervals."""

import numpy as np
import pytest
import torch
from scipy.stats import bootstrap
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from lastlayer.decisions import (
    brier_parts,
    brier_score,
    calibration_error,
    classwise_calibration_error,
    log_loss,
    mean_interval,
    reliability,
    row_brier,
    row_losses,
    share_interval,
)
from lastlayer.decisions.intervals import percentiles, reflected, resampled_sums
from tests.decisions.made import honest, honest_labels


def test_scores_of_labels_are_means_over_them():
    logits, target = honest_labels(rows=300)
    p = logits.sigmoid()
    by_label = [sklearn_log_loss(target[:, label], p[:, label]) for label in range(4)]
    assert log_loss(logits, target) == pytest.approx(np.mean(by_label))
    assert row_losses(logits, target).mean(0).tolist() == pytest.approx(by_label)
    squares = [brier_score_loss(target[:, label], p[:, label]) for label in range(4)]
    assert brier_score(p, target) == pytest.approx(np.mean(squares))
    assert row_brier(p, target).shape == (300,)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("bins", [None, 1, 10])
@pytest.mark.parametrize("equal_mass", [False, True])
def test_the_parts_of_a_brier_score_add_up(labels, bins, equal_mass):
    logits, target = honest_labels(rows=400) if labels else honest(rows=400)
    p = (logits.sigmoid() if labels else logits.softmax(1)).mul(20).round().div(20)
    found = brier_parts(p, target, bins=bins, equal_mass=equal_mass)
    total = found.reliability.value - found.resolution.value + found.uncertainty.value + found.within.value
    assert found.brier.value == pytest.approx(brier_score(p, target), rel=1e-12)
    assert total == pytest.approx(found.brier.value, rel=1e-12)
    if bins is None:
        assert found.within.value == pytest.approx(0, abs=1e-14)
    else:
        assert abs(found.within.value) > 1e-5


def test_the_parts_by_their_definitions():
    logits, target = honest_labels(rows=500, labels=1)
    p, y = logits.sigmoid().squeeze(1).numpy(), target.squeeze(1).numpy()
    found = brier_parts(torch.tensor(p).unsqueeze(1), target, bins=10, equal_mass=False)
    place = np.clip(np.ceil(p * 10).astype(int) - 1, 0, 9)
    gap = spread = within = 0.0
    for each in range(10):
        rows = place == each
        if rows.any():
            share = rows.mean()
            gap += share * (p[rows].mean() - y[rows].mean()) ** 2
            spread += share * (y[rows].mean() - y.mean()) ** 2
            within += share * (p[rows].var() - 2 * np.cov(p[rows], y[rows], ddof=0)[0, 1])
    assert found.reliability.value == pytest.approx(gap)
    assert found.resolution.value == pytest.approx(spread)
    assert found.uncertainty.value == pytest.approx(y.mean() * (1 - y.mean()))
    assert found.within.value == pytest.approx(within)


def test_a_temperature_wins_reliability_and_leaves_resolution():
    logits, target = honest(rows=5000)
    right, sure = brier_parts(logits.softmax(1), target), brier_parts((3 * logits).softmax(1), target)
    assert right.reliability.value < 0.003 < 0.05 < sure.reliability.value
    assert sure.reliability.low > right.reliability.high
    assert right.uncertainty.value == sure.uncertainty.value


def test_calibration_error_is_that_of_the_diagram():
    logits, target = honest(rows=2000)
    confidence, predicted = (2 * logits).softmax(1).max(1)
    correct = predicted == target
    for equal_mass in (False, True):
        found = calibration_error(confidence, correct, bins=10, equal_mass=equal_mass)
        assert found.error.value == pytest.approx(reliability(confidence, correct, bins=10, equal_mass=equal_mass).ece)
        assert found.honest < found.error.low <= found.error.value


def test_an_honest_classifier_errs_no_more_than_chance_makes():
    below = []
    for seed in range(40):
        logits, target = honest(rows=500, seed=seed)
        confidence, predicted = logits.softmax(1).max(1)
        found = calibration_error(confidence, predicted == target)
        below.append(found.error.value < found.honest)
    assert 33 <= sum(below) <= 39  # 95 % of them


def test_reflected_intervals_hold_the_true_error():
    """The true gap is 0.1 everywhere; 90 of 100 intervals hold it, though the found one is biased upwards."""
    generator = torch.Generator().manual_seed(0)
    hits = 0
    for _ in range(100):
        confidence = 0.6 + 0.4 * torch.rand(400, generator=generator, dtype=torch.float64)
        correct = torch.rand(400, generator=generator, dtype=torch.float64) < confidence - 0.1
        found = calibration_error(confidence, correct, bins=10).error
        hits += found.low <= 0.1 <= found.high
    assert 85 <= hits <= 99


def test_classwise_error_by_hand():
    logits, target = honest(rows=600, classes=3)
    p = (2 * logits).softmax(1)
    gaps = []
    for index in range(3):
        place = np.clip(np.ceil(p[:, index].numpy() * 15).astype(int) - 1, 0, 14)
        gap = (p[:, index] - (target == index).double()).numpy()
        gaps.append(sum(abs(gap[place == each].sum()) for each in range(15)) / 600)
    found = classwise_calibration_error(p, target, equal_mass=False)
    assert found.error.value == pytest.approx(np.mean(gaps))
    assert found.error.low <= found.error.value
    one_hot = torch.nn.functional.one_hot(target)
    assert classwise_calibration_error(p, one_hot, equal_mass=False) == found


def test_equal_mass_never_parts_equal_probabilities():
    p = torch.tensor([0.3] * 50 + [0.7] * 50)
    found = reliability(p, p > 0.5, bins=15, equal_mass=True)
    assert [each.count for each in found.bins] == [50, 50]


def test_resampled_sums_are_of_the_same_samples():
    generator = torch.Generator().manual_seed(1)
    values = torch.rand(50, 2, generator=generator, dtype=torch.float64)
    sums = resampled_sums(torch.cat([values, values.sum(1, keepdim=True)], 1))
    assert torch.allclose(sums[:, 0] + sums[:, 1], sums[:, 2])
    assert torch.equal(resampled_sums(values, seed=3), resampled_sums(values, seed=3))
    assert not torch.equal(resampled_sums(values, seed=3), resampled_sums(values, seed=4))
    assert float(sums[:, 0].mean()) == pytest.approx(float(values[:, 0].sum()), rel=0.02)
    assert float(sums[:, 0].std()) == pytest.approx(float(values[:, 0].std(correction=0)) * 50**0.5, rel=0.08)


def test_intervals_of_means_hold_the_mean():
    generator = torch.Generator().manual_seed(2)
    hits = sum(
        (found := mean_interval(torch.randn(200, generator=generator, dtype=torch.float64))).low <= 0 <= found.high
        for _ in range(200)
    )
    assert 180 <= hits <= 199
    for rows in (30, 300):
        skewed = -torch.rand(rows, generator=generator, dtype=torch.float64).log()
        theirs = bootstrap((skewed.numpy(),), np.mean, method="BCa", n_resamples=5000, rng=0).confidence_interval
        found = mean_interval(skewed)
        error = float(skewed.std()) / rows**0.5
        assert found.low == pytest.approx(theirs.low, abs=0.2 * error)
        assert found.high == pytest.approx(theirs.high, abs=0.2 * error)
    assert mean_interval(torch.full((20,), 0.1)).low == pytest.approx(0.1)
    samples = torch.arange(1000, dtype=torch.float64)
    assert percentiles(500, samples).low == pytest.approx(24.975)
    turned = reflected(500, samples)
    assert (turned.low, turned.high) == pytest.approx((1000 - 974.025, 1000 - 24.975))
    assert reflected(1.0, samples).low == 0


def test_shares_without_rows_are_not_numbers():
    assert np.isnan(share_interval(0, 0).value)
    assert np.isnan(mean_interval(torch.zeros(0)).low)
    with pytest.raises(ValueError, match="needs rows"):
        resampled_sums(torch.zeros(0, 1))


def test_what_is_no_probability_is_refused():
    with pytest.raises(ValueError, match="softmax or sigmoid"):
        calibration_error(torch.tensor([2.0]), torch.tensor([True]))
    with pytest.raises(ValueError, match="outside or NaN"):
        brier_parts(torch.tensor([[torch.nan, 0.5]]), torch.tensor([0]))
    with pytest.raises(ValueError, match="class index per row"):
        brier_score(torch.ones(3, 2), torch.zeros(3, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="one row or more"):
        classwise_calibration_error(torch.ones(0, 2), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(ValueError, match="1 or more"):
        calibration_error(torch.ones(2), torch.ones(2, dtype=torch.bool), bins=0)
