"""Five objects: a network with five outputs, softmax over them, and the published logits beside the network's own."""

import timm
import torch

import lastlayer

NAMES = ["horse", "ball", "fish", "car", "stick"]

published = lastlayer.explain([-0.2135, -0.0248, 3.985, -4.235, -0.1831], "fish", classes=NAMES)
sigmoids = published["probabilities"].facts["sigmoids"]
print(f"{sigmoids:.4f} is what the sigmoids would sum to; softmax sums to 1:")
print({name: round(p, 4) for name, p in zip(NAMES, published.probabilities.tolist(), strict=True)})

torch.manual_seed(0)
model = timm.create_model("resnet18", num_classes=5).eval()
with torch.no_grad():
    logits = model(torch.rand(1, 3, 64, 64))
print("an untrained network guesses: each near 0.2, the loss near ln 5 = 1.6094")
own = lastlayer.explain(logits, "fish", classes=NAMES)
print(
    {name: round(p, 4) for name, p in zip(NAMES, own.probabilities.tolist(), strict=True)}, "loss", round(own.loss, 4)
)
print(published)
