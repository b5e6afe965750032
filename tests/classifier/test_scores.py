"""Every score against scikit-learn, its interval against brute force, and two models on the same rows."""

import json
import math
import time

import numpy as np
import pytest
import torch
from sklearn import metrics

from lastlayer.classifier.evaluation import JudgedRows, compare, evaluate, evaluate_rows
from lastlayer.classifier.evaluation.comparison import mcnemar
from lastlayer.classifier.evaluation.intervals import between
from lastlayer.classifier.evaluation.ranking import auroc, average_precision
from lastlayer.classifier.evaluation.scores import score
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy
from lastlayer.errors import DataError


def drawn(kind, rows=400, classes=4, seed=0, sharp=1.0):
    """Logits and truths drawn from them; `sharp` makes the logits too sure of themselves."""
    random = torch.Generator().manual_seed(seed)
    if kind == "binary":
        z = 2 * torch.randn(rows, generator=random, dtype=torch.float64)
        y = (torch.rand(rows, generator=random) < z.sigmoid()).long()
    else:
        z = 2 * torch.randn(rows, classes, generator=random, dtype=torch.float64)
        if kind == "multiclass":
            y = torch.multinomial(z.softmax(1), 1, generator=random)[:, 0]
        else:
            y = (torch.rand(rows, classes, generator=random) < z.sigmoid()).long()
    names = (
        ("no", "yes")
        if kind == "binary"
        else tuple(map(str, range(classes)))
        if classes > 26
        else tuple("abcdefghijklmnopqrstuvwxyz"[:classes])
    )
    return JudgedRows(
        sharp * z, y, [f"row {row}" for row in range(rows)], Task(kind, names), Policy(kind, len(names)), "test"
    )


def test_multiclass_scores_are_those_of_scikit_learn():
    judged = drawn("multiclass")
    found, y, p = evaluate_rows(judged), judged.truth, judged.p
    answer = p.argmax(1)
    expected = {
        "accuracy": metrics.accuracy_score(y, answer),
        "micro_f1": metrics.f1_score(y, answer, average="micro"),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, answer),
        "macro_f1": metrics.f1_score(y, answer, average="macro"),
        "mcc": metrics.matthews_corrcoef(y, answer),
        "auroc": metrics.roc_auc_score(y, p, multi_class="ovr"),
        "average_precision": metrics.average_precision_score(np.eye(4)[y], p),
        "log_loss": metrics.log_loss(y, p),
        "brier": float(np.square(p - np.eye(4)[y]).sum(1).mean()),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    assert found.confusion == tuple(map(tuple, metrics.confusion_matrix(y, answer).tolist()))
    report = metrics.classification_report(y, answer, output_dict=True, target_names=list(found.classes))
    for each in found.by_class:
        assert (each.precision, each.recall, each.f1, each.rows) == pytest.approx(tuple(report[each.name].values()))


def test_binary_scores_are_those_of_yes():
    judged = drawn("binary")
    found, y, p = evaluate_rows(judged), judged.truth, judged.p[:, 1]
    assert found["auroc"] == pytest.approx(metrics.roc_auc_score(y, p), rel=1e-12)
    assert found["average_precision"] == pytest.approx(metrics.average_precision_score(y, p), rel=1e-12)
    assert found["f1"] == pytest.approx(metrics.f1_score(y, p > 0.5), rel=1e-12)
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, p > 0.5), rel=1e-12)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p), rel=1e-12)
    assert found["brier"] == pytest.approx(2 * metrics.brier_score_loss(y, p), rel=1e-12)


def test_scores_of_several_labels_are_those_of_scikit_learn():
    judged = drawn("multilabel", classes=6)
    found, y, p = evaluate_rows(judged), judged.truth, judged.p
    answer = (p > 0.5).astype(int)
    expected = {
        "subset_accuracy": metrics.accuracy_score(y, answer),
        "accuracy": metrics.accuracy_score(y, answer),
        "hamming_loss": metrics.hamming_loss(y, answer),
        "micro_f1": metrics.f1_score(y, answer, average="micro"),
        "macro_f1": metrics.f1_score(y, answer, average="macro"),
        "auroc": metrics.roc_auc_score(y, p),
        "average_precision": metrics.average_precision_score(y, p),
        "log_loss": np.mean([metrics.log_loss(y[:, label], p[:, label]) for label in range(6)]),
        "brier": np.mean([metrics.brier_score_loss(y[:, label], p[:, label]) for label in range(6)]),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-12), name
    for each, matrix in zip(found.by_class, metrics.multilabel_confusion_matrix(y, answer), strict=True):
        assert [
            each.true_negatives,
            each.false_positives,
            each.false_negatives,
            each.true_positives,
        ] == matrix.ravel().tolist()


def test_ties_count_as_scikit_learn_counts_them():
    random = np.random.default_rng(0)
    value = random.integers(0, 4, 200).astype(float)
    truth = random.random(200) < value / 5 + 0.1
    assert auroc(value, truth).value == pytest.approx(metrics.roc_auc_score(truth, value), rel=1e-12)
    assert average_precision(value, truth).value == pytest.approx(
        metrics.average_precision_score(truth, value), rel=1e-12
    )


@pytest.mark.parametrize(
    ("ours", "theirs"), [(auroc, metrics.roc_auc_score), (average_precision, metrics.average_precision_score)]
)
def test_what_a_row_does_to_a_score_of_order_is_its_derivative(ours, theirs):
    random = np.random.default_rng(1)
    value, truth = random.integers(0, 20, 60).astype(float), random.random(60) < 0.4
    influence = ours(value, truth).influence
    assert abs(influence.sum()) < 1e-12  # to weigh all rows alike changes nothing
    for row in range(0, 60, 7):
        up, down = np.ones(60), np.ones(60)
        up[row], down[row] = 1 + 1e-5, 1 - 1e-5
        slope = (theirs(truth, value, sample_weight=up) - theirs(truth, value, sample_weight=down)) / 2e-5
        assert influence[row] == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_intervals_are_those_of_a_plain_bootstrap(kind):
    judged = drawn(kind, rows=300)
    found = evaluate_rows(judged)
    random = np.random.default_rng(5)
    plain = []
    for _ in range(200):
        rows = random.integers(0, 300, 300)
        names = [judged.names[row] for row in rows]
        one = JudgedRows(judged.logits[rows], judged.target[rows], names, judged.task, judged.policy, "again")
        plain.append({name: each.value for name, each in _only_values(one).items()})
    widths = []
    for name, interval in found.scores.items():
        low, high = np.percentile([each[name] for each in plain], [2.5, 97.5])
        width = high - low
        assert abs(interval.low - low) < 0.2 * width, name
        assert abs(interval.high - high) < 0.2 * width, name
        widths.append((interval.high - interval.low) / width)
    assert np.mean(widths) == pytest.approx(1, abs=0.06)  # 90 % intervals would have 0.84
    assert between(np.r_[np.arange(1001) / 10, np.nan]) == pytest.approx((2.5, 97.5))


def _only_values(judged):
    """The scores without their intervals, which would take too long here."""
    from lastlayer.classifier.evaluation import scores

    kept = scores.bootstrap
    scores.bootstrap = lambda rows, width, of: {name: np.zeros(2) for name in of(np.ones((rows, 1)))}
    try:
        return score(judged).intervals(len(judged))
    finally:
        scores.bootstrap = kept


def test_what_is_undefined_says_so_and_is_never_0():
    judged = drawn("multiclass")
    rows = np.flatnonzero(judged.truth != 2)
    names = [judged.names[row] for row in rows]
    found = evaluate(judged.logits[rows], judged.target[rows], names, judged.task, judged.policy, "test")
    missing = found.by_class[2]
    assert (missing.recall, missing.auroc, missing.average_precision, missing.log_loss) == (None, None, None, None)
    assert "c" in found.undefined["auroc"]
    assert not math.isnan(found["auroc"])
    others = [0, 1, 3]
    expected = np.mean([metrics.roc_auc_score(judged.truth[rows] == c, judged.p[rows, c]) for c in others])
    assert found["auroc"] == pytest.approx(expected, rel=1e-12)
    answer = judged.p[rows].argmax(1)
    assert (answer == 2).any()  # a class without a row that is answered all the same is of value 0, not undefined
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(judged.truth[rows], answer, average="macro"))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.recall_score(judged.truth[rows], answer, labels=others, average="macro")
    )
    one = np.flatnonzero(judged.truth == 0)
    found = evaluate(
        judged.logits[one], judged.target[one], [str(row) for row in one], judged.task, judged.policy, "test"
    )
    assert math.isnan(found["auroc"])
    assert math.isnan(found["mcc"])
    assert found.undefined["mcc"]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["scores"]["auroc"]["value"] is None


def test_a_label_that_never_holds_has_no_average_precision():
    judged = drawn("multilabel")
    judged.target[:, 1] = 0
    found = evaluate_rows(judged)
    assert found.by_class[1].average_precision is None
    assert "b" in found.undefined["average_precision"]
    others = [0, 2, 3]
    expected = metrics.average_precision_score(judged.truth[:, others], judged.p[:, others])
    assert found["average_precision"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_losses_of_the_classes_add_up_to_the_log_loss(kind):
    found = evaluate_rows(drawn(kind))
    parts = len(found.classes) if kind == "multilabel" else 1
    assert sum(each.nats for each in found.by_class) == pytest.approx(found["log_loss"] * found.rows * parts)
    assert sum(each.share for each in found.by_class) == pytest.approx(1)
    assert found.effective_choices == pytest.approx(math.exp(found["log_loss"]))
    assert found.costliest()[0].nats == max(each.nats for each in found.by_class)


def test_risk_by_coverage_is_the_share_of_errors_among_the_surest():
    judged = drawn("multiclass", rows=200)
    found = evaluate_rows(judged)
    order = np.argsort(-judged.p.max(1))
    wrong = (judged.p.argmax(1) != judged.truth)[order]
    assert found.risk[-1] == (1.0, pytest.approx(1 - found["accuracy"]))
    for coverage, risk in found.risk:
        assert risk == pytest.approx(wrong[: round(coverage * 200)].mean())
    assert found["aurc"] == pytest.approx((np.cumsum(wrong) / np.arange(1, 201)).mean())


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_calibration_error_is_that_of_the_diagram(kind):
    found = evaluate_rows(drawn(kind, sharp=2.0))
    assert found["ece"] == pytest.approx(found.reliability.ece, rel=1e-12)
    assert found["ece"] > 0.05


def test_a_probability_at_an_edge_belongs_to_the_bin_that_ends_there():
    z, target = torch.tensor([0.75, 0.8], dtype=torch.float64).logit().repeat_interleave(10), torch.tensor([1] * 20)
    target[10:] = 0
    judged = JudgedRows(
        z, target, [str(row) for row in range(20)], Task("binary", ("no", "yes")), Policy("binary", 2), "test"
    )
    assert set(judged.sure.tolist()) == {0.75, 0.8}  # 0.8 is twelve fifteenths
    found = evaluate_rows(judged)
    assert found["ece"] == pytest.approx((0.8 - 0.25) / 2)  # one bin, in which the gaps of both meet
    assert len(found.reliability.bins) == 1


def test_equal_confidences_share_their_errors():
    judged = JudgedRows(
        torch.zeros(4, 2, dtype=torch.float64),
        torch.tensor([1, 0, 0, 0]),
        list("wxyz"),
        Task("multiclass", ("a", "b")),
        Policy("multiclass", 2),
        "",
    )
    assert evaluate_rows(judged)["aurc"] == pytest.approx(0.25)  # whatever the order of the rows


def test_the_worst_rows_show_what_made_them_so():
    judged = drawn("multiclass", classes=8)
    example = evaluate_rows(judged).worst[0]
    truth = next(choice for choice in example.choices if choice.holds)
    assert truth.name == example.target
    assert truth.loss == example.loss == pytest.approx(-math.log(truth.probability))
    assert [choice.logit for choice in example.choices[:3]] == sorted(judged.logits[example.row].tolist())[::-1][:3]
    labels = drawn("multilabel", classes=5)
    several = evaluate_rows(labels).worst[0]
    p = labels.p[several.row]
    assert several.probability == pytest.approx(np.maximum(p, 1 - p).prod())  # that all its labels are right
    assert [choice.loss for choice in several.choices] == sorted([choice.loss for choice in several.choices])[::-1]


def test_ten_thousand_rows_of_a_hundred_classes_take_less_than_two_seconds():
    wide = drawn("multiclass", rows=10_000, classes=100)
    started = time.process_time()
    evaluate_rows(wide)
    assert time.process_time() - started < 2 * torch.get_num_threads()


# Two models


def test_a_model_is_no_better_than_itself():
    judged = drawn("multiclass")
    found = compare(judged, judged)
    assert found.p_value == 1
    assert not found.changed
    for name, score_ in found.scores.items():
        assert score_.difference.value == 0, name
        assert score_.better == "neither"


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_a_better_model_is_found_whatever_the_order_of_its_rows_and_classes(kind):
    judged = drawn(kind, rows=600)
    worse = judged.logits + 2 * torch.randn(judged.logits.shape, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(600, generator=torch.Generator().manual_seed(2))
    logits, target, task = worse[order], judged.target[order], judged.task
    if kind == "binary":
        logits, target, task = -logits, 1 - target, Task("binary", ("yes", "no"))
    else:
        columns = [2, 0, 3, 1]
        logits, task = logits[:, columns], Task(kind, tuple("abcd"[column] for column in columns))
        target = target[:, columns] if kind == "multilabel" else torch.tensor(columns).argsort()[target]
    other = JudgedRows(logits, target, [judged.names[row] for row in order], task, judged.policy, "test")
    found = compare(judged, other)
    for name in ("log_loss", "auroc", "average_precision"):
        assert found.scores[name].better == "first", name
    alone = evaluate_rows(JudgedRows(worse, judged.target, judged.names, judged.task, judged.policy, "test"))
    for name, score_ in found.scores.items():
        assert score_.second == pytest.approx(alone[name]), name
    back = compare(other, judged)
    assert back.scores["log_loss"].better == "second"
    assert (back.only_first, back.only_second) == (found.only_second, found.only_first)


def test_the_interval_of_a_difference_is_narrower_than_that_of_either():
    judged = drawn("multiclass", rows=500)
    near = JudgedRows(judged.logits * 1.02, judged.target, judged.names, judged.task, judged.policy, "test")
    found, single = compare(judged, near).scores, evaluate_rows(judged).scores
    for name in ("log_loss", "brier", "auroc", "average_precision"):
        gap = found[name].difference
        assert 0 < gap.high - gap.low < 0.1 * (single[name].high - single[name].low), name


def test_changed_rows_are_named_with_both_answers():
    judged = drawn("multiclass", rows=50)
    logits = judged.logits.clone()
    logits[7] = torch.roll(logits[7], 1)
    found = compare(judged, JudgedRows(logits, judged.target, judged.names, judged.task, judged.policy, "test"))
    assert [row.name for row in found.changed] == ["row 7"]
    assert found.changed[0].first != found.changed[0].second
    assert found.only_first + found.only_second <= 1


def test_rows_that_are_missing_are_named():
    judged = drawn("multiclass", rows=50)
    fewer = JudgedRows(judged.logits[:48], judged.target[:48], judged.names[:48], judged.task, judged.policy, "test")
    with pytest.raises(DataError, match=r"2 of A are missing in B \(row 48, row 49\)"):
        compare(judged, fewer, ("A", "B"))
    other = JudgedRows(judged.logits, (judged.target + 1) % 4, judged.names, judged.task, judged.policy, "test")
    with pytest.raises(DataError, match="50 rows of the same name have another class"):
        compare(judged, other)
    with pytest.raises(DataError, match="1 of A is missing in B"):
        compare(
            judged,
            JudgedRows(
                judged.logits, judged.target, judged.names, Task("multiclass", tuple("abcx")), judged.policy, ""
            ),
            ("A", "B"),
        )
    with pytest.raises(DataError, match="multiclass and second is binary"):
        compare(judged, drawn("binary"))
    twice = JudgedRows(judged.logits, judged.target, ["same"] * 50, judged.task, judged.policy, "")
    with pytest.raises(DataError, match="same stand there more than once"):
        compare(twice, twice)


def test_mcnemar_is_the_sign_test_of_the_rows_that_differ():
    assert mcnemar(0, 0) == 1
    assert mcnemar(5, 5) == 1
    assert mcnemar(10, 0) == pytest.approx(2 * 0.5**10)
