"""Other decisions for a trained classifier, fitted on the logits of the calibration rows that its run keeps."""

from dataclasses import replace
from typing import Any

from lastlayer.classifier import recall
from lastlayer.classifier.config import Config
from lastlayer.classifier.policy import deciding, sentences
from lastlayer.classifier.run_folder import Record
from lastlayer.errors import RunError
from lastlayer.messages import Message


def decided_anew(record: Record, settings: dict[str, Any]) -> tuple[Record, list[Message]]:
    """The run with decisions as `settings` say; and what was decided, a sentence each.

    Weights and temperature stay, and so do its report and its card, which are those of the training.
    """
    task, before = record.spec.task, record.spec.policy
    config = Config.of(deciding.overruling(settings), record.config)
    counts = [record.data["classes"]["train"][name] for name in task.names]
    rows = record.data["rows"]["train"]
    asked = deciding.stated(task, counts, rows, config, weight=before.weight, pos_weight=before.pos_weight)
    held = recall.kept_part(record, "calibration") or recall.kept_part(record, "validation")
    if held is None:
        raise RunError(
            "this run keeps no logits of calibration rows, which other decisions are fitted on: train again."
        )
    found = deciding.decided_again(replace(asked, temperature=before.temperature), *held, task, config)
    said = list(found.said)
    test = recall.kept_part(record, "test")
    if config.coverage is not None and test is not None:
        measured = deciding.decided(found.policy, *test)
        if measured is not None and measured.coverage is not None:
            said.append(sentences.covered(measured.coverage, task, "test", found.policy))
    data = {**record.data, **found.facts, "notes": [*record.data["notes"], *said]}
    spec = replace(record.spec, policy=found.policy)
    return replace(record, config=deciding.portable(config, found.policy, task), spec=spec, data=data), said
