"""Rows 1 to 11: logits, sigmoids and their thresholds."""

import math

import torch

import lastlayer
from lastlayer.decisions import decide
from lastlayer.explanation import advise, contrast, explain, explain_features, explain_log_odds
from tests.concepts.registry import concept, near

Z = [4.0, 2.0, -2.0]


@concept(1, accepted=[-3.5e8, -0.25, 0.0, 7.25, 3.5e8])
def any_finite_real_is_a_logit(accepted):
    trace = explain([-3.5e8, -0.25, 0.0, 7.25, 3.5e8], 4)
    near(trace["logits"].value, accepted, within=0)
    assert trace.loss == 0


@concept(2, half=0.0, nine=2.1972, zero=-math.inf, one=math.inf)
def a_logit_is_the_log_odds(half, nine, zero, one):
    for p, stated in ((0.5, half), (0.9, nine), (0.0, zero), (1.0, one)):
        near(explain_log_odds(p)["logit"].value, stated)
        near(lastlayer.logit(torch.tensor(p, dtype=torch.float64)), stated)


@concept(3, p=[0.01, 0.5, 0.9])
def there_and_back(p):
    for one, stated in zip([0.01, 0.5, 0.9], p, strict=True):
        trace = explain_log_odds(one)
        near(trace["back"].value, stated, within=1e-12)
        curve = trace["logit"].plot
        assert (curve.id, curve.x_symbol, curve.y_symbol) == ("logit", "p", "z")
        near(curve.point[0], stated, within=1e-12)
    z = torch.linspace(-8, 8, 101, dtype=torch.float64)
    near(lastlayer.logit(lastlayer.sigmoid(z)), z.tolist(), within=1e-10)


@concept(4, logits=[3.0, -1.0, 2.0])
def a_network_is_matrix_products_and_bends(logits):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 3)).double()
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(2))
        model[2].weight.copy_(torch.tensor([[3.0, 0], [-1, 0], [2, 5]]))
        for layer in (model[0], model[2]):
            layer.bias.zero_()
    out = model(torch.tensor([1.0, -4.0], dtype=torch.float64))  # the negative feature is bent to 0
    near(explain(out, 0)["logits"].value, logits)
    near(explain_features([1.0, 0.0], model[2].weight, 0)["logits"].value, logits)


@concept(5, at=[0.0180, 0.5, 0.9820])
def the_sigmoid(at):
    near([explain(z, kind="binary").probabilities[1].item() for z in (-4.0, 0.0, 4.0)], at)
    curve = explain(4.0, kind="binary")["probabilities"].plot
    assert curve.id == "sigmoid"
    near(curve.point, [4.0, at[2]])


@concept(6, p=0.4620)
def one_output_is_one_score(p):
    near(explain(-0.1522, kind="binary").probabilities[1], p)


@concept(7, yes=[0.0, 1.0], words=["not hot dog", "hot dog"])
def the_threshold_is_explicit(yes, words):
    p = torch.tensor([0.30, 0.45])
    near(decide(p, threshold=0.4).double(), yes)
    near(decide(p, threshold=0.5).double(), [0.0, 0.0])
    trace = explain(-0.1522, "hot dog", kind="binary", classes=words, threshold=0.4)
    near(trace["decision"].value, yes[1])
    assert words[trace.target] == "hot dog"
    assert trace.classes == ("not hot dog", "hot dog")


@concept(8, threshold=0.5, logit=0.0)
def half_is_logit_zero(threshold, logit):
    facts = explain(1e-9, kind="binary", threshold=0.5)["decision"].facts
    near([facts["threshold"], facts["cut"]], [threshold, logit])
    near(explain(1e-9, kind="binary")["decision"].value, 1.0)
    near(explain(-1e-9, kind="binary")["decision"].value, 0.0)


@concept(9, sigmoids=[0.9820, 0.8808, 0.1192], total=1.9820)
def sigmoids_do_not_sum_to_one(sigmoids, total):
    trace = contrast("sigmoid-softmax", Z)
    near(trace["sigmoids"].value, sigmoids)
    near(trace["sigmoid_sum"].value, total)


@concept(10, alone=["0.9820", "0.8808", "0.1192"], together=["0.8789", "0.1189", "0.0022"])
def both_columns_side_by_side(alone, together):
    text = explain(Z).text()
    lines = text[text.index("Probabilities") :].splitlines()
    rows = [line.split() for line in lines if line.lstrip("▸ ").startswith("class ")][:3]
    assert [row[2] for row in rows] == together
    assert [row[-1] for row in rows] == alone


@concept(11, table=["sigmoid", "sigmoid", "softmax"])
def which_activation(table):
    asked = [
        advise(answer="class", several=False, classes=2),
        advise(answer="class", several=True, classes=5),
        advise(answer="class", several=False, classes=5),
    ]
    assert [advice.activation for advice in asked] == table
    read = [
        advise(torch.tensor([0.0, 1.0])),
        advise(torch.tensor([[1.0, 1.0, 0.0]])),
        advise(torch.tensor([0, 2, 1])),
    ]
    assert [advice.activation for advice in read] == table
