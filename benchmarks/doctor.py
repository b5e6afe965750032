"""python -m benchmarks.doctor: figures into docs/doctor-figures.md, and a page per rule into docs/rules."""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the field's name for it

import lastlayer
from lastlayer import doctor, messages
from lastlayer.diagnosis import pages
from lastlayer.diagnosis.registry import RULES
from lastlayer.diagnosis.source import examine
from tests.diagnosis.likely import LIKELY
from tests.diagnosis.models import SHAPES
from tests.diagnosis.planted import CERTAIN, codes
from tests.diagnosis.zoo import ZOO, blamed

DOCS = Path(__file__).parents[1] / "docs"
SCRIPT = """
class Net{n}(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 4)
        self.head = nn.Sequential(nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 5))

    def forward(self, x):
        return self.head(self.layer(x))


def train{n}(model, loader):
    optimizer = torch.optim.Adam(model.parameters())
    for x, y in loader:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss
"""


def recall_of_certain() -> list[tuple[str, int, int]]:
    """Per shape: mistakes found, mistakes planted."""
    rows = []
    for shape in SHAPES:
        logits = shape.logits()
        hits = [code in codes(plant(logits)) for code, plants in CERTAIN.items() for plant in plants]
        rows.append((shape.name, sum(hits), len(hits)))
    return rows


def recall_of_likely() -> list[tuple[str, int, int]]:
    """Per rule: mistakes found, mistakes planted."""
    return [(code, sum(code in codes(ask()) for ask in asks), len(asks)) for code, asks in LIKELY.items()]


def zoo() -> dict[str, int]:
    """How many correct set-ups there are, how many are blamed, how many called healthy."""
    reports = {name: ask() for name, ask in ZOO.items()}
    return {
        "set-ups": len(reports),
        "blamed": sum(bool(blamed(report)) for report in reports.values()),
        "healthy": sum(report.verdict == "healthy" for report in reports.values()),
    }


def milliseconds(call: Callable[[], object], rounds: int = 30) -> float:
    """Median of several calls, after a first."""
    call()
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def losses() -> dict[str, Tensor]:
    """Live losses of several sizes, right and wrong."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=1000)
    resnet = model(torch.randn(8, 3, 64, 64))
    head = nn.Linear(64, 32_000)
    language = head(torch.randn(1024, 64))
    small = nn.Linear(8, 10)(torch.randn(64, 8))
    return {
        "64 × 10, right": F.cross_entropy(small, torch.randint(10, (64,))),
        "64 × 10, softmax before cross-entropy": F.cross_entropy(small.softmax(1), torch.randint(10, (64,))),
        "resnet18, 8 × 1,000, right": F.cross_entropy(resnet, torch.randint(1000, (8,))),
        "1,024 × 32,000, right": F.cross_entropy(language, torch.randint(32_000, (1024,))),
        "1,024 × 32,000, lastlayer, right": lastlayer.cross_entropy(language, torch.randint(32_000, (1024,))),
    }


def seconds_of_file(lines: int = 2000) -> float:
    """A source file of so many lines, read, parsed and judged."""
    body = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
    part = 0
    while body.count("\n") < lines:
        body += SCRIPT.format(n=part)
        part += 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "long.py"
        path.write_text("\n".join(body.splitlines()[:lines]) + "\n")
        return milliseconds(lambda: examine([path]), rounds=5) / 1e3


def cost_of_watching(pairs: int) -> tuple[float, float, float]:
    """Training steps of resnet18 on 64 × 64 images, watched and alone in turn: median ratio and its quartiles.

    Each watched step has a watch of its own, which looks at everything anew: more than it costs over an epoch, where
    a place in the code is looked at twice and then left alone.
    """
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet18", num_classes=10)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    x, y = torch.randn(16, 3, 64, 64), torch.randint(10, (16,))

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()

    def alone() -> float:
        started = time.perf_counter()
        step()
        return time.perf_counter() - started

    def watched() -> float:
        started = time.perf_counter()
        with lastlayer.watch(show=False):
            step()
        return time.perf_counter() - started

    alone(), watched(), alone(), watched()
    ratios = []
    for turn in range(pairs):
        one, other = (watched(), alone()) if turn % 2 else (alone(), watched())[::-1]
        ratios.append(one / other)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, low, high


def figures(pairs: int) -> str:
    """All of it, as Markdown."""
    from benchmarks.__main__ import machine

    middle, low, high = cost_of_watching(pairs)
    certain, likely, found = recall_of_certain(), recall_of_likely(), zoo()
    lines = [
        "# The doctor's figures",
        "",
        f"Measured with `make doctor-figures`: {machine()}; Python {platform.python_version()}, torch "
        f"{torch.__version__}.",
        "",
        f"{len(RULES)} rules: {sum(rule.confidence == 'certain' for rule in RULES.values())} certain, "
        f"{sum(rule.confidence == 'likely' for rule in RULES.values())} likely, "
        f"{sum(rule.confidence == 'possible' for rule in RULES.values())} possible.",
        "",
        "## Correct set-ups",
        "",
        f"{found['set-ups']} correct set-ups (losses, heads, targets, models of timm, torchvision and, where it is "
        f"installed, transformers): {found['blamed']} got an error or a warning, {found['healthy']} were called "
        'healthy, the others "cannot tell".',
        "",
        "## Planted mistakes, certain rules",
        "",
        f"Every one of the {len(CERTAIN)} certain rules, in {certain[0][2]} spellings, over every model:",
        "",
        "| model | found | planted |",
        "|---|---|---|",
        *(f"| {name} | {hits} | {total} |" for name, hits, total in certain),
        "",
        "## Planted mistakes, likely rules",
        "",
        "| rule | found | planted |",
        "|---|---|---|",
        *(f"| [{code}](rules/{code}.md) | {hits} | {total} |" for code, hits, total in likely),
        "",
        "## What it costs",
        "",
        "| what | measured | at most |",
        "|---|---|---|",
        *(
            f"| `doctor(loss)`, {name} | {milliseconds(lambda loss=loss: doctor(loss)):.2f} ms | 5 ms |"
            for name, loss in losses().items()
        ),
        f"| a source file of 2,000 lines | {seconds_of_file():.2f} s | 1 s |",
        f"| `watch()` around every step of resnet18 on 64 × 64 images, time against alone: median of {pairs} pairs | "
        f"{middle:.3f} (quartiles {low:.3f} and {high:.3f}) | 1.03 |",
        "",
    ]
    return "\n".join(lines)


def rule_pages() -> dict[str, str]:
    """File name → text of every page under docs/rules."""
    written = {}
    for code in RULES:
        english, korean = (pages.markdown(code, language) for language in messages.LANGUAGES)
        written[f"{code}.md"] = f"{english}\n{korean.replace('# ', '## ', 1)}"
    head = ["# Rules of the doctor", "", "`lastlayer doctor --rule LL001` prints a page with a trace.", ""]
    for family, (name, about) in pages.FAMILIES.items():
        head += [f"## {name}: {about}", "", "| rule | severity | confidence | mistake |", "|---|---|---|---|"]
        head += [
            f"| [{code}]({code}.md) | {severity} | {confidence} | {title} |"
            for code, severity, confidence, title in pages.table(f"LL{family}")
        ]
        head += [""]
    tree = ["```{toctree}", ":hidden:", "", *RULES, "```", ""]
    written["index.md"] = "\n".join([*head, *tree])
    return written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pages", action="store_true", help="only the pages of the rules")
    parser.add_argument("--pairs", type=int, default=60, help="training steps to compare, watched and alone")
    options = parser.parse_args()
    folder = DOCS / "rules"
    folder.mkdir(exist_ok=True)
    for name, text in rule_pages().items():
        (folder / name).write_text(text, encoding="utf-8")
    if not options.pages:
        text = figures(options.pairs)
        print(text)
        (DOCS / "doctor-figures.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
