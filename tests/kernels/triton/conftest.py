"""The kernels run on a GPU where there is one; elsewhere under Triton's interpreter, in a process of its own.

Triton reads TRITON_INTERPRET when it is imported, so test_interpreted.py starts pytest again with it set. Without a
GPU and without the flag, nothing but that file and test_compiled.py is collected here.
"""

import importlib.util
import os

import numpy as np
import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if torch.cuda.is_available() and not INTERPRETED else "cpu"
INSTALLED = importlib.util.find_spec("triton") is not None

if not INSTALLED or not (INTERPRETED or DEVICE == "cuda"):
    collect_ignore_glob = ["test_cross*.py", "test_binary*.py", "test_softmax.py", "test_arithmetic.py"]


def pytest_configure(config: pytest.Config) -> None:
    if INTERPRETED:
        np.seterr(all="ignore")  # the kernels meet inf and NaN on purpose; the interpreter computes with NumPy
        config.addinivalue_line("filterwarnings", "ignore:All-NaN slice encountered:RuntimeWarning")
        if INSTALLED:
            _round_to_bfloat16()


def _round_to_bfloat16() -> None:
    """The interpreter (3.6, 3.9) cuts float32 to bfloat16 where a GPU rounds: 1.9999 becomes 1.9922."""
    from triton.language import bfloat16, float32
    from triton.runtime import interpreter

    plain = interpreter._convert_float

    def convert(values, source, goal, rounding_mode):
        if (source, goal) != (float32, bfloat16):
            return plain(values, source, goal, rounding_mode)
        rounded = torch.tensor(values.view(np.float32)).bfloat16()
        return rounded.view(torch.int16).numpy().view(np.uint16)

    interpreter._convert_float = convert


@pytest.fixture(autouse=True)
def _same_result_however_cut(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test marked `split` runs as if the GPU were so wide that every long row has to be shared."""
    if request.node.get_closest_marker("split"):
        from lastlayer.kernels.triton import _launch

        monkeypatch.setattr(_launch, "processors", lambda device: 512)


@pytest.fixture
def device() -> str:
    return DEVICE
