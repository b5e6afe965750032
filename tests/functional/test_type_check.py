"""The run-time type checker of `make test` really looks: a wrong annotation cannot hide."""

import pytest
import torch

from lastlayer import functional


def test_annotations_are_checked(request):
    if not request.config.getoption("--type-check"):
        pytest.skip("only under --type-check")
    with pytest.raises(TypeError, match="weight"):
        functional.cross_entropy(torch.zeros(2, 3), torch.tensor([0, 1]), torch.ones(3, 3))
