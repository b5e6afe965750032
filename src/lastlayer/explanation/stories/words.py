"""What each word of a text adds to a logit, as a step behind the logits."""

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from lastlayer.explanation.expressions import Symbol
from lastlayer.explanation.plots import Bars
from lastlayer.explanation.trace import Column, Step, Trace


def with_words(
    trace: Trace, words: Sequence[str], pushed: Tensor, truth: Tensor | None, answer: str, tried: int
) -> Trace:
    """Return the trace with one more step.

    Args:
        trace: Of one row.
        words: Those that are shown.
        pushed: float64, what each adds to the logit of `answer`, in the units of the trace's logits.
        truth: The same of the true class, where that is another.
        answer: Whose logit it is.
        tried: Without how many words the model was run.
    """
    beside = () if truth is None else (Column("truth", truth),)
    bars = Bars("m", tuple(pushed.tolist()))
    facts: dict[str, float | str] = {"answer": answer, "tried": tried}
    step = Step("words", Symbol("Δ", "m"), None, pushed, beside=beside, plot=bars, facts=facts)
    place = 1 + [one.id for one in trace].index("logits")
    steps = (*trace.steps[:place], step, *trace.steps[place:])
    return replace(trace, steps=steps, axes={**trace.axes, "m": tuple(words)})
