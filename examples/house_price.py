"""A price is a quantity, a price range is a class: two questions about the same houses, two losses."""

import torch

import lastlayer
from lastlayer.explanation import advise
from lastlayer.nn import MultiClassHead

torch.manual_seed(0)
size, age = torch.rand(300) * 150 + 30, torch.rand(300) * 50
price = 30 * size - 20 * age + 900 + 150 * torch.randn(300)
x = torch.stack([(size - 105) / 43, (age - 25) / 14], 1)

print(advise(price), "\n")
line = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(line.parameters(), 30.0)
for _ in range(300):
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(line(x).squeeze(1), price).backward()
    optimizer.step()
error = (line(x).squeeze(1) - price).abs().mean().item()
print(f"regression: off by {error:.0f} on average; predicting 5300 for 5400 is nearly right\n")

names = ["cheap", "middle", "dear"]
band = torch.bucketize(price, price.quantile(torch.tensor([1 / 3, 2 / 3])))
print(advise(band), "\n")
head = MultiClassHead(2, classes=3)
optimizer = torch.optim.Adam(head.parameters(), 0.1)
for _ in range(200):
    optimizer.zero_grad()
    head.loss(x, band).backward()
    optimizer.step()
logits = head(x).detach()
print(f"classification: {(logits.argmax(1) == band).float().mean():.2f} of the houses in the right range")
print(lastlayer.explain(logits[0], int(band[0]), classes=names))
