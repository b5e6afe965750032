"""Raw tensors in, raw tensors out: one package per backend, and the table that chooses between them."""

from lastlayer.kernels._options import BinaryOptions, Options
from lastlayer.kernels._plain import is_plain
from lastlayer.kernels._select import BACKENDS, select

__all__ = ["BACKENDS", "BinaryOptions", "Options", "is_plain", "select"]
