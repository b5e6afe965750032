"""A policy holds everything between logits and decisions, and can be written down."""

import json
import math
from dataclasses import replace

import pytest
import torch

from lastlayer.decisions import Policy, SetRule, measured_coverage, reprior, set_limits, set_scores
from tests.decisions.made import honest, honest_labels

POLICIES = {
    "plain": Policy("multiclass", 5),
    "all of multiclass": Policy(
        "multiclass",
        5,
        temperature=1.7,
        weight=(1.0, 2.0, 3.0, 4.0, 0.5),
        trained=(0.2,) * 5,
        deployed=(0.4, 0.3, 0.1, 0.1, 0.1),
        cost=tuple(tuple(float(i != j) * (i + 1) for j in range(5)) for i in range(5)),
        abstain=0.8,
        sets=SetRule(0.9, "aps", True, (0.5, 0.9, math.inf, 1.0, 0.2)),
    ),
    "binary": Policy("binary", 2, temperature=0.5, pos_weight=(9.0,), thresholds=(0.2,)),
    "binary costs": Policy("binary", 2, weight=(1.0, 3.0), cost=((0.0, 1.0), (5.0, 0.0)), abstain=0.4),
    "labels": Policy(
        "multilabel",
        4,
        temperature=(1.0, 2.0, 3.0, 0.5),
        pos_weight=(1.0, 2.0, 3.0, 4.0),
        thresholds=(0.1, 0.2, 0.3, 0.4),
    ),
    "label costs": Policy(
        "multilabel", 4, trained=(0.5,) * 4, deployed=(0.1, 0.2, 0.5, 0.9), cost=((0.0, 1.0), (3.0, 0.0)), abstain=0.3
    ),
}


def logits_of(policy, rows=100):
    z = honest(rows)[0] if policy.kind == "multiclass" else honest_labels(rows)[0]
    return z[:, 0] if policy.kind == "binary" else z


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_written_down_and_read_again_it_does_the_same(policy):
    text = json.dumps(policy.to_dict(), allow_nan=False)
    again = Policy.from_dict(json.loads(text))
    assert again == policy
    z = logits_of(policy)
    assert torch.equal(again.probabilities(z), policy.probabilities(z))
    assert torch.equal(again.decide(z), policy.decide(z))


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_probabilities_decisions_and_losses_are_of_one_kind(policy):
    z = logits_of(policy)
    p = policy.probabilities(z)
    assert p.dtype == torch.float64
    assert p.shape == (100, policy.classes)
    if policy.kind != "multilabel":
        assert torch.allclose(p.sum(1), torch.ones(100, dtype=torch.float64))
        target = torch.arange(100) % policy.classes
        surprise = -p.log().gather(1, target.unsqueeze(1)).squeeze(1)
    else:
        target = (torch.arange(400).reshape(100, 4) % 3 == 0).long()
        surprise = -torch.where(target == 1, p, 1 - p).log().mean(1)
    assert torch.allclose(policy.losses(z, target), surprise)
    decision = policy.decide(z)
    assert decision.shape == ((100, 4) if policy.kind == "multilabel" else (100,))
    forced = policy.decide(z, abstain=False)
    assert (forced >= 0).all()
    assert torch.equal(decision[decision >= 0], forced[decision >= 0])
    assert bool((decision < 0).any()) == (policy.abstain is not None)
    assert torch.equal(policy.decide_by(p), decision)
    assert policy.decision_costs(z, target).shape == (100,)


def test_temperature_comes_before_the_correction_of_weights():
    """The model learnt ln w with everything else, so that its confidence scales that, too."""
    policy = Policy("multiclass", 3, temperature=2.0, weight=(1.0, 2.0, 4.0))
    z = torch.tensor([[4.0, 2.0, -2.0]])
    expected = (z.double() / 2 - torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64).log()).softmax(1)
    assert torch.allclose(policy.probabilities(z), expected)


def test_new_shares_come_last():
    trained, deployed = (0.5, 0.3, 0.2), (0.1, 0.1, 0.8)
    policy = Policy("multiclass", 3, temperature=2.0, trained=trained, deployed=deployed)
    z = torch.tensor([[4.0, 2.0, -2.0]], dtype=torch.float64)
    change = reprior(
        "multiclass", torch.tensor(trained, dtype=torch.float64), torch.tensor(deployed, dtype=torch.float64)
    )
    assert torch.allclose(policy.probabilities(z), (z / 2 + change).softmax(1))
    assert policy.class_ratio.tolist() == pytest.approx([0.2, 1 / 3, 4])
    assert policy.row_weights(torch.tensor([2, 0])).tolist() == pytest.approx([4, 0.2])
    yes = Policy("binary", 2, trained=(0.5,), deployed=(0.1,))
    assert yes.class_ratio.tolist() == pytest.approx([1.8, 0.2])
    assert yes.probabilities(torch.zeros(1)).tolist()[0] == pytest.approx([0.9, 0.1])


def test_a_threshold_decides_instead_of_the_larger_probability():
    z = torch.tensor([-2.0, -1.0, 0.0, 1.0])
    assert Policy("binary", 2).decide(z).tolist() == [0, 0, 0, 1]
    assert Policy("binary", 2, thresholds=(0.2,)).decide(z).tolist() == [0, 1, 1, 1]
    assert Policy("binary", 2, thresholds=(0.5,)).decide(z).tolist() == [0, 0, 0, 1]  # yes lies above it
    labels = Policy("multilabel", 2, thresholds=(0.2, 0.7))
    assert labels.decide(torch.tensor([[-1.0, 0.5], [-2.0, 1.0]])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_are_those_of_the_scores_without_the_temperature(score):
    logits, target = honest(rows=1000)
    policy = Policy("multiclass", 5, temperature=3.0, weight=(1.0, 1.0, 2.0, 1.0, 1.0))
    made = policy.with_sets(logits[:500], target[:500], 0.9, score=score)
    corrected = logits - torch.tensor([1.0, 1, 2, 1, 1], dtype=torch.float64).log()
    scores = set_scores(corrected.log_softmax(1), score)
    limits = set_limits(scores[:500], target[:500], 0.9)
    assert made.sets.limits == pytest.approx(tuple(limits.tolist()))
    assert torch.equal(made.set_of(logits[500:]), scores[500:] <= torch.tensor(made.sets.limits))
    assert measured_coverage(made.set_of(logits[500:]), target[500:]).total.value == pytest.approx(0.9, abs=0.04)


def test_sets_are_fitted_to_rows_in_the_shares_of_use():
    logits, target = honest(rows=1000)
    trained, deployed = (torch.tensor(each, dtype=torch.float64) for each in ([0.2] * 5, [0.1, 0.1, 0.1, 0.1, 0.6]))
    policy = Policy("multiclass", 5, trained=tuple(trained.tolist()), deployed=tuple(deployed.tolist()))
    made = policy.with_sets(logits, target, 0.9)
    scores = set_scores((logits + reprior("multiclass", trained, deployed)).log_softmax(1))
    limits = set_limits(scores, target, 0.9, class_weight=deployed / trained)
    assert made.sets.limits == pytest.approx(tuple(limits.tolist()))
    assert limits[0] != set_limits(scores, target, 0.9)[0]
    z, yes = logits[:, 0], (target == 0).long()
    one = Policy("binary", 2, trained=(0.2,), deployed=(0.6,)).with_sets(z, yes, 0.9)
    change = reprior("binary", *(torch.tensor(each, dtype=torch.float64) for each in (0.2, 0.6)))
    scores = -torch.nn.functional.logsigmoid(torch.stack([-z - change, z + change], 1))
    limits = set_limits(scores, yes, 0.9, class_weight=torch.tensor([0.5, 3.0], dtype=torch.float64))
    assert one.sets.limits == pytest.approx(tuple(limits.tolist()))


def test_sets_of_yes_and_no_and_of_labels():
    z, target = honest_labels(rows=20_000)
    held, new = slice(0, 10_000), slice(10_000, None)
    one = Policy("binary", 2).with_sets(z[held, 0], target[held, 0], 0.8)
    assert measured_coverage(one.set_of(z[new, 0]), target[new, 0]).total.value == pytest.approx(0.8, abs=0.02)
    labels = Policy("multilabel", 4).with_sets(z[held], target[held], 0.8)
    assert labels.sets.per_class
    for label in measured_coverage(labels.set_of(z[new]), target[new]).per_class:
        assert label.value == pytest.approx(0.8, abs=0.06)
    with pytest.raises(ValueError, match="label by label"):
        Policy("multilabel", 4).with_sets(z, target, 0.8, score="aps")
    with pytest.raises(ValueError, match="with_sets"):
        Policy("binary", 2).set_of(z[:, 0])


def test_saturated_rows_do_not_tie():
    """Twenty sure rows, all with probability 1 in float64, still have an order."""
    z = torch.arange(40, 60, dtype=torch.float64)
    made = Policy("binary", 2).with_sets(z, torch.ones(20, dtype=torch.int64), 0.5)
    assert int(made.set_of(z).sum()) == 11


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "softmax"}, "multiclass, binary, multilabel"),
        ({"temperature": 0.0}, "positive"),
        ({"temperature": (1.0, 2.0, 3.0)}, "belongs to labels"),
        ({"thresholds": (0.5,)}, "belong to sigmoids"),
        ({"kind": "binary", "classes": 2, "thresholds": (0.5,), "abstain": 0.1}, "exclude each other"),
        ({"kind": "binary", "classes": 2, "thresholds": (0.5, 0.5)}, "2 thresholds for 1"),
        ({"cost": ((0.0, 1.0), (1.0, 0.0))}, r"\(3, 3\)"),
        ({"deployed": (0.2, 0.3, 0.5)}, "need the trained"),
        ({"trained": (0.2, 0.3, 0.5), "deployed": (0.2, 0.3, 0.6)}, "sum to 1"),
        ({"weight": (1.0, 0.0, 1.0)}, "never learnt"),
        ({"sets": SetRule(0.9, "lac", False, (1.0,))}, "1 limits"),
        ({"sets": SetRule(1.0, "lac", False, (1.0, 1.0, 1.0))}, "between 0 and 1"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        Policy(**{"kind": "multiclass", "classes": 3, **wrong})


def test_what_is_no_policy_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'temperature'"):
        Policy.from_dict({"kind": "binary", "classes": 2, "temprature": 1.0})
    for broken in ({"classes": 2}, {"kind": "binary", "classes": 2, "sets": {"coverage": 0.9}}):
        with pytest.raises(ValueError, match="describe no policy"):
            Policy.from_dict(broken)


def test_logits_of_another_shape_are_refused():
    policy = POLICIES["plain"]
    with pytest.raises(ValueError, match=r"\(rows, 5\)"):
        policy.probabilities(torch.zeros(3, 4))
    with pytest.raises(ValueError, match=r"\(rows,\)"):
        POLICIES["binary"].probabilities(torch.zeros(3, 2))
    with pytest.raises(TypeError, match="int64"):
        policy.probabilities(torch.zeros(3, 5, dtype=torch.int64))


def test_replacing_a_part_keeps_the_rest():
    policy = POLICIES["all of multiclass"]
    z = logits_of(policy)
    assert torch.equal(replace(policy, abstain=None).decide(z), policy.decide(z, abstain=False))


def test_what_is_more_probable_than_a_class_of_a_set_is_in_it():
    """Under other shares each class has a limit of its own; a set without the most probable class helps nobody."""
    limits = (0.04, 0.999, 0.999)  # of −log p
    policy = Policy("multiclass", 3, sets=SetRule(0.9, "lac", per_class=False, limits=limits))
    p = torch.tensor([[0.58, 0.41, 0.01], [0.97, 0.02, 0.01], [0.0005, 0.0005, 0.999]], dtype=torch.float64)
    assert policy.set_of(p.log()).tolist() == [[True, True, False], [True, False, False], [False, False, True]]
    by_class = replace(policy, sets=replace(policy.sets, per_class=True))
    assert by_class.set_of(p.log()).tolist()[0] == [False, True, False]  # the promise is made to each class
