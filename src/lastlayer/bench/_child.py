"""Work in a process of its own: python -m lastlayer.bench._child reads an order from standard input as JSON."""

import json
import os
import subprocess
import sys
from typing import Any

# glibc: nothing is mapped afresh and nothing is given back, so results land in memory that was used before
REUSED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**42), "MALLOC_TOP_PAD_": str(2**26)}
# and the other way: whatever is freed goes back at once, so that a peak is what was held at one time
RETURNED = {"MALLOC_MMAP_THRESHOLD_": str(2**16), "MALLOC_TRIM_THRESHOLD_": "0"}


def ask(
    order: dict[str, Any], *, settings: dict[str, str] | None = None, timeout: float | None = None
) -> dict[str, Any]:
    """Give an order to a fresh process and return its answer, {"failed": why} if there is none.

    `settings` are environment variables, such as REUSED or RETURNED.
    """
    environment = {**os.environ, **(settings or {})}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lastlayer.bench._child"],
            input=json.dumps(order),
            capture_output=True,
            text=True,
            env=environment,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {timeout:.0f} s"}
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    if done.returncode < 0:
        return {"failed": f"its process was ended by signal {-done.returncode}: out of memory?"}
    return {"failed": (done.stderr.strip().splitlines() or ["no answer"])[-1][:300]}


def _main() -> None:
    order = json.load(sys.stdin)
    import torch

    torch.set_num_threads(order["threads"])
    from lastlayer.bench import memory, runner
    from lastlayer.bench.cases import Case
    from lastlayer.bench.contenders import contenders
    from lastlayer.bench.machine import memory_available

    case, device = Case.from_dict(order["case"]), order["device"]
    if not device.startswith("cuda"):
        import resource  # not on Windows

        # a contender that asks for more than there is gets an error, and the machine stays alive
        used = memory._resident("VmData") if memory._RESET.exists() else 0
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (used + memory_available(), hard))
    if order["do"] == "memory":
        (contender,) = [each for each in contenders(case) if each.name == order["contender"]]
        answer: dict[str, Any] = {"extra_bytes": memory.extra_bytes(case, contender, device)}
    else:
        answer = runner.measure(case, runner.Settings(**order["settings"])).to_dict()
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    _main()
