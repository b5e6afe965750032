"""What a name in a source file stands for."""

import ast

# The last part of a dotted name, of torch, torch.nn, torch.nn.functional, lastlayer and lastlayer.nn.
ACTIVATIONS = {
    "softmax": "softmax", "log_softmax": "log_softmax", "softmin": "softmax", "sigmoid": "sigmoid", "relu": "relu",
    "logsigmoid": "logsigmoid", "argmax": "argmax", "hardmax": "argmax", "special.softmax": "softmax",
    "special.log_softmax": "log_softmax", "special.expit": "sigmoid",
}  # fmt: skip
MODULES = {
    "Softmax": "softmax", "LogSoftmax": "log_softmax", "Softmin": "softmax", "Softmax2d": "softmax",
    "Sigmoid": "sigmoid", "ReLU": "relu", "LogSigmoid": "logsigmoid", "Linear": "linear", "LazyLinear": "linear",
    "Conv2d": "linear", "Identity": "identity",
}  # fmt: skip
LOSSES = {
    "CrossEntropyLoss": "cross_entropy", "NLLLoss": "nll", "BCELoss": "bce", "BCEWithLogitsLoss": "bce_with_logits",
    "KLDivLoss": "kl_div", "MSELoss": "mse", "cross_entropy": "cross_entropy", "nll_loss": "nll",
    "binary_cross_entropy": "bce", "binary_cross_entropy_with_logits": "bce_with_logits", "kl_div": "kl_div",
    "mse_loss": "mse",
}  # fmt: skip
# Methods that hand on the same numbers.
HANDED_ON = {
    "view", "reshape", "squeeze", "unsqueeze", "float", "double", "half", "to", "contiguous", "permute", "transpose",
    "flatten", "cpu", "cuda", "movedim", "clone", "type_as", "mT",
}  # fmt: skip
# Of these the ones after which the last axis may be another.
RESHAPED = {"view", "reshape", "squeeze", "unsqueeze", "permute", "transpose", "flatten", "movedim", "mT"}
WRAPPERS = {"compile", "DataParallel", "DistributedDataParallel", "prepare"}
_HOMES = ("torch", "lastlayer")


class Names(ast.NodeVisitor):
    """The imports of a file: what each name is short for."""

    def __init__(self, tree: ast.AST) -> None:
        self.short: dict[str, str] = {}
        self.visit(tree)

    def visit_Import(self, node: ast.Import) -> None:
        """`import torch.nn.functional as F`."""
        for alias in node.names:
            self.short[alias.asname or alias.name.split(".")[0]] = (
                alias.name if alias.asname else alias.name.split(".")[0]
            )

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """`from torch import nn`."""
        for alias in node.names:
            self.short[alias.asname or alias.name] = f"{node.module}.{alias.name}"

    def full(self, node: ast.AST) -> str:
        """The dotted name of an expression, its imports resolved; "" where it is none."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        return ".".join([self.short.get(node.id, node.id), *reversed(parts)])

    def of_library(self, node: ast.AST) -> str:
        """The last part of a name of torch or lastlayer: "softmax" for `F.softmax`; "" for any other."""
        full = self.full(node)
        home, _, rest = full.partition(".")
        if home not in _HOMES or not rest:
            return ""
        return rest.removeprefix("nn.").removeprefix("functional.")


def dotted(node: ast.AST) -> str:
    """An expression such as `self.head` as text; "" for anything but names and attributes."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword of a call."""
    return next((given.value for given in call.keywords if given.arg == name), None)


def constant(node: ast.AST | None) -> object:
    """The value of a literal, with its sign; None for anything else."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        value = node.operand.value
        return -value if isinstance(value, (int, float)) else None
    return node.value if isinstance(node, ast.Constant) else None
