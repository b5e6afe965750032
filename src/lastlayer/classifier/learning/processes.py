"""Several processes that train together (torchrun): one speaks and writes, all take the same decisions."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from lastlayer.classifier.data.rows import plural
from lastlayer.errors import ConfigError, LastLayerError, RunError
from lastlayer.messages.wording import option

Value = TypeVar("Value")


def is_main() -> bool:
    """Whether this process is the one that speaks; also before the processes have met."""
    return os.environ.get("RANK", "0") == "0"


def on_cpu(device: str) -> bool:
    """Whether to train on the CPU: Accelerate lets processes meet there only where it is told so."""
    if device != "auto":
        return device == "cpu"
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found is None or (found.type == "mps" and _started() > 1)


def check_met(helper: Any) -> None:
    """Refuse to train as one of several processes that know nothing of each other."""
    if helper.num_processes != _started():
        raise ConfigError(
            f"{plural(_started(), 'process was', 'processes were')} started to train together, and on "
            f"{helper.device.type} they cannot meet: say {option('device', 'cpu')}, or start one."
        )


def _started() -> int:
    """By torchrun or `accelerate launch`; a batch system may set the one variable and not the other."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


@contextmanager
def same_fate(helper: Any) -> Iterator[None]:
    """If one process fails within, all do; otherwise the others would wait for it."""
    if helper.num_processes == 1:
        yield
        return
    from accelerate.utils import gather_object

    failed: LastLayerError | None = None
    try:
        yield
    except LastLayerError as error:
        failed = error
    said = gather_object([None if failed is None else str(failed)])
    if failed is not None:
        raise failed
    for process, text in enumerate(said):
        if text is not None:
            raise RunError(f"process {process} cannot go on: {text}")


def anywhere(holds: bool, helper: Any) -> bool:
    """Whether it holds in any process; all have to ask."""
    if helper.num_processes == 1:
        return holds
    return bool(total(torch.tensor(float(holds), device=helper.device), helper) > 0)


def total(value: Tensor, helper: Any) -> Tensor:
    """The sum over all processes."""
    summed: Tensor = value if helper.num_processes == 1 else helper.reduce(value, "sum")
    return summed


def of_each(value: Tensor, helper: Any) -> Tensor:
    """The values of all processes, one after the other along a new first axis; on the CPU."""
    if helper.num_processes == 1:
        return value.unsqueeze(0).to("cpu")
    gathered: Tensor = helper.gather(value.unsqueeze(0).to(helper.device))
    return gathered.to("cpu")


def of_first(make: Callable[[], Value], helper: Any) -> Value:
    """What the first process makes, in all of them."""
    if helper.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    made = [make() if helper.is_main_process else None]
    return cast("Value", broadcast_object_list(made)[0])


def share_buffers(network: nn.Module, helper: Any) -> None:
    """Give every process the buffers of the first: each gathers its own statistics of batch norm."""
    if helper.num_processes > 1:
        for buffer in network.buffers():
            torch.distributed.broadcast(buffer, 0)


def my_rows(rows: int, helper: Any) -> range:
    """The rows of `rows` that this process predicts; where none is left for it, the first, which `joined` drops."""
    share = -(-rows // helper.num_processes)
    start = helper.process_index * share
    return range(start, min(start + share, rows)) if start < rows else range(1)


def joined(logits: Tensor, rows: int, helper: Any) -> Tensor:
    """The logits of all rows, of those that each process has predicted."""
    if helper.num_processes == 1:
        return logits
    share = -(-rows // helper.num_processes)
    filled = logits.new_zeros((share, *logits.shape[1:]))
    filled[: len(logits)] = logits
    together: Tensor = helper.gather(filled.to(helper.device))
    return together[:rows].to(logits.device)


def part() -> None:
    """Leave the other processes in peace, at the end."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
