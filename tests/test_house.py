"""The house keeps its rules: who imports whom, what the public names are, and what importing costs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lastlayer

SOURCE = Path(lastlayer.__file__).parent

# The table of ARCHITECTURE.md: what each room may import besides errors and messages.
MAY_IMPORT = {
    "errors": set(),
    "messages": set(),
    "kernels": set(),
    "functional": {"kernels"},
    "nn": {"functional"},
    "decisions": {"functional"},
    "graph": {"functional"},
    "explanation": {"graph", "functional", "decisions"},
    "diagnosis": {"graph", "functional", "explanation"},
    "classifier": {"nn", "functional", "decisions", "diagnosis", "explanation"},
    "bench": {"functional", "nn"},
    "cli": {"kernels", "nn", "functional", "decisions", "diagnosis", "explanation", "classifier", "bench"},
    "__main__": {"cli"},
    "__init__": {"functional", "nn", "decisions", "diagnosis", "classifier", "explanation"},
}


def rooms_imported_by(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            names = [node.module or ""]
            if node.module == "lastlayer":
                names = [f"lastlayer.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("lastlayer.")}
    return found


def room_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("file", sorted(SOURCE.rglob("*.py")), ids=lambda f: str(f.relative_to(SOURCE)))
def test_imports_point_one_way(file):
    room = room_of(file)
    allowed = MAY_IMPORT[room] | {room, "errors", "messages", "__version__"}
    assert rooms_imported_by(file) <= allowed


def test_every_room_of_the_table_exists_and_stands_in_architecture():
    rooms = {room_of(file) for file in SOURCE.rglob("*.py")}
    assert rooms == set(MAY_IMPORT)
    text = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text()
    for room in rooms - {"__init__", "__main__"}:
        assert f"| {room}" in text or f"{room}, " in text or f", {room}" in text, room


def test_every_module_of_the_classifier_stands_in_architecture():
    text = (SOURCE.parents[1] / "ARCHITECTURE.md").read_text()
    inside = text.partition("## Inside the classifier")[2].partition("\n## ")[0]
    named = {each.removesuffix(".py").rpartition("/")[2] for each in re.findall("`([^`]+)`", inside)}
    packages = {each.rstrip("/") for each in re.findall("`([a-z/]+)/`", inside)}
    folder = SOURCE / "classifier"
    files = {file.relative_to(folder) for file in folder.rglob("*.py")}
    modules = {file.stem for file in files if "checks" not in file.parts and file.stem not in ("__init__", "_evaluate")}
    assert modules - named == set()
    assert {str(file.parent) for file in files} - packages == {".", "data"}
    paths = {each for each in re.findall(r"`([^`]+\.py)`", inside) if "tests" not in each}
    assert {path for path in paths if not [*folder.rglob(path)]} == set()


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that may be imported when the code runs, wherever that stands; names for types alone are none."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield from imported(node)


def rooms_of_the_classifier() -> dict[str, set[str]]:
    """Each package and module at the top of the classifier, and those beside it that it imports."""
    folder = SOURCE / "classifier"
    rooms = {file.relative_to(folder).parts[0].removesuffix(".py"): set() for file in folder.rglob("*.py")}
    for file in folder.rglob("*.py"):
        room = file.relative_to(folder).parts[0].removesuffix(".py")
        for name in imported(ast.parse(file.read_text())):
            first, second, other, *_ = [*name.split("."), "", "", ""]
            if (first, second) == ("lastlayer", "classifier") and other:
                rooms[room].add(other if other in rooms else "__init__")
        rooms[room].discard(room)
    return rooms


def test_no_rooms_of_the_classifier_import_each_other_in_a_circle():
    rooms = rooms_of_the_classifier()
    assert {"data", "network", "learning", "policy", "evaluation"} <= rooms["fitting"]  # imports are seen at all
    order = list(TopologicalSorter(rooms).static_order())  # raises CycleError, which names the circle
    assert set(order) == set(rooms)
    assert order[-1] == "__init__"


@pytest.mark.parametrize("module", [lastlayer, lastlayer.functional, lastlayer.nn], ids=lambda m: m.__name__)
def test_all_is_exactly_the_public_names(module):
    # twice: a lazy attribute and a package of one name would shadow each other at the second look
    for _ in range(2):
        for name in module.__all__:
            assert getattr(module, name) is not None
    public = {name for name in dir(module) if not name.startswith("_")} - {"errors", "kernels", "messages"}
    if module is lastlayer:
        assert set(dir(module)) == set(module.__all__)
    else:
        submodules = {f.stem for f in Path(module.__file__).parent.glob("*.py")}
        assert public - submodules == set(module.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'crossentropy'"):
        lastlayer.crossentropy  # noqa: B018 - the look-up is the test


def modules_after(code: str) -> set[str]:
    report = f"import sys; {code}; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_no_torch():
    assert "torch" not in modules_after("import lastlayer")


def test_the_functions_need_only_torch_and_numpy():
    optional = {"timm", "transformers", "datasets", "sklearn", "accelerate", "pandas", "matplotlib", "rich", "typer"}
    loaded = modules_after("import lastlayer; lastlayer.cross_entropy; lastlayer.nn.BinaryHead; lastlayer.explain")
    assert "torch" in loaded
    assert not loaded & optional


def test_help_imports_no_torch():
    done = modules_after("from lastlayer.cli import app; app")
    assert not done & {"torch", "datasets", "timm", "sklearn", "accelerate"}
