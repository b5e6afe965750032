"""Rows 29 to 41: targets, negative log-likelihood, and the published ways to get it wrong."""

import math

import torch

import lastlayer
from lastlayer.explanation import contrast, explain
from tests.concepts.registry import concept, near

BEARS = ["Grizzly", "Brown", "Teddy"]
TARGET = [1, 0, 2, 0, 2]
LOGITS = [
    [0.1752, 0.0539, -0.0581],
    [0.0544, 0.0642, 0.0782],
    [0.3230, 0.0958, 0.1941],
    [0.1143, -0.0508, 0.0701],
    [0.1249, 0.0510, 0.1147],
]


def bears(**options):
    return explain(LOGITS, TARGET, classes=BEARS, **options)


@concept(29, vectors=[[1, 0], [0, 1]], labels=[0, 1])
def one_hot(vectors, labels):
    made = lastlayer.one_hot(torch.tensor([0, 1]), 2)
    near(made, vectors)
    near(made.argmax(1), labels)
    near(explain([4.0, 2.0], 0)["truth"].value, vectors[0])


@concept(30, names=["Brown", "Grizzly", "Teddy", "Grizzly", "Teddy"])
def the_bears(names):
    trace = bears()
    assert [trace.classes[target] for target in trace.target] == names
    assert trace.target == explain(LOGITS, names, classes=BEARS).target if all(n in BEARS for n in names) else False


@concept(31, first=[0.3734, 0.3308, 0.2957])
def softmax_of_every_row(first):
    near(bears().probabilities[0], first)
    near(lastlayer.softmax(torch.tensor(LOGITS), dim=1)[0], first)


@concept(32, picked=[-0.3308, -0.3296, -0.3285, -0.3566, -0.3391])
def pick_and_negate(picked):
    trace = bears()
    near(-trace["pick"].value, picked)
    p = lastlayer.softmax(torch.tensor(LOGITS), 1)
    near(-p[torch.arange(5), torch.tensor(TARGET)], picked)


@concept(33, picked=[-0.3308, -0.3296, -0.3285, -0.3566, -0.3391])
def nll_loss_only_picks(picked):
    p = lastlayer.softmax(torch.tensor(LOGITS), 1)
    near(lastlayer.nll_loss(p, torch.tensor(TARGET), reduction="none"), picked)
    near([contrast("nll", row, y)["no_log"].value.item() for row, y in zip(LOGITS, TARGET, strict=True)], picked)
    assert "lacks the logarithm" in contrast("nll", LOGITS[0], 1).text()


@concept(34, losses=[1.1062, 1.1099, 1.1132, 1.0312, 1.0813], steps=["logits", "probabilities", "pick", "surprisal"])
def four_steps(losses, steps):
    trace = bears(reduction="none")
    near(trace["surprisal"].value, losses)
    near(trace["loss"].value, losses)
    assert [step.id for step in trace if step.id in steps] == steps


@concept(35, mean=1.0884, chance=1.0986)
def equals_torch(mean, chance):
    trace = bears()
    theirs = torch.nn.CrossEntropyLoss()(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(TARGET))
    assert abs(trace.loss - theirs.item()) < 1e-6
    near(trace.loss, mean)
    near(math.log(3), chance)
    assert abs(trace.loss - chance) < 0.0105
    assert trace.compare(bears(by="torch")).parting is None


@concept(36, stable=-110.0, naive=-math.inf)
def log_softmax(stable, naive):
    trace = contrast("naive-stable", [110.0, 0.0])
    near(trace["log_probabilities"].value[1], stable)
    near(trace["naive_log"].value[1], naive)
    near(explain([110.0, 0.0])["logits"].value[0], -stable)
    mild = contrast("naive-stable", [1.0, 0.0])
    near(mild["naive_log"].value, mild["log_probabilities"].value.tolist(), within=1e-6)


@concept(37, at=4.6052, certain=0.0)
def minus_log(at, certain):
    p = torch.tensor([0.01, 1.0], dtype=torch.float64)
    near(lastlayer.surprisal(p), [at, certain])
    curve = explain([math.log(0.01), math.log(0.99)], 0)["surprisal"].plot
    assert curve.id == "surprisal"
    near(curve.point, [0.01, at])
    near([curve.y[0], curve.y[-1]], [at, certain])


@concept(38, wrong=0.0202, right=4.6052)
def method_one_ignores_the_label(wrong, right):
    trace = contrast("nll", torch.tensor([0.01, 0.98, 0.01], dtype=torch.float64).log(), 0)
    near(trace["largest_only"].value, wrong)
    near(trace["loss"].value, right)
    assert "ignores the label" in trace.text()


@concept(39, wrong=1.9244, right=1.1062)
def method_two_is_binary_cross_entropy(wrong, right):
    trace = contrast("nll", LOGITS[0], 1)
    near(trace["all_outputs"].value, wrong)
    near(trace["loss"].value, right)


@concept(40, mean=1.0884, total=5.4418)
def reduction(mean, total):
    near(bears().loss, mean)
    near(bears(reduction="sum").loss, total)
    assert bears(reduction="none")["loss"].value.shape == (5,)


@concept(41, half=0.0, patched=-18.4207, stable=-110.0)
def eps_is_no_cure(half, patched, stable):
    trace = contrast("naive-stable", [110.0, 0.0])
    near(trace["eps"].facts["half"], half)
    near(torch.tensor(1e-8, dtype=torch.float16), half)
    near(trace["patched_log"].value[1], patched)
    near(trace["log_probabilities"].value[1], stable)
