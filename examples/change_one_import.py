"""The same training loop with PyTorch's cross-entropy and with lastlayer's: the losses agree to rounding."""

import torch

from lastlayer import functional as ours


def train(functional) -> list[float]:
    torch.manual_seed(0)
    x = torch.randn(256, 20)
    y = (x[:, :3].argmax(1) + (x[:, 4] > 1)) % 3
    model = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(50):
        loss = functional.cross_entropy(model(x), y, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


theirs, mine = train(torch.nn.functional), train(ours)
print(f"PyTorch   {theirs[0]:.6f} → {theirs[-1]:.6f}")
print(f"lastlayer {mine[0]:.6f} → {mine[-1]:.6f}")
assert max(abs(a - b) for a, b in zip(theirs, mine, strict=True)) < 1e-4  # noqa: S101 - what the example shows
