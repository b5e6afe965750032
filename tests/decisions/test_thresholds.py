"""Thresholds: no other one is better, by scikit-learn's count."""

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    fbeta_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from lastlayer.decisions import best_threshold, best_thresholds
from tests.decisions.made import honest_labels


def cost(y, called):
    return -np.mean(2 * (called & (y == 0)) + 7 * (~called & (y == 1)))


METRICS = {
    "f1": lambda y, called: f1_score(y, called, zero_division=0),
    "f2": lambda y, called: fbeta_score(y, called, beta=2, zero_division=0),
    "f0.5": lambda y, called: fbeta_score(y, called, beta=0.5, zero_division=0),
    "accuracy": accuracy_score,
    "balanced_accuracy": balanced_accuracy_score,
    "mcc": matthews_corrcoef,
    "cost=2:7": cost,
}


def scored(rows, seed, steps=None):
    """Probabilities of yes that tell something; with `steps`, many equal ones, 0 and 1 among them."""
    random = np.random.default_rng(seed)
    y = (random.random(rows) < 0.3).astype(int)
    y[:2] = 0, 1
    p = np.clip(0.35 * y + 0.75 * random.random(rows) - 0.05, 0, 1)
    return (p if steps is None else np.round(p * steps) / steps), y


def every_cut(p):
    """A threshold between every two neighbouring probabilities, and one on each side."""
    q = np.unique(p)
    return [-1.0, *((q[1:] + q[:-1]) / 2), 1.0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("steps", [None, 8])
@pytest.mark.parametrize("seed", range(5))
def test_no_other_threshold_is_better(metric, steps, seed):
    p, y = scored(60, seed, steps)
    found = best_threshold(torch.tensor(p), torch.tensor(y), metric)
    of = METRICS[metric]
    sign = -1 if metric.startswith("cost") else 1
    assert 0 <= found.threshold <= 1
    assert sign * found.score == pytest.approx(of(y, p > found.threshold), abs=1e-12)
    assert sign * found.score >= max(of(y, p > cut) for cut in every_cut(p) if cut >= 0 or p.min() > 0) - 1e-12
    assert sign * found.at_half == pytest.approx(of(y, p > 0.5), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("floor", [0.5, 0.9, 1.0])
def test_floors_are_kept(seed, floor):
    p, y = scored(80, seed)

    def both(cut):
        return precision_score(y, p > cut, zero_division=0), recall_score(y, p > cut)

    cuts = [both(cut) for cut in every_cut(p)]
    found = best_threshold(torch.tensor(p), torch.tensor(y), f"precision@recall={floor}")
    precision, recall = both(found.threshold)
    assert recall >= floor
    assert found.reached
    assert found.score == pytest.approx(precision)
    assert precision == pytest.approx(max(each[0] for each in cuts if each[1] >= floor))
    found = best_threshold(torch.tensor(p), torch.tensor(y), f"recall@precision={floor}")
    precision, recall = both(found.threshold)
    possible = [each[1] for each in cuts if each[0] >= floor]
    assert found.reached == bool(possible)
    if possible:
        assert precision >= floor
        assert recall == pytest.approx(max(possible))
    else:
        assert precision == pytest.approx(max(each[0] for each in cuts))


def test_half_stays_where_nothing_is_better():
    p, y = torch.tensor([0.1, 0.4, 0.6, 0.9]), torch.tensor([0, 0, 1, 1])
    assert best_threshold(p, y, "f1").threshold == 0.5
    assert best_threshold(p, torch.zeros(4, dtype=torch.int64), "f1").threshold == 0.5
    undefined = best_threshold(p, torch.zeros(4, dtype=torch.int64), "balanced_accuracy")
    assert undefined.threshold == 0.5
    assert np.isnan(undefined.score)


def test_neighbours_of_float64_are_told_apart():
    low = torch.tensor(0.7, dtype=torch.float64)
    p = torch.stack([low, torch.nextafter(low, low + 1)])
    found = best_threshold(p, torch.tensor([0, 1]), "accuracy")
    assert (p > found.threshold).tolist() == [False, True]


def test_certain_rows_can_be_called_either_way():
    p = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert best_threshold(p, torch.tensor([0, 0, 0, 0]), "accuracy").score == 1
    never = best_threshold(p, torch.tensor([0, 0, 0, 0]), "accuracy")
    assert not (p > never.threshold).any()


def test_held_out_score_is_of_thresholds_that_have_not_seen_the_row():
    found = best_threshold(*map(torch.tensor, scored(300, 1)), "f1")
    assert found.held_out <= found.score
    random = torch.Generator().manual_seed(0)
    noise = [best_threshold(torch.rand(60, generator=random), torch.tensor([0, 1] * 30), "accuracy") for _ in range(20)]
    assert np.mean([each.score for each in noise]) > 0.55
    assert np.mean([each.held_out for each in noise]) < 0.53
    assert np.isnan(best_threshold(torch.rand(9), torch.tensor([0, 1, 0] * 3)).held_out)


def test_row_weights_are_rows_written_again():
    p, y = map(torch.tensor, scored(50, 3))
    times = torch.randint(1, 4, (50,), generator=torch.Generator().manual_seed(0))
    for metric in ("f1", "mcc", "balanced_accuracy", "cost=1:3", "precision@recall=0.8"):
        weighted = best_threshold(p, y, metric, row_weight=times.double())
        repeated = best_threshold(p.repeat_interleave(times), y.repeat_interleave(times), metric)
        assert weighted.threshold == repeated.threshold
        assert weighted.score == pytest.approx(repeated.score)


def test_each_label_has_its_own_and_macro_f1_gains():
    logits, target = honest_labels(rows=1500)
    p = logits.sigmoid()
    found = best_thresholds(p, target, "f1")
    assert [each.threshold for each in found] == [
        best_threshold(p[:, label], target[:, label]).threshold for label in range(4)
    ]
    chosen = torch.tensor([each.threshold for each in found])
    macro = f1_score(target, p > chosen, average="macro")
    assert macro == pytest.approx(np.mean([each.score for each in found]))
    assert macro > f1_score(target, p > 0.5, average="macro")
    one = best_threshold(p.flatten(), target.flatten(), "f1")
    assert one.score == pytest.approx(f1_score(target, p > one.threshold, average="micro"))
    assert one.score >= f1_score(target, p > chosen, average="micro") - 0.02


def test_the_least_cost_of_calibrated_rows_is_near_its_theory():
    """A false yes costs 1, a false no 4: yes above 1 / 5."""
    logits, target = honest_labels(rows=40_000, labels=1)
    found = best_threshold(logits[:, 0].sigmoid(), target[:, 0], "cost=1:4")
    assert found.threshold == pytest.approx(0.2, abs=0.05)


def test_metrics_that_there_are_not():
    p, y = torch.tensor([0.2, 0.8]), torch.tensor([0, 1])
    with pytest.raises(ValueError, match="Did you mean 'balanced_accuracy'"):
        best_threshold(p, y, "balanced_acuracy")
    for wrong in ("precision@recall", "precision@recall=2", "cost", "cost=1", "fbeta"):
        with pytest.raises(ValueError, match="Examples: f1"):
            best_threshold(p, y, wrong)
    with pytest.raises(ValueError, match="one shape"):
        best_threshold(p.unsqueeze(1), y)
    with pytest.raises(ValueError, match="one shape"):
        best_thresholds(p, y)
    with pytest.raises(ValueError, match="softmax or sigmoid"):
        best_threshold(p * 2, y)
