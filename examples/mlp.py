"""An MLP on handwritten digits: matrix products and bends in between, logits at the end, cross-entropy behind them."""

import torch
from sklearn.datasets import load_digits

import lastlayer
from lastlayer.nn import CrossEntropyLoss

torch.manual_seed(0)
digits = load_digits()
x, y = torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
loss_of, optimizer = CrossEntropyLoss(), torch.optim.Adam(model.parameters(), 0.01)
for epoch in range(15):
    for rows in torch.randperm(1500).split(100):
        optimizer.zero_grad()
        loss = loss_of(model(x[rows]), y[rows])
        loss.backward()
        optimizer.step()
    if epoch % 7 == 0:
        print(f"epoch {epoch:2}: loss {loss.item():.4f}")
logits = model(x[1500:]).detach()
print(f"held out: {(logits.argmax(1) == y[1500:]).float().mean():.3f} right")
hardest = lastlayer.cross_entropy(logits, y[1500:], reduction="none").argmax()
print(lastlayer.explain(logits[hardest], int(y[1500 + hardest])))
