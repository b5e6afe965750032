"""The model card: what a stranger has to know before using a run, as Markdown that the Hugging Face hub reads."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lastlayer.classifier.data.rows import plural
from lastlayer.classifier.extras import need
from lastlayer.classifier.policy import sentences
from lastlayer.classifier.report.pages import SCORES, Facts
from lastlayer.decisions import Policy
from lastlayer.errors import printable

_MOST_CLASSES = 50  # rows of the table of classes; model.json names all
_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")
_BEGINNING = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")
_READS = {"image": "image-classification", "table": "tabular-classification", "text": "text-classification"}
_METRICS = {"accuracy": "accuracy", "macro_f1": "f1", "micro_f1": "f1", "brier": "brier_score", "ece": "ece"}
_KINDS = {
    "binary": "which of two classes",
    "multiclass": "which one of {count} classes",
    "multilabel": "which of {count} labels hold, any number of them,",
}


def card(facts: Facts, versions: Mapping[str, str]) -> str:
    """Return the model card as Markdown.

    Args:
        facts: What the report is written from.
        versions: Of the libraries under the model.
    """
    name, found, data = Path(facts.data_name).name, facts.evaluation, facts.data
    head = need("yaml").safe_dump(_head(facts, name), sort_keys=False, allow_unicode=True)
    parts = [
        f"---\n{head}---",
        f"# {markdown(name)}",
        f"A classifier made by lastlayer {versions.get('lastlayer', '')} on {facts.written}: "
        f"{markdown(facts.spec.backbone)}, {facts.spec.task.activation}, "
        f"{plural(len(found.classes), 'class', 'classes')}.",
        _use(facts),
        _data(facts, data),
        _scores(facts),
        f"## Calibration\n\n{markdown(facts.calibration)} Probabilities are those of the data that it was trained on, "
        "as long as new rows come from where those came from.",
        f"## Decision\n\n{_decision(facts.spec.policy, facts)}",
        _limits(facts, data),
        "## Licence\n\nNot stated: nobody has said under which terms this model, or the data that it was trained on, "
        "may be used. Ask who made it. (`license: unknown` above says the same to the hub; write the terms there.)",
        _load(facts),
        "## What was decided in training\n\n" + "\n".join(f"- {markdown(note)}" for note in data["notes"]),
    ]
    return "\n\n".join(parts) + "\n"


def markdown(text: str) -> str:
    r"""Text as Markdown shows it letter by letter, on one line and in a cell of a table too.

    >>> print(markdown("a|b `c` <i>"))
    a\|b \`c\` \<i\>
    >>> print(markdown("- 1"))
    \- 1
    """
    plain = _MARKUP.sub(r"\\\1", printable(text))
    return _BEGINNING.sub(lambda found: f"{found[1]}{_escaped(found[2])}", plain)


def _escaped(start: str) -> str:
    """What would begin a list, a rule or a heading; of a number only the dot after it can be escaped."""
    return f"\\{start}" if not start.isdigit() else f"&#{ord(start[0])};{start[1:]}"


def _head(facts: Facts, name: str) -> dict[str, Any]:
    """The front matter: what the hub sorts and searches by."""
    kind = "text" if _texts(facts) else facts.spec.kind
    task, found = _READS[kind], facts.evaluation
    metrics = [
        {"type": _METRICS.get(key, key), "name": SCORES[key][0], "value": round(score.value, 6)}
        for key, score in found.scores.items()
        if score.value == score.value
    ]
    return {
        "license": "unknown",
        "library_name": "lastlayer",
        "pipeline_tag": task,
        "tags": ["lastlayer", "pytorch", task, facts.spec.task.kind, "calibration"],
        "model-index": [
            {
                "name": printable(name),
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {
                            "name": f"{printable(name)}, {found.split} rows",
                            "type": "local",
                            "split": found.split,
                        },
                        "metrics": metrics,
                    }
                ],
            }
        ],
    }


def _texts(facts: Facts) -> list[str]:
    return [column.name for column in getattr(facts.spec.preprocessing, "columns", ()) if column.kind == "text"]


def _use(facts: Facts) -> str:
    task = facts.spec.task
    what = _KINDS[task.kind].format(count=f"{len(task.classes):,}")
    if facts.spec.kind == "image":
        reads = f"a picture, brought to {facts.spec.preprocessing.to_dict()['size']} pixels,"
    else:
        columns = [column["name"] for column in facts.spec.preprocessing.to_dict()["columns"]]
        shown = ", ".join(markdown(name) for name in columns[:12]) + (", …" if len(columns) > 12 else "")
        reads = f"a row of a table with the {plural(len(columns), 'column')} {shown}"
    return (
        f"## Intended use\n\nIt reads {reads} and says {what} it belongs to, with a probability for each. It is meant "
        "for inputs like those of its training data. Nobody has examined other uses; for decisions about people, find "
        "out first how it does for each group that is affected."
    )


def _data(facts: Facts, data: Mapping[str, Any]) -> str:
    left_out = data["left_out"]
    rows: dict[str, int] = {name: count for name, count in data.get("rows", {}).items() if count}
    counts: Mapping[str, Mapping[str, int]] = data.get("classes", {})
    splits = [name for name in rows if name in counts]
    names = facts.spec.task.names
    lines = [
        [markdown(name), *(f"{counts[split].get(name, 0):,}" for split in splits)] for name in names[:_MOST_CLASSES]
    ]
    lines.append(["**rows**", *(f"{rows[split]:,}" for split in splits)])
    more = f"\n\n{len(names) - _MOST_CLASSES:,} more classes stand in model.json." if len(names) > _MOST_CLASSES else ""
    out = f" {plural(len(left_out), 'row')} could not be used; data.json names each." if left_out else ""
    return (
        f"## Data\n\nTrained on {markdown(Path(facts.data_name).name)}. Each split serves one purpose: training fits "
        f"the weights, validation chooses the epoch, calibration the temperature and the decisions, test "
        f"judges.{out}\n\n"
        f"{_table(['class', *splits], lines)}{more}"
    )


def _scores(facts: Facts) -> str:
    found = facts.evaluation
    lines = [
        [SCORES[key][0], f"{score.value:.4f}", f"{score.low:.4f} to {score.high:.4f}", SCORES[key][1]]
        for key, score in found.scores.items()
    ]
    return (
        f"## Scores on {found.rows:,} {markdown(found.split)} rows\n\n"
        f"{_table(['score', 'value', '95 % interval', 'meaning'], lines)}\n\n"
        f"A model that knows nothing has log-loss {found.log_classes:.4f}; one that knows only how frequent the "
        f"answers are {found.prior_entropy:.4f}."
    )


def _decision(policy: Policy, facts: Facts) -> str:
    task = facts.spec.task
    said = []
    if policy.thresholds is not None:
        limits = [f"{limit:.4f}" for limit in policy.thresholds]
        shown = limits if len(limits) == 1 else [f"{name} {at}" for name, at in zip(task.names, limits, strict=True)]
        said.append(f"Yes above a probability of {', '.join(shown[:12])}{', …' if len(shown) > 12 else ''}.")
    elif task.kind == "multilabel" and policy.cost is None and policy.abstain is None:
        said.append("A label holds where its probability is above 0.5.")
    else:
        said.append(sentences.costs(policy))
    said += sentences.corrections(policy, task)
    if policy.sets is not None:
        said.append(
            f"Prediction sets hold the true answer of {policy.sets.coverage:.0%} of the rows"
            f"{' of each class' if policy.sets.per_class else ''}, as long as new rows come from where those came from."
        )
    return markdown(" ".join(said)) + " The policy in model.json holds the numbers."


def _limits(facts: Facts, data: Mapping[str, Any]) -> str:
    found, task = facts.evaluation, facts.spec.task
    train: Mapping[str, int] = data.get("classes", {}).get("train", {})
    rare = [name for name in task.names if train.get(name, 0) < 20]
    said = [
        "It answers with what it was trained on, whatever it is shown: inputs unlike its training data get confident "
        "answers too.",
        f"Its scores come from {plural(found.rows, f'{found.split} row')} of one data set; the intervals say how much "
        "they would vary over other rows of the same kind, and nothing about another kind.",
    ]
    if rare:
        shown = ", ".join(map(markdown, rare[:8])) + (", …" if len(rare) > 8 else "")
        said.append(f"Fewer than 20 training rows: {shown}. What is said of them rests on little.")
    if found.split == "validation":
        said.append("No rows were kept for a test: the epoch was chosen on the rows that it is judged on.")
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in said)


def _load(facts: Facts) -> str:
    example = {"image": '"new.jpg"', "table": '"new.csv"'}[facts.spec.kind]
    return f"""## How to load

```python
from lastlayer import Classifier

model = Classifier.load("this folder")
model.predict({example})
model.predict_proba({example})  # calibrated, columns in the order of model.classes_
```

```console
$ lastlayer predict "this folder" {example[1:-1]}
$ lastlayer export "this folder" --format onnx
```

No file in the folder is a pickle, and each is checked against manifest.json when it is loaded."""


def _table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)] if heads[0] == "class" else ["---"] * len(heads)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *lines])
