"""Heads keep activation and loss together."""

import pytest
import torch
from torch.nn import functional as F

from lastlayer import functional
from lastlayer.nn import BinaryHead, MultiClassHead, MultiLabelHead

X = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))


def test_binary_head_is_one_logit_a_sigmoid_and_bce():
    head = BinaryHead(3, pos_weight=2.0)
    y = torch.tensor([0, 1, 1, 0, 1])
    logits = head(X)
    assert logits.shape == (5,)
    torch.testing.assert_close(head.probabilities(logits), torch.sigmoid(logits))
    torch.testing.assert_close(head.probabilities(logits, 2.0), torch.sigmoid(logits / 2))
    expected = F.binary_cross_entropy_with_logits(logits, y.float(), pos_weight=torch.tensor(2.0), reduction="none")
    torch.testing.assert_close(head.loss(X, y, reduction="none"), expected)
    torch.testing.assert_close(head.loss(X, y), expected.mean())


def test_multi_class_head_is_softmax_and_cross_entropy():
    weight = torch.tensor([1.0, 2.0, 0.5, 1.0])
    head = MultiClassHead(3, 4, weight=weight, label_smoothing=0.1)
    y = torch.tensor([0, 1, 3, 2, 1])
    logits = head(X)
    assert logits.shape == (5, 4)
    torch.testing.assert_close(head.probabilities(logits, 0.5), torch.softmax(2 * logits, 1))
    torch.testing.assert_close(head.loss(X, y), F.cross_entropy(logits, y, weight, label_smoothing=0.1))
    soft = torch.rand(5, 4).softmax(1)
    torch.testing.assert_close(head.loss(X, soft), F.cross_entropy(logits, soft, weight, label_smoothing=0.1))


def test_heads_pass_every_option_on():
    """The option that a head stores is the one that its loss has."""
    y = torch.tensor([0, 1, 1, 0, 1])
    smooth, focal = {"label_smoothing": 0.1}, {"focal_gamma": 2.0, "label_smoothing": 0.1}
    for head, target, loss, options in (
        (BinaryHead(3, **focal), y.float(), functional.binary_cross_entropy_with_logits, focal),
        (MultiLabelHead(3, 4, **focal), torch.rand(5, 4), functional.binary_cross_entropy_with_logits, focal),
        (MultiClassHead(3, 4, z_loss=0.3, **smooth), y, functional.cross_entropy, {"z_loss": 0.3, **smooth}),
    ):
        logits = head(X)
        for reduction in ("none", "mean", "sum"):
            expected = loss(logits, target, reduction=reduction, **options)
            torch.testing.assert_close(head.loss(X, target, reduction=reduction), expected)
        assert not torch.allclose(head.loss(X, target), loss(logits, target))


def test_multi_label_head_is_sigmoids_and_bce():
    pos_weight = torch.tensor([1.0, 2.0, 0.5, 1.0])
    head = MultiLabelHead(3, 4, pos_weight=pos_weight)
    y = torch.randint(0, 2, (5, 4))
    logits = head(X)
    torch.testing.assert_close(head.probabilities(logits), torch.sigmoid(logits))
    torch.testing.assert_close(head.probabilities(logits, 2.0), torch.sigmoid(logits / 2))
    expected = F.binary_cross_entropy_with_logits(logits, y.float(), pos_weight=pos_weight)
    torch.testing.assert_close(head.loss(X, y), expected)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("make", [BinaryHead, lambda *a, **k: MultiClassHead(*a, classes=2, **k)])
def test_a_head_trains_on_what_separates(make, bias):
    torch.manual_seed(0)
    x = torch.randn(200, 2)
    y = (x[:, 0] > x[:, 1]).long()
    head = make(2, bias=bias)
    optimizer = torch.optim.Adam(head.parameters(), 0.1)
    first = head.loss(x, y).item()
    for _ in range(100):
        optimizer.zero_grad()
        head.loss(x, y).backward()
        optimizer.step()
    logits = head(x)
    predicted = (logits > 0).long() if logits.dim() == 1 else logits.argmax(1)
    assert head.loss(x, y).item() < first / 3
    assert (predicted == y).float().mean() > 0.95


def test_two_class_head_and_binary_head_are_the_same_model():
    binary, multi = BinaryHead(3), MultiClassHead(3, 2)
    with torch.no_grad():
        binary.linear.weight.copy_(multi.linear.weight[1:] - multi.linear.weight[:1])
        binary.linear.bias.copy_(multi.linear.bias[1:] - multi.linear.bias[:1])
    y = torch.tensor([0, 1, 1, 0, 1])
    torch.testing.assert_close(binary.loss(X, y), multi.loss(X, y))
    torch.testing.assert_close(binary.probabilities(binary(X)), multi.probabilities(multi(X))[:, 1])


def test_mixed_precision():
    head = MultiClassHead(3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = head.loss(X, torch.zeros(5, dtype=torch.long))
    loss.backward()
    assert head.linear.weight.grad.dtype is torch.float32
    assert loss.item() == pytest.approx(head.loss(X, torch.zeros(5, dtype=torch.long)).item(), rel=2e-2)


@pytest.mark.unchecked
def test_one_class_is_not_a_choice():
    with pytest.raises(ValueError, match="BinaryHead"):
        MultiClassHead(3, 1)
    with pytest.raises(ValueError, match="at least 1"):
        MultiLabelHead(3, 0)
