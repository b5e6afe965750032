"""Source files: what is suppressed, changed, and not understood."""

import subprocess
import sys
from pathlib import Path

import pytest

import lastlayer
from lastlayer.diagnosis.source import examine
from lastlayer.errors import DataNotFoundError
from tests.diagnosis.cases import source

WRONG = "loss = F.cross_entropy(F.softmax(z, dim=1), y)"


@pytest.mark.parametrize(
    "comment", ["# noqa", "# noqa: LL001", "# noqa: LL0", "# NOQA: E501, LL001", "#noqa:LL001,LL2"]
)
def test_a_line_can_be_silenced(comment):
    assert source(f"{WRONG}  {comment}\n").codes == []


@pytest.mark.parametrize("comment", ["# noqa: LL002", "# noqa: E501", "# not a noqa", "# LL001"])
def test_another_code_silences_nothing(comment):
    assert source(f"{WRONG}  {comment}\n").codes == ["LL001"]


def test_any_line_of_a_statement_may_hold_it():
    assert source("loss = F.cross_entropy(\n    F.softmax(z, 1),  # noqa: LL001\n    y,\n)\n").codes == []


DIFFS = {
    "p = F.softmax(z)": "p = F.softmax(z, dim=-1)",
    "layer = nn.Softmax()": "layer = nn.Softmax(dim=-1)",
    WRONG: "loss = F.cross_entropy(z, y)",
    "loss = F.cross_entropy(model.head(x).softmax(1), y)": "loss = F.cross_entropy(model.head(x), y)",
    "loss = F.nll_loss(F.softmax(z, dim=1), y)": "loss = F.nll_loss(F.log_softmax(z, dim=1), y)",
    "lp = torch.log(F.softmax(z, dim=1))": "lp = F.log_softmax(z, dim=1)",
    "lp = z.softmax(1).log()": "lp = z.log_softmax(1)",
    "loss = F.kl_div(lq, p, reduction='mean')": 'loss = F.kl_div(lq, p, reduction="batchmean")',
    "yes = logits > 0.5": "yes = logits > 0",
    "글 = F.softmax(z)": "글 = F.softmax(z, dim=-1)",
}


@pytest.mark.parametrize("line", DIFFS)
def test_the_fix_is_shown_as_a_diff(line):
    diffs = [finding.fix.diff for finding in source(f"{line}\n") if finding.fix.diff]
    assert f"\n-{line}\n+{DIFFS[line]}" in diffs[0]
    compile(DIFFS[line], "fixed", "exec")


FOLLOWED = {
    "by name": "p = F.softmax(z, dim=1)\nloss = F.cross_entropy(p, y)",
    "through views": "p = F.softmax(z, dim=1)\nloss = F.cross_entropy(p.float().view(-1, 3), y)",
    "a class": (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(3, 4)\n"
        "        self.act = nn.Softmax(dim=1)\n    def forward(self, x):\n        return self.act(self.fc(x))\n"
        "model = Net().to('cpu')\nloss = nn.CrossEntropyLoss()(model(x), y)"
    ),
    "a loss of self": (
        "class Trainer:\n    def __init__(self):\n"
        "        self.model = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))\n"
        "        self.criterion = nn.CrossEntropyLoss()\n    def step(self, x, y):\n"
        "        return self.criterion(self.model(x), y)"
    ),
    "compiled": (
        "net = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))\nmodel = torch.compile(net)\n"
        "loss = F.cross_entropy(model(x), y)"
    ),
    "keywords": "loss = F.cross_entropy(input=z.softmax(1), target=y)",
    "lastlayer": "import lastlayer\nloss = lastlayer.cross_entropy(lastlayer.softmax(z, 1), y)",
    "lastlayer.nn": "from lastlayer import nn as ll\nloss = ll.CrossEntropyLoss()(z.softmax(1), y)",
    "in a function": "def loss_of(z, y):\n    p = torch.softmax(z, dim=1)\n    return F.cross_entropy(p, y)",
    "in a with": "with torch.autocast('cuda'):\n    loss = F.cross_entropy(z.softmax(1), y)",
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_values_are_followed(name):
    assert source(f"{FOLLOWED[name]}\n").codes == ["LL001"]


SILENT = {
    "one score per choice": (
        "class Choice(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.head = nn.Linear(9, 1)\n    def forward(self, x, y):\n"
        "        return F.cross_entropy(self.head(x).view(-1, 4), y)"
    ),
    "the same name in another class": (
        "class A(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.act = nn.Softmax(dim=1)\n"
        "class B(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.act = nn.Identity()\n"
        "    def forward(self, x, y):\n        return F.cross_entropy(self.act(x), y)"
    ),
    "the same name in another function": (
        "def f(x):\n    net = nn.Sequential(nn.Linear(3, 4), nn.Softmax(dim=1))\n    return net(x)\n"
        "def g(x, y):\n    net = nn.Linear(3, 4)\n    return F.cross_entropy(net(x), y)"
    ),
    "a view of what was moved": (
        "b, t, c = z.shape\nz = z.permute(0, 2, 1)\nloss = F.cross_entropy(z.reshape(b, c, t), y)"
    ),
    "overwritten": "p = F.softmax(z, dim=1)\np = head(p)\nloss = F.cross_entropy(p, y)",
    "another function": (
        "def f(z):\n    p = F.softmax(z, dim=1)\n    return p\ndef g(p, y):\n    return F.cross_entropy(p, y)"
    ),
    "returns differ": (
        "class Net(nn.Module):\n    def forward(self, x):\n        if self.training:\n            return self.fc(x)\n"
        "        return F.softmax(self.fc(x), dim=1)\nmodel = Net()\nloss = F.cross_entropy(model(x), y)"
    ),
    "a function of one's own": "def softmax(z):\n    return z\nloss = F.cross_entropy(softmax(z), y)",
    "somebody else's loss": "from jax import cross_entropy\nloss = cross_entropy(F.softmax(z, 1), y)",
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_not_known_is_not_claimed(name):
    assert source(f"{SILENT[name]}\n").codes == []


def test_files_that_cannot_be_read(tmp_path):
    broken, binary, zeros = tmp_path / "broken.py", tmp_path / "binary.py", tmp_path / "zeros.py"
    broken.write_text("def f(:\n")
    binary.write_bytes(bytes(range(128, 256)))
    zeros.write_text("x = 1\0")
    report = examine([broken, binary, zeros])
    assert report.verdict == "cannot tell"
    assert [path.name in str(report) for path in (broken, binary, zeros)] == [True] * 3
    with pytest.raises(DataNotFoundError):
        examine([tmp_path / "absent.py"])


def test_a_broken_file_does_not_hide_the_others(tmp_path):
    broken, wrong = tmp_path / "broken.py", tmp_path / "wrong.py"
    broken.write_text("def f(:\n")
    wrong.write_text(f"from torch.nn import functional as F\n{WRONG}\n")
    report = examine([broken, wrong])
    assert report.codes == ["LL001"]
    assert report.reasons


@pytest.mark.parametrize("text", ["", "\n", "x = 1\n", "\ufeffx = 1\n", "# only a comment"])
def test_a_file_without_a_last_layer_cannot_be_told(text, tmp_path):
    path = tmp_path / "plain.py"
    path.write_text(text, encoding="utf-8")
    report = examine([path])
    assert report.verdict == "cannot tell"
    assert report.looked_at_nothing


def test_deep_nesting_is_no_crash(tmp_path):
    path = tmp_path / "deep.py"
    path.write_text("x = " + "(" * 90 + "1" + ")" * 90 + "\n" + "y = " + "-" * 3000 + "1\n")
    assert examine([path]).verdict == "cannot tell"


def test_this_library_is_healthy():
    root = Path(lastlayer.__file__).parents[2]
    files = [*(root / "src").rglob("*.py"), *(root / "examples").glob("*.py")]
    report = examine(files)
    assert [str(finding.location) for finding in report if finding.severity != "info"] == []


def test_nothing_of_a_file_is_run(tmp_path):
    path = tmp_path / "exits.py"
    path.write_text("import sys\nsys.exit(7)\n")
    command = [sys.executable, "-m", "lastlayer", "doctor", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Cannot tell" in done.stdout
