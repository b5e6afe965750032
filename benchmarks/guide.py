"""docs/guides/speed.md: the text stands here, every figure in it comes from a file of results."""

from lastlayer.bench import CASES, Case, CaseResult, Report, targets
from lastlayer.bench.table import machine_lines, seconds, size

_PEERS = ("torch chunked", "torch chunked 512", "torch chunked 1024", "liger", "liger, larger chunks",
          "ml-cross-entropy", "ml-cross-entropy exact", "quack")  # fmt: skip

_TEXT = """<!-- Written by `python -m benchmarks.speed --guide` from its results; change benchmarks/guide.py. -->

# Speed

A loss of a classifier does little arithmetic and moves much memory. What nobody can beat is reading the logits once
and writing the gradient once: a copy. A linear loss has three matrix products besides, and nobody can beat those.
So each figure below stands beside its limit, measured in the same run: a copy of the same bytes, or the products alone.

{machine}

## Losses and functions of logits

{dense}

## Losses from the last hidden layer on

{linear}

## Small inputs

{small}

## Targets

{targets}

**Where one is missed, and why.**

- *Small inputs.* An `autograd.Function` that does nothing but return fresh memory takes 26 µs forward and backward, in
  a tight loop; PyTorch's whole loss of 1 × 2 takes 31. Ours takes 45, of which the kernel is 1: 3 are for keeping
  logits and targets as autograd wants it, the rest is Python that reads options, checks targets and takes room. A
  function without a gradient takes 5 to 6 µs, PyTorch's 1: a busy moment of the machine decides which side of 5 the
  difference falls on. At 1,024 × 100 it is arithmetic: 80 ns per row and thread, half of them for 100 exponentials,
  half for what a row needs once, its sum across lanes and its share of the loss, in float64; log_softmax carries what
  the difference to the largest logit loses in rounding, for each element.
- *bfloat16, in copies.* As much is computed as in float32 for half the bytes, so that time goes to arithmetic and not
  to memory: cross-entropy takes 10 ns for 16 logits on each of two cores.
- *Memory of 64 × 1,000,000 in bfloat16.* Each thread has room for the float32 exponentials of one row, 3.8 MiB,
  beside a gradient of 122 MiB.
- *Binary cross-entropy of 640 × 32,000.* In a gradient of 78 MiB torch.compile meets fewer fresh pages for each logit
  than in one of 250, and takes 1.5 ns for it instead of 2.8; ours takes 0.6 and 0.7.
- *Softmax of 640 × 32,000.* A result of 78 MiB is given to PyTorch in fresh pages or in warm memory, as the process
  has it: its median was 34.6 ms in one run and 8.6 in another, ours 11.0 and 10.6. Twice as fast is what fresh pages
  cost; in warm memory the digits cost about a fifth of PyTorch's time, as in softmax-2048x32000-reused.
- *Linear cross-entropy, twice as fast as PyTorch's chunks.* With the best size of a chunk these take some 1.13 times as
  long as the three matrix products alone: no kernel can halve that. With the size that PyTorch chooses itself they take
  1.7 times as long as the products in float32, and 8 times in bfloat16.
- *Linear cross-entropy in bfloat16, extra memory.* 62.5 MiB are the logits of a chunk of 1,024 rows; the others hold
  the float32 sum of the features' gradient and what the products need. Chunks of 683 rows hold 21 MiB
  less and take 5 % longer.

## Why it is fast

**One pass over memory.** Written with separate operations, cross-entropy reads and writes its logits many times: for
the largest logit, for the exponentials, for their sum, for the difference, and again backward. A compiled kernel walks
over the rows and takes all passes over one row while that row is in the cache: {row} Loss and gradient are made
together: the logits are read once, and the gradient is written once.

**One exponential per logit.** It is kept beside the row while the row is summed up, and scaled when the sum is known.
The backward hands the gradient out; where another gradient reaches the loss than was expected, it is computed anew,
with the same digits.

**Its own exponential.** A kernel that calls the exponential of a mathematical library for each number waits for calls.
Ours is a range reduction and a polynomial, written out in vectors. It reduces the logit as it stands, so that no digit
of the difference to the largest logit is lost, and none has to be carried along.

**Memory that is there.** A fresh gradient is memory that the system has not mapped yet. With pages of 4 KiB a
gradient of {gradient} takes {faults} page faults, and with pages of 2 MiB {huge}; in both cases the system clears it
first. So a large gradient lives in a block that the last one gave back. The system may take such a block whenever it
needs it. Large results go past the caches, so that nothing is read that is about to be overwritten. (Linux, from 32
MiB on; on CUDA PyTorch's allocator reuses its memory.)

**Chunks, and no N × V.** A linear loss needs logits only to make gradients of them. They are made for a block of rows,
read once and turned into their own gradient in place, multiplied into the gradients of features and weight, and
overwritten by the next block. For {wide} the logits would be {logits}; what is held is one block. Sums over blocks
are kept in float32, so the result does not depend on the size of a block beyond rounding.

**The products are PyTorch's.** The matrix products stay with the library that is best at them on this machine (oneDNN,
cuBLAS). Only what stands between them is ours.

## How it is measured

All contenders of a case run in one process and in turn, round after round, each round in another order, so that a busy
machine slows all of them. Figures are medians; the quartiles are in the JSON. Before the clock starts, the
loss and every gradient of every contender are compared with float64; who is wrong gets no time, and the table says by
how much it is wrong. Peak memory is measured in a fresh process for each contender: the largest resident set, less what
was resident before the call. On CUDA it is the allocator's peak.

A contender that is not installed, or does not run on the device, is not measured, and the table of the run says so.

On your machine:

```console
$ lastlayer bench --quick
$ lastlayer bench --case ce --json results.json --plot results.svg
```
"""


def guide(report: Report | None) -> str:
    """The page, with the figures of `report`; with none, a dash stands in the place of each."""
    dense, wide = CASES["ce-2048x32000"], CASES["linear-ce-1024x128x3000000"]
    cases = list(CASES.values())
    small = [case for case in cases if not case.features and case.rows * case.classes <= 1024 * 100]
    return _TEXT.format(
        machine=_machine(report),
        dense=_table(report, [case for case in cases if not case.features and case not in small]),
        linear=_table(report, [case for case in cases if case.features]),
        small=_table(report, small),
        targets=_targets(report, cases),
        row=f"a row of {128_256:,} float32 logits is {size(128_256 * 4)}iB, which fits.",
        gradient=f"{size(dense.logits_bytes)}iB",
        faults=f"{dense.logits_bytes // 2**12:,}",
        huge=f"{dense.logits_bytes // 2**21:,}",
        wide=f"{wide.rows:,} rows and {wide.classes:,} classes",
        logits=f"{size(wide.logits_bytes)}iB",
    )


def _machine(report: Report | None) -> str:
    if report is None:
        return "*No results are kept yet: `make bench` measures them and fills the tables.*"
    return (
        f"Measured on {report.date}: {' '.join(machine_lines(report.machine))}.\n\n![Times over the limit](speed.svg)"
    )


def _table(report: Report | None, cases: list[Case]) -> str:
    lines = [
        "| case | limit | ours | torch | torch.compile | best peer | ours / limit | extra memory |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for case in cases:
        result = None if report is None else report.result(case.name)
        lines.append(f"| {case.name} | " + " | ".join(_cells(result)) + " |")
    return "\n".join(lines)


def _cells(result: CaseResult | None) -> list[str]:
    if result is None or result.limit_seconds is None:
        return ["–"] * 7
    limit, ours = result.limit_seconds.median, result.seconds("ours")
    peers = [value for name in _PEERS if (value := result.seconds(name)) is not None]
    entry = result.entry("ours")
    extra = None if entry is None else entry.extra_bytes
    return [
        f"{seconds(limit)} ({result.limit})",
        *(_time(value) for value in (ours, result.seconds("torch"), result.seconds("torch.compile"))),
        _time(min(peers, default=None)),
        "–" if ours is None else f"{ours / limit:.2f}",
        "–" if extra is None else f"{size(extra)}iB",
    ]


def _time(value: float | None) -> str:
    return "–" if value is None else seconds(value)


def _targets(report: Report | None, cases: list[Case]) -> str:
    if report is None:
        return "–"
    lines = ["| case | target | measured | |", "|---|---|--:|---|"]
    words = {True: "met", False: "**missed**", None: ""}
    lines += [
        f"| {row.case} | {row.target} | {row.measured} | {words[row.met]} |" for row in targets.rows(report, cases)
    ]
    return "\n".join(lines)
