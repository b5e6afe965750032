"""One step of a language model: of a large vocabulary the few tokens that matter, the rest summed, the perplexity."""

import torch
from torch import Tensor

from lastlayer.explanation.expressions import Number, Symbol, exp, log, total
from lastlayer.explanation.stories.parts import Asked, bars, surprisal_curve, wide
from lastlayer.explanation.trace import Step


def next_token(z: Tensor, shown: Tensor, target: int | None, asked: Asked) -> list[Step]:
    """`z` holds a logit per token of the vocabulary, `shown` the tokens to show, the target among them."""
    u = z / asked.temperature
    p = wide(asked.library.softmax(u, 0))
    lse = wide(asked.library.logsumexp(u, 0))
    kept = torch.zeros(len(z), dtype=torch.bool)
    kept[shown] = True
    others = wide(asked.library.logsumexp(u[~kept], 0)) if not bool(kept.all()) else torch.tensor(-torch.inf).double()
    seen = p[shown]
    rest = p[~kept].sum()
    name = "z" if asked.temperature == 1.0 else "u"
    steps = [
        Step("logits", Symbol("z", "j"), None, wide(z[shown]), plot=bars(z[shown]),
             facts={"note": "vocabulary", "vocabulary": float(len(z)), "shown": float(len(shown))}),
    ]  # fmt: skip
    if asked.temperature != 1.0:
        steps.append(Step("tempered", Symbol("u", "j"), Symbol("z", "j") / Number(asked.temperature), wide(u[shown])))
    whole = log(total(exp(Symbol(name, "k"))) + exp(Symbol("R")))
    steps += [
        Step("other_logits", Symbol("R"), None, others, facts={"count": float((~kept).sum())}),
        Step("normaliser", Symbol("A"), whole, lse, numerics=asked.stable(u.max())),
        Step("probabilities", Symbol("p", "j"), exp(Symbol(name, "j") - Symbol("A")), seen, plot=bars(seen, scale=1.0),
             facts={"note": "top", "sum": float(seen.sum())}),
        Step("rest", Symbol("r"), 1 - total(Symbol("p", "k")), rest,
             (asked.check("sum_is_one", seen.sum() + rest - 1, len(z) ** 0.5),)),
    ]  # fmt: skip
    if target is None:
        return steps
    place = int((shown == target).nonzero()[0, 0])
    truth = torch.zeros(len(shown), dtype=torch.float64)
    truth[place] = 1.0
    loss = wide(asked.library.cross_entropy(u, torch.tensor(target)))
    rank = float((u > u[target]).sum() + 1)
    return [
        *steps,
        Step("truth", Symbol("y", "j"), None, truth),
        Step("pick", Symbol("q"), total(Symbol("y", "k") * Symbol("p", "k")), seen[place],
             facts={"note": "rank", "rank": rank}),
        Step("loss", Symbol("L"), Symbol("A") - total(Symbol("y", "k") * Symbol(name, "k")), loss,
             (asked.check("equals_cross_entropy", loss - (lse - wide(u[target])), lse.abs()),),
             plot=surprisal_curve(seen[place] if seen[place] > 0 else None)),
        Step("perplexity", Symbol("N"), exp(Symbol("L")), loss.exp(), facts={"vocabulary": float(len(z))}),
    ]  # fmt: skip
