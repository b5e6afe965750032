"""Complaints to the department that can help: words to features, a linear layer, softmax, and a way out when unsure."""

import torch

import lastlayer
from lastlayer.nn import MultiClassHead

DEPARTMENTS = ["billing", "delivery", "quality"]
COMPLAINTS = [
    ("I was charged twice this month", 0),
    ("the invoice shows a fee that nobody explained", 0),
    ("my refund has not been paid back", 0),
    ("you took money after I had cancelled", 0),
    ("the price on the bill is wrong", 0),
    ("the parcel never arrived", 1),
    ("it came two weeks late", 1),
    ("the driver left the parcel in the rain", 1),
    ("tracking says delivered but nothing came", 1),
    ("it was sent to my old address", 1),
    ("the handle broke on the first day", 2),
    ("the screen is scratched", 2),
    ("it stopped working after an hour", 2),
    ("the colour is not what I ordered and it smells", 2),
    ("a button fell off and the seam is open", 2),
]
WORDS = sorted({word for text, _ in COMPLAINTS for word in text.lower().split()})


def counted(text: str) -> torch.Tensor:
    """How often each known word occurs."""
    said = text.lower().split()
    return torch.tensor([float(said.count(word)) for word in WORDS])


torch.manual_seed(0)
x, y = torch.stack([counted(text) for text, _ in COMPLAINTS]), torch.tensor([place for _, place in COMPLAINTS])
head = MultiClassHead(len(WORDS), classes=3, label_smoothing=0.05)
optimizer = torch.optim.Adam(head.parameters(), 0.05)
for _ in range(120):
    optimizer.zero_grad()
    head.loss(x, y).backward()
    optimizer.step()

for text in ("the bill shows a charged fee twice", "the parcel is scratched", "hello"):
    p = head.probabilities(head(counted(text))).detach()
    best = int(p.argmax())
    route = DEPARTMENTS[best] if p[best] > 0.7 else "a person"
    print(f"{text!r}: {DEPARTMENTS[best]} {p[best]:.2f} → {route}")
print(lastlayer.explain(head(counted("the parcel is scratched")).detach(), "quality", classes=DEPARTMENTS))
