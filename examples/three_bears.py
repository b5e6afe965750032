"""Three bears: the published table from the published logits, then the same four steps on a network's own numbers."""

import timm
import torch

from lastlayer import functional
from lastlayer.explanation import explain

BEARS = ["Grizzly", "Brown", "Teddy"]
TARGET = torch.tensor([1, 0, 2, 0, 2])
PUBLISHED = torch.tensor(
    [
        [0.1752, 0.0539, -0.0581],
        [0.0544, 0.0642, 0.0782],
        [0.3230, 0.0958, 0.1941],
        [0.1143, -0.0508, 0.0701],
        [0.1249, 0.0510, 0.1147],
    ]
)


def four_steps(logits: torch.Tensor) -> None:
    """Logits, softmax, log, pick and negate; and cross_entropy, which is all of them."""
    p = functional.softmax(logits, dim=1)
    losses = functional.nll_loss(p.log(), TARGET, reduction="none")  # noqa: LL303 - published probabilities, not a softmax of ours
    print(f"{'truth':8} {'logits':28} {'softmax':28} −log p")
    for row, target in enumerate(TARGET.tolist()):
        cells = (" ".join(f"{value:8.4f}" for value in values.tolist()) for values in (logits[row], p[row]))
        print(f"{BEARS[target]:8} {' '.join(f'{cell:28}' for cell in cells)} {losses[row]:.4f}")
    mean = functional.cross_entropy(logits, TARGET)
    print(f"mean {losses.mean():.4f}, cross_entropy {mean:.4f}, ln 3 = 1.0986 is what guessing costs\n")


print("published")
four_steps(PUBLISHED)

torch.manual_seed(0)
network = timm.create_model("resnet18", num_classes=3).eval()
with torch.no_grad():
    own = network(torch.rand(5, 3, 64, 64))
print("an untrained resnet18")
four_steps(own)

print(explain(PUBLISHED, TARGET, classes=BEARS))
