"""The functions compiled for this machine's processor: one trip through memory, every digit (README.md here).

`why_not()` says why this machine cannot have them. Importing this imports no compiler.
"""

from lastlayer.kernels.cpu._compile import why_not as why_not
from lastlayer.kernels.cpu._cross_entropy import cross_entropy

__all__ = ["cross_entropy"]
