"""Prediction sets keep their promise."""

import math

import pytest
import torch

from lastlayer.decisions import conformal_limit, measured_coverage, set_limits, set_scores
from tests.decisions.made import honest, honest_labels


@pytest.mark.parametrize("coverage", [0.5, 0.7, 0.9, 0.95, 0.55])
@pytest.mark.parametrize("rows", [1, 9, 10, 19, 20, 99])
def test_the_limit_is_the_exact_order_statistic(rows, coverage):
    """Rank by rank: the smallest k with k / (rows + 1) ≥ coverage, in whole numbers."""
    scores = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).double()
    hundredths = round(coverage * 100)
    k = next(k for k in range(1, rows + 2) if 100 * k >= hundredths * (rows + 1))
    assert conformal_limit(scores, coverage) == (math.inf if k > rows else k - 1)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_coverage_is_as_promised_over_resplits(score):
    """With n calibration rows the expected coverage is ⌈(n + 1) · 0.9⌉ / (n + 1), whatever the model is worth."""
    logits, target = honest(rows=2000, seed=3)
    scores = set_scores((3 * logits).log_softmax(1), score, random=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    found = []
    for _ in range(200):
        order = torch.randperm(2000, generator=generator)
        held, new = order[:199], order[199:]
        limits = set_limits(scores[held], target[held], 0.9)
        found.append(measured_coverage(scores[new] <= limits, target[new]).total.value)
    assert sum(found) / 200 == pytest.approx(0.9, abs=0.006)


def test_without_chance_aps_covers_at_least_as_much():
    logits, target = honest(rows=3000)
    log_p = logits.log_softmax(1)
    plain, drawn = set_scores(log_p, "aps"), set_scores(log_p, "aps", random=torch.Generator().manual_seed(0))
    assert (drawn >= plain).all()
    for coverage in (0.3, 0.9):
        limits = set_limits(plain[:1500], target[:1500], coverage)
        found = measured_coverage(plain[1500:] <= limits, target[1500:])
        assert found.total.high > coverage
        assert found.empty == 0


def test_aps_by_hand():
    p = torch.tensor([[0.2, 0.5, 0.3]], dtype=torch.float64)
    assert set_scores(p.log(), "aps").tolist()[0] == pytest.approx([0.8, 0, 0.5])
    assert set_scores(p.log(), "aps", penalty=0.1, free=1).tolist()[0] == pytest.approx([1.0, 0, 0.6])
    assert set_scores(p.log(), "lac").tolist()[0] == pytest.approx([-math.log(0.2), math.log(2), -math.log(0.3)])


def test_a_penalty_keeps_long_tails_out():
    logits, target = honest(rows=4000, classes=50)
    log_p = (0.3 * logits).log_softmax(1)
    sizes = []
    for penalty in (0.0, 0.05):
        scores = set_scores(log_p, "aps", penalty=penalty, free=3)
        sets = scores[2000:] <= set_limits(scores[:2000], target[:2000], 0.8)
        assert measured_coverage(sets, target[2000:]).total.value == pytest.approx(0.8, abs=0.03)
        sizes.append(sets.sum(1).double().std().item())
    assert sizes[1] < sizes[0]


def test_each_class_can_have_its_own_promise():
    """Class 4 is hard; a promise to all rows together falls short for it, one per class does not."""
    generator = torch.Generator().manual_seed(0)
    logits, target = honest(rows=20_000)
    spoilt = logits + torch.randn(20_000, 5, generator=generator) * 3 * (target == 4).unsqueeze(1)
    scores = set_scores(spoilt.log_softmax(1))
    held, new = slice(0, 10_000), slice(10_000, None)
    together = measured_coverage(scores[new] <= set_limits(scores[held], target[held], 0.9), target[new])
    apart = measured_coverage(scores[new] <= set_limits(scores[held], target[held], 0.9, per_class=True), target[new])
    assert together.per_class[4].high < 0.88
    assert all(each.low < 0.91 and each.high > 0.89 for each in apart.per_class)


def test_other_shares_of_classes_keep_the_promise():
    """Calibration rows have many of class 0, new rows many of class 4, which is hard."""
    logits, target = honest(rows=60_000)
    noise = torch.randn(60_000, 5, generator=torch.Generator().manual_seed(0))
    logits = logits + 3 * noise * (target == 4).unsqueeze(1)
    scores = set_scores(logits.log_softmax(1))
    share = torch.bincount(target, minlength=5) / 60_000
    new_share = torch.tensor([0.05, 0.05, 0.05, 0.05, 0.8], dtype=torch.float64)
    ratio = new_share / share
    held, rest = torch.arange(30_000), torch.arange(30_000, 60_000)
    drawn = rest[torch.multinomial(ratio[target[rest]], 20_000, True, generator=torch.Generator().manual_seed(0))]
    blind = measured_coverage(scores[drawn] <= set_limits(scores[held], target[held], 0.9), target[drawn])
    told = measured_coverage(
        scores[drawn] <= set_limits(scores[held], target[held], 0.9, class_weight=ratio), target[drawn]
    )
    assert blind.total.high < 0.89
    assert told.total.value == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("coverage", [0.55, 0.7, 0.9, 0.95])
def test_equal_weights_are_no_weights(coverage):
    for rows in (9, 10, 19, 20, 55, 99, 199):
        logits, target = honest(rows=rows)
        scores = set_scores(logits.log_softmax(1))
        weighted = set_limits(scores, target, coverage, class_weight=torch.ones(5))
        assert torch.equal(weighted, set_limits(scores, target, coverage)), rows


def test_one_class_may_count_for_nearly_all_rows():
    logits, target = honest(rows=199)
    scores = set_scores(logits.log_softmax(1))
    heavy = set_limits(scores, target, 0.9, class_weight=torch.tensor([1.0, 1, 1, 1, 1e9]))
    assert heavy[0].isfinite()


def test_labels_that_hold_are_in_the_set_label_by_label():
    logits, target = honest_labels(rows=20_000)
    scores = set_scores(torch.nn.functional.logsigmoid(3 * logits))
    limits = set_limits(scores[:10_000], target[:10_000], 0.9)
    found = measured_coverage(scores[10_000:] <= limits, target[10_000:])
    assert found.rows == tuple(target[10_000:].sum(0).tolist())
    for label in found.per_class:
        assert label.low < 0.91
        assert label.high > 0.89
    assert found.total.value == pytest.approx(0.9, abs=0.02)


def test_too_few_rows_promise_nothing_and_name_every_class():
    scores = torch.rand(8, 3)
    target = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    assert set_limits(scores, target, 0.9).tolist() == [math.inf] * 3
    limits = set_limits(scores, target, 0.75, per_class=True)
    assert limits[1:].tolist() == [float(scores[5:, 1].max()), math.inf]
    assert set_limits(scores[:0], target[:0], 0.9, class_weight=torch.ones(3)).tolist() == [math.inf] * 3


def test_what_no_set_can_promise():
    scores = torch.rand(5, 3)
    for coverage in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="between 0 and 1"):
            set_limits(scores, torch.zeros(5, dtype=torch.int64), coverage)
    with pytest.raises(ValueError, match="class index per row"):
        set_limits(scores, torch.zeros(4, dtype=torch.int64), 0.9)
    with pytest.raises(ValueError, match="lac, aps"):
        set_scores(scores, "raps")  # type: ignore[arg-type]  # that is the test
    with pytest.raises(ValueError, match="0 or more"):
        set_scores(scores, "aps", penalty=-1)
