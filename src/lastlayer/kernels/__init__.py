"""Raw tensors in, raw tensors out: one package per backend, and the table that chooses between them."""

from lastlayer.kernels._linear import Layer
from lastlayer.kernels._linear_binary_cross_entropy import Sparse, linear_binary_cross_entropy
from lastlayer.kernels._linear_cross_entropy import linear_cross_entropy
from lastlayer.kernels._linear_positions import linear_cross_entropy_of_positions
from lastlayer.kernels._options import BinaryOptions, Options, OutOfRangeError
from lastlayer.kernels._plain import is_plain
from lastlayer.kernels._select import BACKENDS, reads_targets, select, why_not

__all__ = [
    "BACKENDS",
    "BinaryOptions",
    "Layer",
    "Options",
    "OutOfRangeError",
    "Sparse",
    "is_plain",
    "linear_binary_cross_entropy",
    "linear_cross_entropy",
    "linear_cross_entropy_of_positions",
    "reads_targets",
    "select",
    "why_not",
]
