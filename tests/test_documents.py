"""What the documents say is so: examples run, and the numbers of the README are the library's."""

import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import lastlayer

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda path: path.stem)
def test_example_runs(example, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [str(example)])
    runpy.run_path(str(example), run_name="__main__")
    assert capsys.readouterr().out


def test_every_example_is_listed():
    listed = (ROOT / "examples" / "README.md").read_text()
    for example in (ROOT / "examples").glob("*.py"):
        assert f"`{example.name}`" in listed


def test_the_table_of_the_readme():
    """PyTorch's column too: where it changes, the README has to."""
    for name, zero, gradient in (("torch", 0.0, 0.0), ("lastlayer", 1.8049e-35, -1.8049e-35)):
        functional = F if name == "torch" else lastlayer.functional
        z = torch.tensor([[80.0, 0.0]], requires_grad=True)
        loss = functional.cross_entropy(z, torch.tensor([0]))
        loss.backward()
        assert loss.item() == pytest.approx(zero, rel=1e-4, abs=0)
        assert z.grad[0, 0].item() == pytest.approx(gradient, rel=1e-4, abs=0)
    x, inf = torch.tensor([-15.25]), torch.tensor([float("inf")])
    assert F.binary_cross_entropy_with_logits(x, torch.zeros(1)) == 0
    ours = lastlayer.binary_cross_entropy_with_logits(x, torch.zeros(1)).item()
    assert ours == pytest.approx(2.3824e-07, rel=1e-4)
    assert F.binary_cross_entropy_with_logits(inf, torch.ones(1)).isnan()
    assert lastlayer.binary_cross_entropy_with_logits(inf, torch.ones(1)) == 0
    half, target = torch.zeros(70_000, 3, dtype=torch.float16), torch.zeros(70_000, dtype=torch.long)
    assert not F.cross_entropy(half, target).isfinite()
    assert lastlayer.cross_entropy(half, target).item() == pytest.approx(1.0986, abs=1e-4)


@pytest.mark.parametrize(("file", "language", "classes"), [
    ("README.md", "en", ["dog", "cat", "rabbit"]), ("README.ko.md", "ko", ["강아지", "고양이", "토끼"]),
])  # fmt: skip
def test_the_explanation_of_the_readme_is_what_is_printed(file, language, classes):
    text = (ROOT / file).read_text(encoding="utf-8")
    shown = lastlayer.explain([4.0, 2.0, -2.0], classes[0], classes=classes).text(language)
    block = next(part for part in text.split("```text\n") if part.startswith(" 5  ")).split("```")[0]
    assert block in shown + "\n"


def test_every_verb_and_flag_of_the_readme_exists():
    import inspect
    import re

    import typer

    from lastlayer.classifier.config import Config
    from lastlayer.cli import app, train

    readme = re.sub(r"torchrun .* -m lastlayer", "lastlayer", (ROOT / "README.md").read_text())  # has flags of its own
    verbs = typer.main.get_command(app).commands
    known = {flag for verb in verbs.values() for option in verb.params for flag in option.opts}
    assert set(re.findall(r"--[a-z][a-z-]*", readme)) <= known | {"--help"}
    assert set(re.findall(r"(?:^\$ |`)lastlayer ([a-z]+)", readme, re.MULTILINE)) <= set(verbs)
    # every setting has a flag of its name
    settings = set(Config.__dataclass_fields__)
    assert settings <= set(inspect.signature(train.command).parameters)


def test_no_document_holds_a_path_of_a_machine():
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").rglob("*.json")]:
        text = path.read_text(encoding="utf-8")
        assert "/work/" not in text
        assert "/home/" not in text
        assert "/root/" not in text
