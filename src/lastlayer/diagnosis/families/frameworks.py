"""Family 8: what a framework was told against what it is given."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from lastlayer.diagnosis.evidence import Model
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import check
from lastlayer.diagnosis.tensors import readable


@check("model")
def num_labels(model: Model) -> Iterator[Finding]:
    """LL803: num_labels and problem_type of a Hugging Face classifier choose its loss."""
    config = getattr(model.module, "config", None)
    count = getattr(config, "num_labels", None)
    if not isinstance(count, int) or "Classification" not in type(model.module).__name__:
        return
    labels = _labels(model)
    if labels is None or not labels.numel():
        return
    kind = getattr(config, "problem_type", None)
    indices = not labels.is_floating_point()
    if kind is None:
        kind = (
            "regression" if count == 1 else "single_label_classification" if indices else "multi_label_classification"
        )
    yield from _mismatch(kind, count, labels, indices)


def _mismatch(kind: str, count: int, labels: Tensor, indices: bool) -> Iterator[Finding]:
    about: dict[str, Any] = {"kind": kind, "count": count}
    if kind == "single_label_classification":
        if not indices:
            yield found("LL803", "float", shape=tuple(labels.shape), **about)
        elif bool((labels >= count).any()):
            yield found("LL803", value=int(labels.max()), needed=int(labels.max()) + 1, **about)
    elif kind == "multi_label_classification":
        if indices or labels.shape[-1] != count:
            yield found("LL803", "indices", shape=tuple(labels.shape), **about)
    elif indices and kind == "regression":
        yield found("LL803", "regression", value=int(labels.max()), needed=max(int(labels.max()) + 1, 2), **about)


def _labels(model: Model) -> Tensor | None:
    inputs: Any = model.inputs
    labels = inputs.get("labels") if hasattr(inputs, "get") and inputs.get("labels") is not None else model.target
    return labels if readable(labels) else None
