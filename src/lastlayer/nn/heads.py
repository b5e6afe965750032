"""Last layers that know their activation and their loss, so that the three cannot be mismatched.

| head             | question                          | logits | probabilities | loss                 |
|------------------|-----------------------------------|--------|---------------|----------------------|
| `BinaryHead`     | yes or no?                        | (N,)   | sigmoid       | binary cross-entropy |
| `MultiClassHead` | which one of C?                   | (N, C) | softmax       | cross-entropy        |
| `MultiLabelHead` | which of C, any number of them?   | (N, C) | C sigmoids    | binary cross-entropy |
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lastlayer import functional
from lastlayer.errors import OptionError
from lastlayer.functional import Number, Reduction


class _Head(nn.Module):
    """A linear layer to the logits."""

    def __init__(
        self,
        in_features: int,
        outputs: int,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, outputs, bias=bias, device=device, dtype=dtype)

    @property
    def in_features(self) -> int:
        """Features per row."""
        return self.linear.in_features


class BinaryHead(_Head):
    r"""One logit per row, its sigmoid, and binary cross-entropy: yes or no.

    Args:
        in_features: Features per row.
        pos_weight: Factor of the "yes" rows in the loss: > 1 trades precision for recall.
        focal_gamma: γ ≥ 0 of the focal factor (1 − p_t)^γ.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2.
        bias: Learn the log-odds of "yes" where the features say nothing.
        device: Of the layer.
        dtype: Of the layer.

    >>> head = BinaryHead(3)
    >>> head(torch.zeros(2, 3)).shape
    torch.Size([2])
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        *,
        pos_weight: float | None = None,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_features, 1, bias, device, dtype)
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.register_buffer("pos_weight", None if pos_weight is None else torch.tensor(pos_weight, device=device))

    def forward(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows"]:
        """Return one logit (log-odds of "yes") per row."""
        return self.linear(features).squeeze(-1)  # type: ignore[no-any-return]

    def loss(
        self,
        features: Float[Tensor, "*rows features"],
        target: Float[Tensor, "*rows"] | Int[Tensor, "*rows"],
        reduction: Reduction = "mean",
    ) -> Float[Tensor, "..."]:
        """Binary cross-entropy in nats; `target` is 0 or 1, or a probability of "yes", per row."""
        bias: Tensor | None = self.linear.bias
        return functional.linear_binary_cross_entropy(
            features,
            self.linear.weight.squeeze(0),
            target.to(self.linear.weight.dtype),
            linear_bias=None if bias is None else bias.squeeze(0),
            pos_weight=self.pos_weight,
            reduction=reduction,
            focal_gamma=self.focal_gamma,
            label_smoothing=self.label_smoothing,
        )

    def probabilities(self, logits: Float[Tensor, "*rows"], temperature: Number = 1.0) -> Float[Tensor, "*rows"]:
        """Probability of "yes" of each logit, divided by `temperature` first."""
        return functional.sigmoid(logits / temperature)


class MultiClassHead(_Head):
    r"""One logit per class, their softmax, and cross-entropy: exactly one of C.

    Args:
        in_features: Features per row.
        classes: Classes C, at least 2: with one class softmax is always 1 and the loss always 0.
        weight: One non-negative factor per class in the loss.
        label_smoothing: ε in [0, 1].
        z_loss: Adds z_loss · (log Σ exp z)² per row.
        bias: Learn a logit per class where the features say nothing.
        device: Of the layer.
        dtype: Of the layer.

    Raises:
        OptionError: fewer than two classes.

    >>> head = MultiClassHead(3, classes=4)
    >>> head(torch.zeros(2, 3)).shape
    torch.Size([2, 4])
    """

    weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        classes: int,
        *,
        weight: Float[Tensor, " classes"] | None = None,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if classes < 2:
            raise OptionError(
                f"MultiClassHead needs at least 2 classes, got {classes}: the softmax of one logit is 1 whatever it "
                "is, and the loss 0. For yes or no use BinaryHead."
            )
        super().__init__(in_features, classes, bias, device, dtype)
        self.classes = classes
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.register_buffer("weight", weight)

    def forward(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows classes"]:
        """Return one logit (unnormalised score) per class and row."""
        return self.linear(features)  # type: ignore[no-any-return]

    def loss(
        self,
        features: Float[Tensor, "*rows features"],
        target: Int[Tensor, "*rows"] | Float[Tensor, "*rows classes"],
        reduction: Reduction = "mean",
    ) -> Float[Tensor, "..."]:
        """Cross-entropy in nats; `target` is a class index, or a probability per class, per row."""
        return functional.linear_cross_entropy(
            features,
            self.linear.weight,
            target,
            linear_bias=self.linear.bias,
            weight=self.weight,
            reduction=reduction,
            label_smoothing=self.label_smoothing,
            z_loss=self.z_loss,
        )

    def probabilities(
        self, logits: Float[Tensor, "*rows classes"], temperature: Number = 1.0
    ) -> Float[Tensor, "*rows classes"]:
        """Probabilities that sum to 1 in each row, of the logits divided by `temperature`."""
        return functional.softmax(logits, -1, temperature=temperature)


class MultiLabelHead(_Head):
    r"""One logit per class, a sigmoid each, and binary cross-entropy: any number of C.

    Args:
        in_features: Features per row.
        classes: Classes C, at least 1.
        pos_weight: Factor of the "yes" entries of each class in the loss.
        focal_gamma: γ ≥ 0 of the focal factor (1 − p_t)^γ.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2.
        bias: Learn the log-odds of each class where the features say nothing.
        device: Of the layer.
        dtype: Of the layer.

    Raises:
        OptionError: no classes.

    >>> head = MultiLabelHead(3, classes=4)
    >>> head.probabilities(head(torch.zeros(2, 3))).shape
    torch.Size([2, 4])
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        in_features: int,
        classes: int,
        *,
        pos_weight: Float[Tensor, " classes"] | None = None,
        focal_gamma: float = 0.0,
        label_smoothing: float = 0.0,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if classes < 1:
            raise OptionError(f"MultiLabelHead needs at least 1 class, got {classes}.")
        super().__init__(in_features, classes, bias, device, dtype)
        self.classes = classes
        self.focal_gamma = focal_gamma
        self.label_smoothing = label_smoothing
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, features: Float[Tensor, "*rows features"]) -> Float[Tensor, "*rows classes"]:
        """Return one logit (log-odds of "yes") per class and row."""
        return self.linear(features)  # type: ignore[no-any-return]

    def loss(
        self,
        features: Float[Tensor, "*rows features"],
        target: Float[Tensor, "*rows classes"] | Int[Tensor, "*rows classes"],
        reduction: Reduction = "mean",
    ) -> Float[Tensor, "..."]:
        """Binary cross-entropy in nats; `target` is 0 or 1, or a probability of "yes", per class and row."""
        return functional.linear_binary_cross_entropy(
            features,
            self.linear.weight,
            target.to(self.linear.weight.dtype),
            linear_bias=self.linear.bias,
            pos_weight=self.pos_weight,
            reduction=reduction,
            focal_gamma=self.focal_gamma,
            label_smoothing=self.label_smoothing,
        )

    def probabilities(
        self, logits: Float[Tensor, "*rows classes"], temperature: Number = 1.0
    ) -> Float[Tensor, "*rows classes"]:
        """Probability of "yes" of each logit, divided by `temperature` first; a row need not sum to 1."""
        return functional.sigmoid(logits / temperature)
