"""What every test of the doctor gets."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _warn_always():
    """PyTorch tells some warnings once per process only: here a second one is as much of an error as the first."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)
