"""Other computations that can be explained: features, distributions, a next token, log-odds, pictures, contrasts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lastlayer.errors import OptionError, ProbabilityError, ShapeError
from lastlayer.explanation import reading
from lastlayer.explanation._explain import _mark
from lastlayer.explanation.stories import basics
from lastlayer.explanation.stories.contrasts import CONTRASTS, NEEDS_TARGET
from lastlayer.explanation.stories.distributions import distributions
from lastlayer.explanation.stories.features import features as features_story
from lastlayer.explanation.stories.next_token import next_token
from lastlayer.explanation.stories.parts import Asked, pipeline
from lastlayer.explanation.trace import Trace

Numbers = Sequence[float] | Tensor


def explain_features(
    features: Numbers,
    linear_weight: Sequence[Sequence[float]] | Tensor,
    target: int | str | None = None,
    *,
    linear_bias: Numbers | None = None,
    classes: Sequence[str] | None = None,
    learning_rate: float | None = None,
    dtype: str | torch.dtype = "float64",
    by: str = "lastlayer",
) -> Trace:
    """Show one row from its features on: logits = W x + b, the loss, the gradients of W and b, and one step.

    Args:
        features: What the last hidden layer gives, (features).
        linear_weight: (classes, features), as in `torch.nn.Linear`.
        target: The true class by index or name; None stops at the probabilities.
        linear_bias: (classes); None is 0.
        classes: A name per class.
        learning_rate: Take one step of gradient descent on W and b, and show the new loss.
        dtype: What to compute in.
        by: "lastlayer" or "torch".

    Raises:
        ShapeError: the sizes do not fit together.
        TargetError: `target` is not one of the classes.

    >>> trace = explain_features([1.0, 2.0], [[1.0, 0.0], [0.0, 1.0]], 0, learning_rate=0.5)
    >>> round(trace.loss, 4), round(trace["new_loss"].value.item(), 4)
    (1.3133, 0.0333)
    """
    kind = reading.dtype_of(dtype)
    x, weight = reading.numbers(features, "features", kind), reading.numbers(linear_weight, "linear_weight", kind)
    if x.dim() != 1 or weight.dim() != 2 or weight.shape[1] != len(x) or weight.shape[0] < 2:
        raise ShapeError(
            f"features need the shape (features,) and linear_weight (classes, features) with at least 2 classes: got "
            f"{tuple(x.shape)} and {tuple(weight.shape)}."
        )
    bias = torch.zeros(len(weight), dtype=kind) if linear_bias is None else reading.numbers(linear_bias, "bias", kind)
    if tuple(bias.shape) != (len(weight),):
        raise ShapeError(f"linear_bias needs one number per class: expected ({len(weight)},), got {tuple(bias.shape)}.")
    if learning_rate is not None:
        reading.positive("learning_rate", learning_rate)
    names = reading.names(classes, len(weight))
    index = None if target is None else reading.index(target, names)
    asked = Asked(dtype=kind, by=reading.one_of("by", by, ("lastlayer", "torch")), learning_rate=learning_rate)
    axes = {"j": names, "m": tuple(f"x{place}" for place in range(len(x)))}
    steps = features_story(x, weight, bias, index, names, asked)
    return Trace("features", _mark(steps, index), axes, index, asked.options(), plot=pipeline((1, 2, 3, 4, 5)))


def explain_distributions(p: Numbers, q: Numbers, *, classes: Sequence[str] | None = None) -> Trace:
    """Show information, entropy, cross-entropy both ways and the divergence of two distributions, in nats and bits.

    Args:
        p: What is true: probabilities that sum to 1.
        q: What is believed: probabilities of the same classes.
        classes: A name per class.

    Raises:
        ProbabilityError: a number outside [0, 1], or a sum that is not 1.
        ShapeError: the lengths differ.

    >>> trace = explain_distributions([0.7, 0.2, 0.1], [0.6, 0.3, 0.1])
    >>> round(trace["cross_entropy"].value.item(), 4), round(trace["entropy"].value.item(), 4)
    (0.8286, 0.8018)
    """
    first, second = reading.probabilities(p, "p"), reading.probabilities(q, "q")
    if first.dim() != 1 or first.shape != second.shape:
        raise ShapeError(
            f"p and q need one probability per class each: got shapes {tuple(first.shape)} and {tuple(second.shape)}."
        )
    names = reading.names(classes, len(first))
    return Trace("distributions", tuple(distributions(first, second)), {"j": names})


def explain_next_token(
    logits: Numbers,
    target: int | str | None = None,
    *,
    tokens: Sequence[str] | None = None,
    top: int = 8,
    temperature: float = 1.0,
    dtype: str | torch.dtype = "float64",
) -> Trace:
    """Show one step of a language model: the most probable tokens, the rest summed, the loss and the perplexity.

    Args:
        logits: One number per token of the vocabulary.
        target: The token that follows, by index or as text; None stops at the probabilities.
        tokens: The text of each token.
        top: How many tokens to show; the target is shown besides.
        temperature: Divide the logits by this first.
        dtype: What to compute in.

    >>> trace = explain_next_token([2.0, 1.0, 0.0, -1.0], "b", tokens=["a", "b", "c", "d"], top=2)
    >>> round(trace["rest"].value.item(), 4), round(trace["perplexity"].value.item(), 4)
    (0.1192, 4.2215)
    """
    z = reading.logits(logits, "multiclass", reading.dtype_of(dtype))
    if z.dim() != 1:
        raise ShapeError(
            f"one step is explained at a time: expected logits of shape (vocabulary,), got {tuple(z.shape)}."
        )
    if top < 1:
        raise OptionError(f"top has to be 1 or more, got {top}.")
    names = reading.names(tokens, len(z))
    index = None if target is None else reading.index(target, names)
    shown = z.double().argsort(descending=True, stable=True)[:top]
    if index is not None and index not in shown.tolist():
        shown = torch.cat([shown, torch.tensor([index])])
    asked = Asked(reading.positive("temperature", temperature), dtype=z.dtype)
    steps = next_token(z, shown, index, asked)
    place = None if index is None else shown.tolist().index(index)
    axes = {"j": tuple(names[token] for token in shown.tolist())}
    return Trace("next_token", _mark(steps, place), axes, place, asked.options() | {"vocabulary": float(len(z))})


def explain_log_odds(p: float) -> Trace:
    """Show what a logit is of a probability: log(p / (1 − p)), and the way back.

    >>> round(explain_log_odds(0.9)["logit"].value.item(), 4)
    2.1972
    """
    return Trace("log_odds", tuple(basics.log_odds(reading.probabilities(p, "p", total=False).reshape(()))), {})


def explain_image(height: int, width: int, *, channels: int = 3, row: int = 0, column: int = 0) -> Trace:
    """Show a picture as numbers: how many there are, and where one stands when rows are laid end to end.

    >>> explain_image(1080, 1920)["per_channel"].value.item()
    2073600.0
    """
    if min(height, width, channels) < 1:
        raise ShapeError(f"a picture needs at least one pixel and one channel, got {height}×{width}×{channels}.")
    if not (0 <= row < height and 0 <= column < width):
        raise ShapeError(f"the pixel ({row}, {column}) is not in a picture of {height} rows and {width} columns.")
    return Trace("image", tuple(basics.image(height, width, channels, row, column)), {})


def explain_sensitivity(logits: Numbers, of: int | str = 0, *, classes: Sequence[str] | None = None) -> Trace:
    """Show how each probability answers to each logit: the Jacobian of softmax.

    >>> trace = explain_sensitivity([4.0, 2.0, -2.0])
    >>> bool((trace["own_slope"].value > 0).all())
    True
    """
    z = reading.logits(logits, "multiclass", torch.float64)
    if z.dim() != 1:
        raise ShapeError(f"one row is explained at a time: expected shape (classes,), got {tuple(z.shape)}.")
    names = reading.names(classes, len(z))
    place = reading.index(of, names)
    return Trace("sensitivity", _mark(basics.sensitivity(z, names, place), place), {"i": names, "j": names})


def contrast(
    name: str, logits: Numbers, target: int | str | None = None, *, classes: Sequence[str] | None = None
) -> Trace:
    """Show two ways side by side: what people try first, and why the field does it otherwise.

    Args:
        name: "sigmoid-softmax", "ratio-exp", "argmax-softmax", "squared-error", "nll", "base" or "naive-stable".
        logits: One row of C numbers.
        target: The true class; "squared-error" and "nll" need it.
        classes: A name per class.

    Raises:
        OptionError: an unknown name, or no target where one is needed.

    >>> contrast("base", [4.0, 2.0, -2.0])["base_two"].value.tolist()
    [0.7901234567901234, 0.19753086419753085, 0.012345679012345678]
    """
    reading.one_of("the contrast", name, tuple(CONTRASTS))
    z = reading.logits(logits, "multiclass", torch.float64)
    if z.dim() != 1:
        raise ShapeError(f"one row is contrasted at a time: expected shape (classes,), got {tuple(z.shape)}.")
    if name in NEEDS_TARGET and target is None:
        raise OptionError(f"the contrast {name!r} needs a target: which class is true?")
    names = reading.names(classes, len(z))
    index = None if target is None else reading.index(target, names)
    steps = CONTRASTS[name](z, names, index)
    return Trace(f"contrast_{name.replace('-', '_')}", _mark(steps, index), {"j": names}, index)


def ratio(values: Numbers) -> Tensor:
    """Divide by the sum: what people try before they meet softmax. It needs numbers ≥ 0 that do not sum to 0.

    Returns:
        float64 numbers that sum to 1.

    Raises:
        ProbabilityError: a negative number, or a sum of 0; the softmax has a value there.

    >>> ratio([0.2, 0.3])
    tensor([0.4000, 0.6000], dtype=torch.float64)
    """
    x = reading.numbers(values, "values")
    if bool((x < 0).any()):
        raise ProbabilityError(
            f"a ratio needs numbers that are 0 or more, got {x.min().item():g}: a negative share is no probability. "
            "Use softmax."
        )
    if x.sum() == 0:
        raise ProbabilityError("a ratio needs a sum that is not 0. Use softmax, whose sum is always positive.")
    return x / x.sum()
