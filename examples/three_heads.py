"""Which head for which question: the activation and the loss come with it."""

import torch

from lastlayer.nn import BinaryHead, MultiClassHead, MultiLabelHead

torch.manual_seed(0)
features = torch.randn(4, 16)  # from any backbone

yes_or_no = BinaryHead(16)
print("spam?         p =", yes_or_no.probabilities(yes_or_no(features)).tolist())
print("              loss", yes_or_no.loss(features, torch.tensor([1, 0, 0, 1])).item())

one_of_three = MultiClassHead(16, classes=3)
print("which animal? p =", one_of_three.probabilities(one_of_three(features))[0].tolist())
print("              loss", one_of_three.loss(features, torch.tensor([0, 2, 1, 0])).item())

any_of_three = MultiLabelHead(16, classes=3)
print("which tags?   p =", any_of_three.probabilities(any_of_three(features))[0].tolist())
print("              loss", any_of_three.loss(features, torch.tensor([[1, 0, 1]] * 4)).item())
