"""What each process runs in test_processes.py: a few steps, of which it keeps what they were, then the command line."""

import json
import sys
from pathlib import Path

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lastlayer.classifier.config import Config
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning import training
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.cli import run
from tests.classifier.test_training import toy


def main(folder: Path) -> None:
    """Train as it is, and with each batch in three parts."""
    torch.set_num_threads(1)
    steps(folder, "", 1)
    steps(folder, "-parts", 3)


def steps(folder: Path, name: str, parts: int) -> None:
    """Train without dropout for ten epochs of batches of 32, 32, 32 and 5 rows; keep gradients and losses."""
    rows, network = toy(101)
    for part in network.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    config = Config(epochs=10, patience=10, batch_size=32, accumulate=parts, lr=1e-3, device="cpu")
    gradients: list[list[float]] = []

    def keep(optimizer: torch.optim.Optimizer, *rest: object) -> None:
        flat = [weight.grad.flatten() for group in optimizer.param_groups for weight in group["params"]]
        gradients.append(torch.cat(flat).tolist())

    hook = register_optimizer_step_pre_hook(keep)
    history = training.train(
        network,
        rows,
        rows,
        config,
        kind="table",
        journal=Journal(Silent()),
        request=StopRequest(),
        helper=(helper := training.accelerator(config)),
    )
    hook.remove()
    kept = {
        "processes": helper.num_processes,
        "gradients": gradients[:4],
        "losses": [[epoch.train_loss, epoch.validation_log_loss] for epoch in history.epochs],
        "first": history.first_loss,
    }
    (folder / f"{helper.num_processes}-{helper.process_index}{name}.json").write_text(json.dumps(kept))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.exit(run(sys.argv[2:]))
