"""Rows 42 to 52: cross-entropy as information, its gradient, and what is no classification."""

import math

import torch

import lastlayer
from lastlayer.cli import run
from lastlayer.explanation import advise, contrast, explain, explain_distributions
from tests.concepts.registry import concept, near

Z, ANIMALS = [4.0, 2.0, -2.0], ["dog", "cat", "rabbit"]
TRUE, BELIEVED = [0.7, 0.2, 0.1], [0.6, 0.3, 0.1]


@concept(42, terms=[0.1291, 0.0, 0.0])
def zero_terms_vanish(terms):
    trace = explain(Z, "dog", classes=ANIMALS)
    near(trace["log_probabilities"].beside[0].value, terms)
    near(trace.loss, sum(terms) if terms[1:] == [0.0, 0.0] else math.nan)


@concept(43, perfect=0.0, wrong=math.inf, nothing=0.0)
def perfect_and_fully_wrong(perfect, wrong, nothing):
    same = explain_distributions([0.0, 0.0, 1.0], [0.0, 0.0, 1.0])
    other = explain_distributions([0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    near(same["cross_entropy"].value, perfect)
    near(other["cross_entropy"].value, wrong)
    near(same["code"].beside[0].value[0], nothing)  # 0 · log 0


@concept(44, squared=1.9602, cross=4.6052)
def a_wrong_class_deserves_more(squared, cross):
    trace = contrast("squared-error", [math.log(0.01), math.log(0.99)], 0)
    near(trace["squared"].value, squared)
    near(trace["cross_entropy"].value, cross)
    assert trace["squared_gradient"].value.abs().max() < 0.05 < trace["gradient"].value.abs().max()


@concept(45, there=0.8286, back=0.9271)
def not_a_distance(there, back):
    trace = explain_distributions(TRUE, BELIEVED)
    near(trace["cross_entropy"].value, there)
    near(trace["reversed"].value, back)


@concept(46, information=[0.3567, 1.6094, 2.3026], entropy=0.8018, cross=0.8286)
def both_forms(information, entropy, cross):
    trace = explain_distributions(TRUE, BELIEVED)
    near(trace["information"].value, information)
    near(trace["entropy"].value, entropy)
    near(trace["cross_entropy"].value, cross)
    p, q = torch.tensor(TRUE, dtype=torch.float64), torch.tensor(BELIEVED, dtype=torch.float64)
    near((p * (1 / p).log()).sum(), entropy)
    near(lastlayer.cross_entropy_of(p, q), cross)


@concept(47, entropy=0.8018, cross=0.8286)
def entropy_is_the_floor(entropy, cross):
    trace = explain_distributions(TRUE, BELIEVED)
    near([trace["entropy"].value.item(), trace["cross_entropy"].value.item()], [entropy, cross])
    same = explain_distributions(TRUE, TRUE)
    near(same["cross_entropy"].value, same["entropy"].value.item(), within=1e-12)
    near(same["kl"].value, 0.0, within=1e-12)
    for seed in range(20):
        p, q = torch.randn(2, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).softmax(1)
        other = explain_distributions(p, q)
        assert other["entropy"].value < other["cross_entropy"].value


@concept(48, nats=0.1291, bits=0.1863)
def one_dog_photo(nats, bits):
    trace = explain_distributions([1.0, 0.0, 0.0], explain(Z).probabilities, classes=ANIMALS)
    near(trace["cross_entropy"].value, nats)
    near(trace["bits"].value, bits)


@concept(49, labels=["log(1/q)", "−log q"], at=0.1291)
def one_curve_two_labels(labels, at):
    step = explain_distributions([1.0, 0.0, 0.0], explain(Z).probabilities)["code"]
    assert step.plot.id == "surprisal"
    near(step.plot.point[1], at)
    text = explain_distributions(TRUE, BELIEVED).text()
    assert f"{labels[0]} and {labels[1]} are one curve" in text


@concept(50, target=4.0, denominator=62.1225, loss=0.1291)
def merged(target, denominator, loss):
    near(explain(Z, 0).loss, loss)
    near(contrast("ratio-exp", Z)["sum"].value, denominator)
    near(-target + math.log(denominator), loss)
    assert "L = log(Σₖ exp zₖ) − Σₖ yₖ · zₖ" in explain(Z, 0).text()


@concept(51, gradient=[-0.1211, 0.1189, 0.0022])
def probability_minus_truth(gradient):
    near(explain(Z, "dog", classes=ANIMALS)["gradient"].value, gradient)
    leaf = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    lastlayer.cross_entropy(leaf, torch.tensor(0)).backward()
    near(leaf.grad, gradient)


@concept(52, kinds=["regression", "multiclass"], outputs=[1, 3])
def a_price_is_no_class(kinds, outputs):
    price = advise(torch.tensor([5400.5, 3200.25]))
    found = [price, advise(answer="class", several=False, classes=3)]
    assert [advice.kind for advice in found] == kinds
    assert [advice.outputs for advice in found] == outputs
    assert advise(answer="number").kind == kinds[0]
    assert run(["advise", "--answer", "number"]) == 0
