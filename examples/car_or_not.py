"""Car or not: a network with one output gives a logit, its sigmoid is the score, and a threshold makes the answer."""

import timm
import torch

import lastlayer
from lastlayer.decisions import decide
from lastlayer.nn import BinaryHead

torch.manual_seed(0)
backbone = timm.create_model("resnet18", num_classes=0).eval()  # num_classes=0: features, 512 of them
head = BinaryHead(512)

# Stand-ins for photos: "cars" have a bright horizontal band, the others are noise.
photos = torch.rand(24, 3, 64, 64) * 0.5
is_car = torch.arange(24) % 2
photos[is_car == 1, :, 24:40] += 0.8

with torch.no_grad():
    features = backbone(photos)
before = head(features)[1].item()
optimizer = torch.optim.Adam(head.parameters(), 0.01)
for _ in range(100):
    optimizer.zero_grad()
    head.loss(features, is_car).backward()
    optimizer.step()

logits = head(features).detach()
scores = head.probabilities(logits)
print(f"one photo: logit {before:.4f} before training, {logits[1]:.4f} after, score {scores[1]:.4f}")
print("right at threshold 0.5:", int((decide(scores, threshold=0.5) == is_car).sum()), "of", len(photos))
print(lastlayer.explain(logits[1], "car", kind="binary", classes=["not a car", "car"]))
print("the tutorial's logit −0.1522 is the score", round(lastlayer.sigmoid(torch.tensor(-0.1522)).item(), 4))
