"""Hot dog or not: the same scores, three thresholds. What is missed and what is wrongly found decides between them."""

import torch

from lastlayer.decisions import decide
from lastlayer.nn import BinaryHead

torch.manual_seed(0)
truth = (torch.rand(400) < 0.3).long()
features = torch.randn(400, 8) + truth.unsqueeze(1) * torch.linspace(0, 1.0, 8)
head = BinaryHead(8)
optimizer = torch.optim.Adam(head.parameters(), 0.05)
for _ in range(150):
    optimizer.zero_grad()
    head.loss(features[:300], truth[:300]).backward()
    optimizer.step()

scores, answer = head.probabilities(head(features[300:])).detach(), truth[300:] == 1
print("threshold  found  missed  false alarms")
for threshold in (0.2, 0.5, 0.8):
    yes = decide(scores, threshold=threshold)
    found, missed, false = int((yes & answer).sum()), int((~yes & answer).sum()), int((yes & ~answer).sum())
    print(f"{threshold:9.1f}  {found:5}  {missed:6}  {false:12}")
print("a threshold of 0.5 is a logit of 0; nothing says that it is the right one")
