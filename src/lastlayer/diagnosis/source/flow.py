"""What a value is made by, as far as it can be followed without running anything."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from lastlayer.diagnosis.source.names import (
    ACTIVATIONS,
    HANDED_ON,
    LOSSES,
    MODULES,
    RESHAPED,
    WRAPPERS,
    Names,
    constant,
    dotted,
    keyword,
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Value = TypeVar("Value")
# Where an option stands that is not named.
_PLACES = {
    "cross_entropy": (
        "input",
        "target",
        "weight",
        "size_average",
        "ignore_index",
        "reduce",
        "reduction",
        "label_smoothing",
    ),
    "nll_loss": ("input", "target", "weight", "size_average", "ignore_index", "reduce", "reduction"),
    "binary_cross_entropy": ("input", "target", "weight", "size_average", "reduce", "reduction"),
    "binary_cross_entropy_with_logits": (
        "input",
        "target",
        "weight",
        "size_average",
        "reduce",
        "reduction",
        "pos_weight",
    ),
    "kl_div": ("input", "target", "size_average", "reduce", "reduction", "log_target"),
    "mse_loss": ("input", "target", "size_average", "reduce", "reduction"),
    "CrossEntropyLoss": ("weight", "size_average", "ignore_index", "reduce", "reduction", "label_smoothing"),
    "NLLLoss": ("weight", "size_average", "ignore_index", "reduce", "reduction"),
    "BCELoss": ("weight", "size_average", "reduce", "reduction"),
    "BCEWithLogitsLoss": ("weight", "size_average", "reduce", "reduction", "pos_weight"),
    "KLDivLoss": ("size_average", "reduce", "reduction"),
    "MSELoss": ("size_average", "reduce", "reduction"),
}


@dataclass(frozen=True)
class Made:
    """By what a value was made.

    Attributes:
        by: An activation, "linear", "output" (of a model about which no more is known), "list", "loss", "argmax".
        origin: The expression that made it.
        direct: It stands in the very place where it is used, not behind a name.
        inside: For "log": what it was taken of.
        reshaped: Its axes were changed since.
    """

    by: str
    origin: ast.expr
    direct: bool = True
    inside: "Made | None" = None
    reshaped: bool = False


@dataclass(frozen=True)
class LossCall:
    """A call of a loss.

    Attributes:
        kind: As in `graph`.
        call: The call.
        options: The call that holds its options: the constructor of a module, or the call itself.
        given: What made the first argument.
        target: What made the second.
        function: The function that it stands in; None at the top of the file.
    """

    kind: str
    call: ast.Call
    options: ast.Call
    given: Made | None
    target: Made | None
    function: Function | None

    def option(self, name: str) -> ast.expr | None:
        """The value of an option."""
        named = keyword(self.options, name) or keyword(self.call, name)
        if named is not None:
            return named
        last = dotted(self.options.func).rsplit(".", 1)[-1]
        places = dict(zip(_PLACES.get(last, ()), self.options.args, strict=False))
        return places.get(name)


@dataclass(frozen=True)
class Scope:
    """Where a name is meant: in which class and in which function."""

    owner: str = ""
    function: str = ""


class Kept(Generic[Value]):
    """Values by name and scope: `self.head` belongs to its class, `model` to its function or to the file."""

    def __init__(self) -> None:
        self._by_scope: dict[tuple[str, str], Value] = {}
        self._by_name: dict[str, list[Value]] = {}

    def put(self, scope: Scope, name: str, value: Value) -> None:
        """Keep a value under a name."""
        key = (self._home(scope, name), name)
        if key not in self._by_scope:
            self._by_name.setdefault(name, []).append(value)
        else:
            others = self._by_name[name]
            others[others.index(self._by_scope[key])] = value
        self._by_scope[key] = value

    def get(self, scope: Scope, name: str) -> Value | None:
        """What a name means in a scope; a name that is kept once in the file may have been handed over."""
        for home in (self._home(scope, name), ""):
            if (home, name) in self._by_scope:
                return self._by_scope[home, name]
        everywhere = self._by_name.get(name, [])
        return everywhere[0] if len(everywhere) == 1 and not name.startswith("self.") else None

    def values(self) -> list[Value]:
        """All of them."""
        return list(self._by_scope.values())

    def __len__(self) -> int:
        return len(self._by_scope)

    @staticmethod
    def _home(scope: Scope, name: str) -> str:
        return f"class {scope.owner}" if name.startswith("self.") else scope.function


@dataclass
class Flow:
    """Everything that was followed in one file."""

    names: Names
    losses: list[LossCall] = field(default_factory=list)
    calls: list[tuple[ast.Call, str, Function | None]] = field(default_factory=list)
    made: dict[ast.expr, Made] = field(default_factory=dict)
    dynamic: list[ast.Call] = field(default_factory=list)
    classes: dict[str, Made | None] = field(default_factory=dict)
    bound: "Kept[Made]" = field(default_factory=lambda: Kept())  # what modules make, by the name they are kept under
    constructed: "Kept[ast.Call]" = field(default_factory=lambda: Kept())  # loss modules and optimizers


def follow(tree: ast.Module) -> Flow:
    """Follow the values of a file: first what modules are kept under which name, then every function."""
    flow = Flow(Names(tree))
    for _ in range(2):  # the second time, classes that are used before they are defined are known
        for scope, node in _assignments(tree, Scope()):
            if isinstance(node.value, ast.Call):
                _bind(flow, scope, dotted(node.targets[0]), node.value)
        for part in tree.body:
            if isinstance(part, ast.ClassDef):
                flow.classes[part.name] = _forward(flow, part)
    _Walk(flow, None, {}, Scope()).block(tree.body)
    return flow


def _assignments(node: ast.AST, scope: Scope) -> Iterator[tuple[Scope, ast.Assign]]:
    """Every assignment to a single name, with its scope."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Assign) and len(child.targets) == 1:
            yield scope, child
        elif isinstance(child, ast.ClassDef):
            yield from _assignments(child, Scope(child.name))
        elif isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from _assignments(child, inside(scope, child))
        elif isinstance(child, ast.stmt | ast.ExceptHandler | ast.match_case):
            yield from _assignments(child, scope)


def inside(scope: Scope, function: Function) -> Scope:
    """The scope of a function's body."""
    return Scope(scope.owner, f"{scope.owner}.{function.name}:{function.lineno}")


def _bind(flow: Flow, scope: Scope, name: str, call: ast.Call) -> None:
    library = flow.names.of_library(call.func)
    if not name:
        return
    if (library in LOSSES and library[0].isupper()) or library.startswith("optim."):
        flow.constructed.put(scope, name, call)
    elif (made := module_output(flow, call, scope)) is not None:
        flow.bound.put(scope, name, made)


def module_output(flow: Flow, call: ast.expr, scope: Scope) -> Made | None:
    """What a module makes that `call` constructs."""
    if not isinstance(call, ast.Call):
        return None
    library = flow.names.of_library(call.func)
    if library in MODULES:
        return Made(MODULES[library], call, direct=False)
    if library == "Sequential":
        inner = [module_output(flow, part, scope) for part in call.args if not isinstance(part, ast.Starred)]
        last = next((made for made in reversed(inner) if made is None or made.by != "identity"), None)
        return Made("output", call, direct=False) if last is None else last
    name = dotted(call.func)
    if name in flow.classes:
        return flow.classes[name] or Made("output", call, direct=False)
    if isinstance(call.func, ast.Attribute) and call.func.attr in (*HANDED_ON, "train", "eval"):
        return module_output(flow, call.func.value, scope) or flow.bound.get(scope, dotted(call.func.value))
    if name.rsplit(".", 1)[-1] in WRAPPERS and call.args:
        return flow.bound.get(scope, dotted(call.args[0])) or module_output(flow, call.args[0], scope)
    return None


def _forward(flow: Flow, node: ast.ClassDef) -> Made | None:
    """What the forward of a class returns; None where its returns differ."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "forward":
            walk = _Walk(
                Flow(flow.names, classes=flow.classes, bound=flow.bound), part, {}, inside(Scope(node.name), part)
            )
            walk.block(part.body)
            made = {one.by if one is not None else None: one for one in walk.returned}
            if len(made) == 1:
                one = next(iter(made.values()))
                return None if one is None else Made(one.by, one.origin, direct=False)
    return None


class _Walk:
    """One scope, statement by statement, in order; the branches of an if are taken one after the other."""

    def __init__(self, flow: Flow, function: Function | None, known: dict[str, Made], scope: Scope) -> None:
        self.flow, self.function, self.known, self.scope = flow, function, known, scope
        self.returned: list[Made | None] = []

    def block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            self.statement(statement)

    def statement(self, node: ast.stmt) -> None:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            _Walk(self.flow, node, {}, inside(self.scope, node)).block(node.body)
        elif isinstance(node, ast.ClassDef):
            _Walk(self.flow, None, {}, Scope(node.name)).block(node.body)
        elif isinstance(node, ast.Assign):
            made = self.value(node.value)
            for target in node.targets:
                self.assign(target, made)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            self.assign(node.target, self.value(node.value))
        elif isinstance(node, ast.AugAssign):
            self.value(node.value)
            self.known.pop(dotted(node.target), None)
        elif isinstance(node, ast.Return):
            self.returned.append(None if node.value is None else self.value(node.value))
        else:
            for part in _parts(node):
                if isinstance(part, ast.expr):
                    self.value(part)
                elif isinstance(part, ast.stmt):
                    self.statement(part)

    def assign(self, target: ast.expr, made: Made | None) -> None:
        if isinstance(target, (ast.Tuple, ast.List)):
            for part in target.elts:
                self.known.pop(dotted(part), None)
            return
        name = dotted(target)
        if not name:
            return
        if made is None:
            self.known.pop(name, None)
        else:
            self.known[name] = replace(made, direct=False)

    def value(self, node: ast.expr) -> Made | None:
        """What an expression is made by; every call in it is noted on the way."""
        made = self._value(node)
        if made is not None:
            self.flow.made[node] = made
        return made

    def _value(self, node: ast.expr) -> Made | None:
        if isinstance(node, (ast.Name, ast.Attribute)):
            if isinstance(node, ast.Attribute):
                inner = self.value(node.value)
                if node.attr == "logits" or (node.attr in HANDED_ON and inner is not None):
                    return inner
            return self.known.get(dotted(node))
        if isinstance(node, (ast.List, ast.ListComp)):
            for part in ast.iter_child_nodes(node):
                if isinstance(part, ast.expr):
                    self.value(part)
            return Made("list", node)
        if isinstance(node, ast.Call):
            return self._call(node)
        for part in _parts(node):
            if isinstance(part, ast.expr):
                self.value(part)
        return None

    def _call(self, node: ast.Call) -> Made | None:
        arguments = [self.value(part) for part in node.args]
        for named in node.keywords:
            self.value(named.value)
        name = self.flow.names.of_library(node.func)
        self.flow.calls.append((node, name, self.function))
        first = arguments[0] if arguments else None
        if (loss := self._loss(node, name)) is not None:
            kind, options = loss
            target = arguments[1] if len(arguments) > 1 else self._keyword(node, "target")
            given = first if arguments else self._keyword(node, "input")
            self.flow.losses.append(LossCall(kind, node, options, given, target, self.function))
            return Made("loss", node)
        if name in ACTIVATIONS:
            return Made(ACTIVATIONS[name], node)
        if name == "log":
            return Made("log", node, inside=first)
        if isinstance(node.func, ast.Attribute):
            return self._method(node, node.func)
        return self._module_call(node)

    def _keyword(self, node: ast.Call, name: str) -> Made | None:
        given = keyword(node, name)
        return None if given is None else self.flow.made.get(given)

    def _loss(self, node: ast.Call, name: str) -> tuple[str, ast.Call] | None:
        if name in LOSSES and not name[0].isupper():
            return LOSSES[name], node
        made_by = (
            node.func if isinstance(node.func, ast.Call) else self.flow.constructed.get(self.scope, dotted(node.func))
        )
        if isinstance(made_by, ast.Call):
            kind = LOSSES.get(self.flow.names.of_library(made_by.func))
            return None if kind is None else (kind, made_by)
        return None

    def _method(self, node: ast.Call, func: ast.Attribute) -> Made | None:
        inner = self.value(func.value)
        if self.flow.names.full(func).split(".")[0] in ("torch", "lastlayer"):
            return None
        if func.attr in ("softmax", "log_softmax", "sigmoid", "relu", "argmax"):
            return Made(func.attr, node)
        if func.attr == "max" and (node.args or node.keywords):
            return None
        if func.attr == "log" and not node.args:
            return Made("log", node, inside=inner)
        if func.attr in HANDED_ON:
            return replace(inner, reshaped=True) if inner is not None and func.attr in RESHAPED else inner
        return self._module_call(node)

    def _module_call(self, node: ast.Call) -> Made | None:
        if isinstance(node.func, ast.Call):
            if dotted(node.func.func) == "getattr" and node.func.args and self._is_library(node.func.args[0]):
                self.flow.dynamic.append(node)
            made = module_output(self.flow, node.func, self.scope)
        else:
            made = self.flow.bound.get(self.scope, dotted(node.func))
            if made is None and dotted(node.func).rsplit(".", 1)[-1] in ("model", "net", "network", "classifier"):
                made = Made("output", node)
        return None if made is None else Made(made.by, made.origin, made.origin is node)

    def _is_library(self, node: ast.expr) -> bool:
        return self.flow.names.full(node).split(".")[0] in ("torch", "lastlayer")


def _parts(node: ast.AST) -> Iterator[ast.AST]:
    """The statements and expressions right below a node, through what is neither."""
    for part in ast.iter_child_nodes(node):
        if isinstance(part, (ast.expr, ast.stmt)):
            yield part
        else:
            yield from _parts(part)


def number_in(node: ast.AST | None) -> float | None:
    """A literal number, also as `torch.tensor([3.0])`."""
    while isinstance(node, (ast.Call, ast.List)):
        parts = node.args if isinstance(node, ast.Call) else node.elts
        if len(parts) != 1:
            return None
        node = parts[0]
    value = constant(node)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
