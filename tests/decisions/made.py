"""Logits whose probabilities are true, and answers drawn from them."""

import torch


def honest(rows=4000, classes=5, seed=0):
    """Logits whose softmax is the true distribution of the target."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def honest_labels(rows=4000, labels=4, seed=0):
    """Logits whose sigmoids are the true probabilities of the labels, the last one rare."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, labels, generator=generator, dtype=torch.float64)
    logits[:, -1] -= 4
    return logits, (torch.rand(rows, labels, generator=generator, dtype=torch.float64) < logits.sigmoid()).long()
