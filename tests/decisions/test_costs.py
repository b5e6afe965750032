"""Decisions from costs: no other decision is cheaper, and the realised cost is what was expected."""

import itertools

import pytest
import torch

from lastlayer.decisions import (
    expected_costs,
    least_cost,
    least_cost_per_label,
    realised_costs,
    top_k,
    zero_one,
)
from tests.decisions.made import honest, honest_labels


def test_the_least_expected_cost_is_taken():
    logits, _ = honest(rows=200, classes=3)
    p = logits.softmax(1)
    cost = torch.tensor([[0.0, 2.0, 5.0], [1.0, 0.0, 1.0], [9.0, 3.0, -1.0]])
    decision = least_cost(p, cost)
    for row in range(200):
        costs = [sum(p[row, c] * cost[c, d] for c in range(3)).item() for d in range(3)]
        assert costs[decision[row]] == pytest.approx(min(costs))
    assert torch.equal(least_cost(p), p.argmax(1))
    assert torch.equal(least_cost(p, zero_one(3)), p.argmax(1))


def test_expected_costs_come_true_on_average():
    logits, target = honest(rows=20_000, classes=4)
    p = logits.softmax(1)
    cost = torch.rand(4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for price in (None, 0.3):
        decision = least_cost(p, cost, abstain=price)
        paid = realised_costs(decision, target, cost, abstain=price or 0)
        expected = expected_costs(p, cost).min(1).values
        expected = expected if price is None else expected.clamp_max(price)
        assert float(paid.mean()) == pytest.approx(float(expected.mean()), rel=0.02)
    others = [float(realised_costs(torch.full_like(target, d), target, cost).mean()) for d in range(4)]
    assert float(realised_costs(least_cost(p, cost), target, cost).mean()) < min(others)


def test_abstaining_is_one_more_decision_with_a_fixed_cost():
    p = honest(rows=300)[0].softmax(1)
    cost = zero_one(5) * 2
    extra = torch.cat([cost, torch.full((5, 1), 0.7)], 1)
    expected = least_cost(p, extra)
    assert torch.equal(least_cost(p, cost, abstain=0.7), torch.where(expected == 5, -1, expected))
    # Chow's rule
    assert torch.equal(least_cost(p, abstain=0.3) >= 0, p.max(1).values >= 0.7)
    assert least_cost(torch.tensor([[0.5, 0.5], [0.25, 0.75]]), abstain=0.5).tolist() == [0, 1]  # no dearer than that
    assert (least_cost(p, abstain=0.0) == -1).all()
    assert (least_cost(p, abstain=1.0) >= 0).all()


def test_labels_are_decided_one_by_one_and_all_together():
    """Every one of the 2³ answers to three labels costs at least as much."""
    logits, _ = honest_labels(rows=50, labels=3)
    p = logits.sigmoid()
    cost = torch.rand(3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = least_cost_per_label(p, cost)

    def expected(row, answer):
        return sum(
            (1 - p[row, label]) * cost[label, 0, said] + p[row, label] * cost[label, 1, said]
            for label, said in enumerate(answer)
        ).item()

    for row in range(50):
        least = min(expected(row, answer) for answer in itertools.product([0, 1], repeat=3))
        assert expected(row, found[row].tolist()) == pytest.approx(least)
    assert torch.equal(least_cost_per_label(p, zero_one(2)), (p > 0.5).long())
    assert torch.equal(least_cost_per_label(p, torch.tensor([[0.0, 1.0], [4.0, 0.0]])), (p > 0.2).long())
    undecided = least_cost_per_label(p, zero_one(2), abstain=0.3) == -1
    assert torch.equal(undecided, torch.minimum(p, 1 - p) > 0.3)


def test_realised_costs_of_labels_are_summed():
    decision, target = torch.tensor([[1, 0, -1]]), torch.tensor([[0, 0, 1]])
    cost = torch.tensor([[[0.0, 1.0], [2.0, 0.0]], [[0.5, 1.0], [2.0, 0.0]], [[0.0, 1.0], [2.0, 0.0]]])
    assert realised_costs(decision, target, cost, abstain=0.25).tolist() == [1.75]
    assert realised_costs(decision, target, abstain=0.25).tolist() == [1.25]


def test_the_k_most_probable():
    p = torch.tensor([[0.2, 0.4, 0.4], [0.1, 0.2, 0.7]])
    classes, values = top_k(p, 2)
    assert classes.tolist() == [[1, 2], [2, 1]]
    assert torch.equal(values, p.gather(1, classes))
    for k in (0, 4):
        with pytest.raises(ValueError, match="between 1 and the 3 classes"):
            top_k(p, k)


def test_what_has_no_cost_is_refused():
    p = torch.tensor([[0.5, 0.5]])
    with pytest.raises(ValueError, match=r"\(2, decisions\)"):
        least_cost(p, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="finite"):
        least_cost(p, torch.tensor([[0.0, torch.nan], [1.0, 0.0]]))
    with pytest.raises(ValueError, match="0 or more"):
        least_cost(p, abstain=-1)
    with pytest.raises(ValueError, match=r"\(2, 2, 2\)"):
        least_cost_per_label(p, torch.zeros(3, 2, 2))
    with pytest.raises(ValueError, match="outside"):
        least_cost(p * 3)
