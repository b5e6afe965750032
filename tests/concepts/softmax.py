"""Rows 12 to 28: softmax, what it is made of, and what it is not."""

import itertools

import pytest
import torch

import lastlayer
from lastlayer.explanation import contrast, explain, explain_sensitivity, ratio
from tests.concepts.registry import concept, near

ANIMALS = ["dog", "cat", "rabbit"]
FIVE = [-0.2135, -0.0248, 3.985, -4.235, -0.1831]
FIVE_NAMES = ["horse", "ball", "fish", "car", "stick"]
TIED = [[5.0, 4.0, 2.0], [4.0, 2.0, 8.0], [4.0, 4.0, 1.0]]


def random_rows(rows: int = 50, classes: int = 7) -> torch.Tensor:
    return torch.randn(rows, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 5


@concept(12, total=1.0)
def rows_sum_to_one(total):
    for row in random_rows():
        near(explain(row).probabilities.sum(), total, within=1e-6)
    near(lastlayer.softmax(random_rows().float(), 1).sum(1), [total] * 50, within=1e-6)


@concept(13, p=[0.0143, 0.0173, 0.9534, 0.0003, 0.0148], winner="fish")
def five_classes(p, winner):
    trace = explain(FIVE, classes=FIVE_NAMES)
    near(trace.probabilities, p)
    assert trace["decision"].facts["winner"] == winner


@concept(14, exps=[0.8078, 0.9755, 53.7853, 0.0145, 0.8327], total=56.4157, first=0.0143)
def step_by_step(exps, total, first):
    trace = contrast("ratio-exp", FIVE, classes=FIVE_NAMES)
    near(trace["exp"].value, exps)
    near(trace["sum"].value, total)
    near(trace["probabilities"].value[0], first)


@concept(15, exps=[1.02, 0.08, 3.49], p=[0.22, 0.02, 0.76])
def softmax_wants_to_pick_one(exps, p):
    trace = contrast("ratio-exp", [0.02, -2.49, 1.25])
    near(trace["exp"].value, exps, within=0.005)
    near(trace["probabilities"].value, p, within=0.005)


@concept(16, total=1.0, low=0.0, high=1.0)
def a_distribution_and_differentiable(total, low, high):
    for row in random_rows():
        p = explain(row).probabilities
        assert bool(((p > 0) & (p < 1)).all())
        near(p.sum(), total, within=1e-6)
        near([float((p < low).sum() + (p < 0).sum()), float((p > high).sum())], [0.0, 0.0])
    assert (low, high) == (0.0, 1.0)
    assert torch.autograd.gradcheck(lambda z: lastlayer.softmax(z, 1), random_rows(3, 4).requires_grad_())


@concept(17, places=[2, 0, 1])
def the_order_is_kept(places):
    for row in random_rows():
        assert torch.equal(row.argsort(), explain(row).probabilities.argsort())
        assert int(explain(row)["decision"].value) == int(row.argmax())
    assert explain([0.5, -3.0, 7.0]).probabilities.argsort(descending=True).tolist() == places


@concept(18, p=[[0.71, 0.26, 0.04], [0.02, 0.0, 0.98], [0.49, 0.49, 0.02]], tied="cat, dog")
def a_tie_is_reported(p, tied):
    names = ["cat", "dog", "horse"]
    traces = [explain(row, classes=names) for row in TIED]
    near(torch.stack([trace.probabilities for trace in traces]), p, within=0.0051)
    assert [trace["decision"].facts.get("note") for trace in traces] == [None, None, "tie"]
    assert traces[2]["decision"].facts["tied"] == tied
    assert f"a tie between {tied}" in traces[2].text()


@concept(19, winner="dog", confidence=0.8789)
def the_largest_is_read_as_confidence(winner, confidence):
    trace = explain([4.0, 2.0, -2.0], classes=ANIMALS)
    facts = trace["decision"].facts
    assert facts["winner"] == winner
    near(facts["confidence"], confidence)
    assert "only if the\n    model is calibrated" in trace.text()


@concept(20, p=[0.3543, 0.6457])
def why_exp(p):
    trace = contrast("ratio-exp", [-0.3, 0.3])
    near(trace["probabilities"].value, p)
    assert all(check.holds for check in trace["exp"].invariants)


@concept(21, shares=[0.4, 0.6], p=[0.4750, 0.5250])
def ratio_first(shares, p):
    near(ratio([0.2, 0.3]), shares)
    trace = contrast("ratio-exp", [0.2, 0.3])
    near(trace["ratio"].value, shares)
    near(trace["probabilities"].value, p)


@concept(22, total=0.0, p=[0.3543, 0.6457])
def a_ratio_fails(total, p):
    with pytest.raises(ValueError, match="0 or more"):
        ratio([-0.3, 0.3])
    with pytest.raises(ValueError, match="sum that is not 0"):
        ratio([0.0, 0.0])
    trace = contrast("ratio-exp", [-0.3, 0.3])
    near(trace["plain_sum"].value, total)
    assert not trace["ratio"].invariants[0].holds
    near(trace["probabilities"].value, p)


@concept(23, base_two=[0.7901, 0.1975, 0.0123])
def any_base(base_two):
    trace = contrast("base", [4.0, 2.0, -2.0])
    near(trace["base_two"].value, base_two)
    near(trace["rescaled"].value, base_two)
    assert bool((trace["powers_of_two"].value > 0).all())
    assert bool((trace["powers_of_2_7"].value > 0).all())


@concept(24, p=[0.8789, 0.1189, 0.0022], denominator=62.1225)
def dog_cat_rabbit(p, denominator):
    near(explain([4.0, 2.0, -2.0], classes=ANIMALS).probabilities, p)
    near(contrast("ratio-exp", [4.0, 2.0, -2.0])["sum"].value, denominator)


@concept(25, slopes=[0.1065, 0.1048, 0.0022])
def monotone_in_its_own_logit(slopes):
    trace = explain_sensitivity([4.0, 2.0, -2.0], "dog", classes=ANIMALS)
    near(trace["own_slope"].value, slopes)
    assert bool((trace["own_slope"].value > 0).all())
    y = trace["probabilities"].plot.y
    assert all(low < high for low, high in itertools.pairwise(y))


@concept(26, largest=4.0, place=0, hard=[1, 0, 0], soft=[0.8789, 0.1189, 0.0022])
def three_views(largest, place, hard, soft):
    trace = contrast("argmax-softmax", [4.0, 2.0, -2.0])
    near(trace["largest"].value, largest)
    near(trace["decision"].value, place)
    near(trace["hardmax"].value, hard)
    near(trace["probabilities"].value, soft)


@concept(27, ranking=[3, 4, 2], total=1.0)
def ranking(ranking, total):
    trace = explain([-1.0, 0.1, 0.9, 3.2, 1.7])
    assert trace.probabilities.argsort(descending=True)[:3].tolist() == ranking
    near(trace.probabilities.sum(), total, within=1e-12)


@concept(28, two=[0.8808, 0.1192], three=[0.8789, 0.1189, 0.0022])
def two_classes_are_a_sigmoid(two, three):
    near(explain([4.0, 2.0], classes=["dog", "cat"]).probabilities, two)
    near(explain(2.0 - 4.0, classes=["dog", "cat"], kind="binary").probabilities, two)
    near(explain([4.0, 2.0, -2.0], classes=["dog", "cat", "person"]).probabilities, three)
