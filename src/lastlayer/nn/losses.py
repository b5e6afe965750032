"""PyTorch's loss modules with lastlayer's functions: they store options and call `functional`."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lastlayer import functional
from lastlayer.errors import OptionError, ShapeError
from lastlayer.functional import Empty, Loss, Number, Reduction


class CrossEntropyLoss(nn.CrossEntropyLoss):
    r"""Cross-entropy of logits, in nats: `lastlayer.functional.cross_entropy` as a module.

    Args:
        weight: One non-negative factor per class.
        size_average: Deprecated in PyTorch; use `reduction`.
        ignore_index: Rows with this index count for nothing.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean".
        label_smoothing: ε in [0, 1].
        z_loss: Adds z_loss · (log Σ exp u)² per row.
        softcap: Replace each logit by softcap · tanh(z / softcap).
        temperature: Then divide it by this.
        empty: The mean when every row is ignored: "nan" as in PyTorch, or "zero".
        backend: "auto", or the name of one backend.

    >>> CrossEntropyLoss()(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0]))
    tensor(0.1291)
    """

    def __init__(
        self,
        weight: Float[Tensor, " classes"] | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        label_smoothing: Number = 0.0,
        *,
        z_loss: Number = 0.0,
        softcap: Number | None = None,
        temperature: Number = 1.0,
        empty: Empty = "nan",
        backend: str = "auto",
    ) -> None:
        # PyTorch only keeps the smoothing, of which it says that it is no tensor
        super().__init__(weight, size_average, ignore_index, reduce, reduction, label_smoothing)  # type: ignore[arg-type]
        self.z_loss = z_loss
        self.softcap = softcap
        self.temperature = temperature
        self.empty = empty
        self.backend = backend

    def forward(
        self,
        input: Float[Tensor, "*logits"],
        target: Int[Tensor, "*indices"] | Float[Tensor, "*logits"],
    ) -> Float[Tensor, "..."]:
        """Return the loss; shapes and errors are those of `functional.cross_entropy`."""
        return functional.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,  # type: ignore[arg-type]  # nn.Module stores a str
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            softcap=self.softcap,
            temperature=self.temperature,
            empty=self.empty,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from PyTorch's."""
        return _options(self, z_loss=0.0, softcap=None, temperature=1.0, empty="nan", backend="auto")


class NLLLoss(nn.NLLLoss):
    r"""Negative log-likelihood of log-probabilities, in nats: `lastlayer.functional.nll_loss` as a module.

    Args:
        weight: One non-negative factor per class.
        size_average: Deprecated in PyTorch; use `reduction`.
        ignore_index: Rows with this index count for nothing.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean".
        empty: The mean when every row is ignored: "nan" as in PyTorch, or "zero".
        backend: "auto", or the name of one backend.

    >>> NLLLoss()(torch.tensor([[0.7, 0.2, 0.1]]).log(), torch.tensor([0]))
    tensor(0.3567)
    """

    def __init__(
        self,
        weight: Float[Tensor, " classes"] | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        *,
        empty: Empty = "nan",
        backend: str = "auto",
    ) -> None:
        super().__init__(weight, size_average, ignore_index, reduce, reduction)
        self.empty = empty
        self.backend = backend

    def forward(self, input: Float[Tensor, "*log_probabilities"], target: Int[Tensor, "*indices"]) -> Tensor:
        """Return the loss; shapes and errors are those of `functional.nll_loss`."""
        return functional.nll_loss(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,  # type: ignore[arg-type]  # nn.Module stores a str
            empty=self.empty,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from PyTorch's."""
        return _options(self, empty="nan", backend="auto")


class BCELoss(nn.BCELoss):
    r"""Binary cross-entropy of probabilities, in nats: `lastlayer.functional.binary_cross_entropy` as a module.

    Args:
        weight: Factor per element.
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean".
        focal_gamma: γ ≥ 0 of the focal factor (1 − p_t)^γ.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2.
        backend: "auto", or the name of one backend.

    >>> BCELoss()(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0]))
    tensor(0.1643)
    """

    def __init__(
        self,
        weight: Float[Tensor, "..."] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        *,
        focal_gamma: Number = 0.0,
        label_smoothing: Number = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.backend = backend

    def forward(self, input: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        """Return the loss; shapes and errors are those of `functional.binary_cross_entropy`."""
        return functional.binary_cross_entropy(
            input,
            target,
            self.weight,
            reduction=self.reduction,  # type: ignore[arg-type]  # nn.Module stores a str
            focal_gamma=self.focal_gamma,
            label_smoothing=self.label_smoothing,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from PyTorch's."""
        return _options(self, focal_gamma=0.0, label_smoothing=0.0, backend="auto")


class BCEWithLogitsLoss(nn.BCEWithLogitsLoss):
    r"""Binary cross-entropy of logits, in nats: `functional.binary_cross_entropy_with_logits` as a module.

    Args:
        weight: Factor per element.
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean".
        pos_weight: Factor of the "yes" term.
        focal_gamma: γ ≥ 0 of the focal factor (1 − p_t)^γ.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2.
        backend: "auto", or the name of one backend.

    >>> BCEWithLogitsLoss()(torch.tensor([2.0]), torch.tensor([1.0]))
    tensor(0.1269)
    """

    def __init__(
        self,
        weight: Float[Tensor, "..."] | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: Reduction = "mean",
        pos_weight: Float[Tensor, "..."] | None = None,
        *,
        focal_gamma: Number = 0.0,
        label_smoothing: Number = 0.0,
        backend: str = "auto",
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction, pos_weight)
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.backend = backend

    def forward(self, input: Float[Tensor, "*shape"], target: Float[Tensor, "*shape"]) -> Float[Tensor, "..."]:
        """Return the loss; shapes and errors are those of `functional.binary_cross_entropy_with_logits`."""
        return functional.binary_cross_entropy_with_logits(
            input,
            target,
            self.weight,
            reduction=self.reduction,  # type: ignore[arg-type]  # nn.Module stores a str
            pos_weight=self.pos_weight,
            focal_gamma=self.focal_gamma,
            label_smoothing=self.label_smoothing,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Return the options that differ from PyTorch's."""
        return _options(self, focal_gamma=0.0, label_smoothing=0.0, backend="auto")


class KLDivLoss(nn.KLDivLoss):
    r"""PyTorch's pointwise divergence, in nats: `lastlayer.functional.kl_div` as a module.

    Args:
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum", "batchmean" or "mean".
        log_target: The target holds log-probabilities.
        backend: "auto", or the name of one backend.

    >>> KLDivLoss(reduction="batchmean")(torch.tensor([[0.6, 0.3, 0.1]]).log(), torch.tensor([[0.7, 0.2, 0.1]]))
    tensor(0.0268)
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
        log_target: bool = False,
        *,
        backend: str = "auto",
    ) -> None:
        super().__init__(size_average, reduce, reduction, log_target)
        self.backend = backend

    def forward(self, input: Float[Tensor, "..."], target: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the loss; shapes and errors are those of `functional.kl_div`."""
        return functional.kl_div(
            input, target, reduction=self.reduction, log_target=self.log_target, backend=self.backend
        )

    def extra_repr(self) -> str:
        """Return the options that differ from PyTorch's."""
        return _options(self, backend="auto")


class LinearCrossEntropyLoss(nn.Module):
    r"""A linear layer and its cross-entropy in one: `lastlayer.functional.linear_cross_entropy` as a module.

    The parameters and state of `torch.nn.LinearCrossEntropyLoss` (PyTorch 2.13), for every PyTorch from 2.11.

    Args:
        in_features: Features per row.
        num_classes: Classes C.
        out_features: (d1, …, dK) for several predictions per row.
        bias: Add a learnt bias to the logits.
        device: Of the layer.
        dtype: Of the layer.
        reduction: "none", "sum" or "mean".
        weight: One non-negative factor per class.
        ignore_index: Rows with this index count for nothing; None means −100 for indices.
        label_smoothing: ε in [0, 1].
        z_loss: Adds z_loss · (log Σ exp u)² per row.
        softcap: Replace each logit by softcap · tanh(z / softcap).
        temperature: Then divide it by this.
        empty: The mean when every row is ignored: "nan" as in PyTorch, or "zero".
        backend: "auto", or the name of one backend.

    Raises:
        ShapeError: `weight` is not one number per class.
        OptionError: `label_smoothing` lies outside [0, 1].

    >>> loss = LinearCrossEntropyLoss(5, 10)
    >>> loss(torch.zeros(2, 5), torch.tensor([3, 7])).item()  # no features, no preference: log 10
    2.3025851249694824
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        out_features: tuple[int, ...] = (),
        bias: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        reduction: Reduction = "mean",
        weight: Float[Tensor, " classes"] | None = None,
        ignore_index: int | None = None,
        label_smoothing: Number = 0.0,
        z_loss: Number = 0.0,
        softcap: Number | None = None,
        temperature: Number = 1.0,
        empty: Empty = "nan",
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if weight is not None and tuple(weight.shape) != (num_classes,):
            raise ShapeError(f"expected weight shape to be {(num_classes,)}, got {tuple(weight.shape)}.")
        if not 0.0 <= label_smoothing <= 1.0:
            raise OptionError(f"expected label_smoothing to be in range [0, 1], got {label_smoothing}.")
        self.num_classes = num_classes
        self.out_features = tuple(out_features)
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.softcap = softcap
        self.temperature = temperature
        self.empty: Empty = empty
        self.backend = backend
        self.register_buffer("weight", weight)
        outputs = math.prod(self.out_features, start=num_classes)
        self.linear = nn.Linear(in_features, outputs, bias=bias, device=device, dtype=dtype)

    def forward(self, input: Float[Tensor, "*rows features"], target: Tensor) -> Loss:
        """Return the loss; shapes and errors are those of `functional.linear_cross_entropy`."""
        shape = (self.num_classes, *self.out_features)
        bias: Tensor | None = self.linear.bias
        return functional.linear_cross_entropy(
            input,
            self.linear.weight.reshape(*shape, self.linear.in_features),
            target,
            linear_bias=None if bias is None else bias.reshape(shape),
            weight=self.weight,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
            softcap=self.softcap,
            temperature=self.temperature,
            empty=self.empty,
            backend=self.backend,
        )

    def extra_repr(self) -> str:
        """Return the sizes, and the options that differ from the defaults."""
        sizes = f"in_features={self.linear.in_features}, num_classes={self.num_classes}"
        options = _options(
            self,
            out_features=(),
            reduction="mean",
            ignore_index=None,
            label_smoothing=0.0,
            z_loss=0.0,
            softcap=None,
            temperature=1.0,
            empty="nan",
            backend="auto",
        )
        return f"{sizes}, {options}" if options else sizes


def _options(module: nn.Module, **defaults: object) -> str:
    changed = {name: getattr(module, name) for name, default in defaults.items() if getattr(module, name) != default}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items())
