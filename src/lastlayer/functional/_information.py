"""Surprisal, entropy, cross-entropy and divergence: the measures that the losses are made of, all in nats."""

import warnings

import torch
from jaxtyping import Float
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import ShapeError
from lastlayer.functional import _checks, _options, _reduction
from lastlayer.functional._options import Number


def surprisal(p: Float[Tensor, "*shape"], *, backend: str = "auto") -> Float[Tensor, "*shape"]:
    r"""Information in an event of probability p: −log p = log(1 / p), in nats.

    Args:
        p: Probabilities in [0, 1], of any shape.
        backend: "auto", or the name of one backend.

    Returns:
        Numbers ≥ 0 of the shape and dtype of `p`; inf at 0.

    Raises:
        DtypeError: `p` is not a floating tensor.
        ProbabilityError: a value lies outside [0, 1].

    >>> surprisal(torch.tensor([1.0, 0.5, 0.01]))
    tensor([-0.0000, 0.6931, 4.6052])

    Source: Shannon 1948.
    """
    _checks.is_floating("surprisal", p=p)
    _checks.probabilities("surprisal", "p", p)
    result: Tensor = kernels.select("surprisal", p, backend)(p)
    return result


def entropy(
    logits: Float[Tensor, "..."], dim: int = -1, *, temperature: Number = 1.0, backend: str = "auto"
) -> Float[Tensor, "..."]:
    r"""Expected surprise of a distribution under itself: H(p) = −Σⱼ pⱼ log pⱼ with p = softmax(logits), in nats.

    Args:
        logits: Unnormalised scores.
        dim: The class axis.
        temperature: T > 0, as in `softmax`.
        backend: "auto", or the name of one backend.

    Returns:
        Entropies in [0, log classes], of the shape of `logits` without `dim`.

    Raises:
        DtypeError: `logits` is not a floating tensor.
        ShapeError: there is no axis `dim`.
        OptionError: `temperature` is not positive.

    >>> entropy(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
    tensor([0.6931, 0.0012])

    Source: Shannon 1948.
    """
    _checks.is_floating("entropy", logits=logits)
    temperature = _options.positive("temperature", temperature)
    result: Tensor = kernels.select("entropy", logits, backend)(logits, _checks.dimension(logits, dim), temperature)
    return result


def cross_entropy_of(
    p: Float[Tensor, "..."], q: Float[Tensor, "..."], dim: int = -1, *, backend: str = "auto"
) -> Float[Tensor, "..."]:
    r"""Expected surprise under q of what p draws, from probabilities: H(p, q) = −Σⱼ pⱼ log qⱼ, in nats.

    It is no distance: H(p, q) ≠ H(q, p), and H(p, p) is the entropy of p, not 0.

    Args:
        p: Probabilities that sum to 1 along `dim`.
        q: Probabilities that sum to 1 along `dim`, in the shape of `p`.
        dim: The class axis.
        backend: "auto", or the name of one backend.

    Returns:
        Numbers ≥ 0 of the shape of `p` without `dim`; inf where q rules out what p allows; 0 · log 0 is 0.

    Raises:
        DtypeError: an argument is not a floating tensor.
        ShapeError: the shapes differ, or there is no axis `dim`.
        ProbabilityError: a value lies outside [0, 1].

    >>> cross_entropy_of(torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.6, 0.3, 0.1]))
    tensor(0.8286)

    Source: Good 1952; Kerridge 1961.
    """
    _checks.is_floating("cross_entropy_of", p=p, q=q)
    _same(p, q, "p", "q")
    _checks.probabilities("cross_entropy_of", "p", p)
    _checks.probabilities("cross_entropy_of", "q", q)
    result: Tensor = kernels.select("cross_entropy_of", p, backend)(p, q, _checks.dimension(p, dim))
    return result


def kl_divergence(
    p_logits: Float[Tensor, "..."], q_logits: Float[Tensor, "..."], dim: int = -1, *, backend: str = "auto"
) -> Float[Tensor, "..."]:
    r"""What believing q costs beyond what p costs anyway: KL(p ‖ q) = Σⱼ pⱼ log(pⱼ / qⱼ), in nats, from logits.

    Summed as p·log(p/q) − p + q, whose terms are all ≥ 0, so it is never negative and keeps its digits for
    distributions that are nearly equal.

    Args:
        p_logits: Unnormalised scores of p.
        q_logits: Unnormalised scores of q, in the shape of `p_logits`.
        dim: The class axis.
        backend: "auto", or the name of one backend.

    Returns:
        Numbers ≥ 0 of the shape of `p_logits` without `dim`; 0 exactly when the distributions are equal.

    Raises:
        DtypeError: an argument is not a floating tensor.
        ShapeError: the shapes differ, or there is no axis `dim`.

    >>> kl_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]))
    tensor(0.1109)

    Source: Kullback & Leibler 1951.
    """
    _checks.is_floating("kl_divergence", p_logits=p_logits, q_logits=q_logits)
    _same(p_logits, q_logits, "p_logits", "q_logits")
    dim = _checks.dimension(p_logits, dim)
    result: Tensor = kernels.select("kl_divergence", p_logits, backend)(p_logits, q_logits, dim)
    return result


def kl_div(
    input: Float[Tensor, "..."],
    target: Float[Tensor, "..."],
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
    log_target: bool = False,
    *,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""PyTorch's pointwise divergence, in nats: target · (log target − input).

    `input` is log q, not q, and the arguments stand the other way round from KL(target ‖ q). For the divergence of
    distributions pass reduction="batchmean", or use `kl_divergence`, which takes logits.

    Args:
        input: Log-probabilities log q.
        target: Probabilities p, or log p with `log_target`; broadcast against `input`.
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum", "batchmean" (the sum divided by the size of axis 0) or "mean" (over all elements,
            which is not the divergence; PyTorch warns, and so does this).
        log_target: `target` holds log-probabilities.
        backend: "auto", or the name of one backend.

    Returns:
        The dtype that `input` and `target` promote to.

    Raises:
        DtypeError: an argument is not a floating tensor.
        ShapeError: the shapes do not broadcast.
        OptionError: `reduction` is none of the four.

    >>> kl_div(torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[0.7, 0.2, 0.1]]), reduction="batchmean")
    tensor(0.0268)
    """
    how = _reduction.choose(reduction, size_average, reduce, also=("batchmean",))
    _checks.is_floating("kl_div", input=input, target=target)
    _checks.same_device(input=input, target=target)
    if _checks.broadcast_shape(input, target) is None:
        raise ShapeError(
            f"input of shape {tuple(input.shape)} and target of shape {tuple(target.shape)} do not broadcast. "
            "Pass one probability per log-probability."
        )
    if how == "mean" and size_average is None and reduce is None:
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size. "
            "'batchmean' divides only by the batch size, and aligns with the KL math definition.",
            stacklevel=2,
        )
    loss: Tensor = kernels.select("kl_div", input, backend)(input, target, log_target)
    if how == "batchmean":
        loss = loss.sum() / input.shape[0] if input.dim() else loss.sum()
    elif how != "none":
        loss = loss.mean() if how == "mean" else loss.sum()
    return loss.to(torch.promote_types(input.dtype, target.dtype))


def _same(p: Tensor, q: Tensor, p_name: str, q_name: str) -> None:
    _checks.same_device(**{p_name: p, q_name: q})
    if p.shape != q.shape:
        raise ShapeError(
            f"{p_name} and {q_name} need one shape: got {tuple(p.shape)} and {tuple(q.shape)}. "
            "Both have one entry per class."
        )
