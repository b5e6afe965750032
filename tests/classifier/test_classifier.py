"""The whole way: labelled data in, predictions, scores and explanations out."""

import json

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import lastlayer
from lastlayer import Classifier
from tests.classifier.conftest import flowers


def test_digits_to_the_accuracy_and_log_loss_that_the_readme_states():
    model = Classifier(verbose=False).fit("digits")
    found = model.evaluate()
    assert found.split == "test"
    assert found["accuracy"] >= 0.97
    assert found["log_loss"] <= 0.12
    assert model.classes_.tolist() == list(range(10))
    assert model.record.data["rows"] == {"train": 1170, "validation": 179, "calibration": 179, "test": 269}


@pytest.mark.parametrize("run", ["image_run", "table_run", "binary_run"])
def test_probabilities_are_the_calibrated_logits(run, request):
    model = Classifier.load(request.getfixturevalue(run))
    x = "digits" if run == "image_run" else flowers(20, seed=1)
    logits, p = torch.from_numpy(model.predict_logits(x)), model.predict_proba(x)
    assert logits.dtype is torch.float64
    if run == "binary_run":
        assert logits.dim() == 1
        expected = torch.sigmoid(logits / model.temperature).numpy()
        np.testing.assert_allclose(p[:, 1], expected, rtol=1e-12)
    else:
        np.testing.assert_allclose(p, (logits / model.temperature).softmax(1).numpy(), rtol=1e-12)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-12)
    assert (model.predict(x) == model.classes_[p.argmax(1)]).all()


def test_image_folder(image_run, digit_folder):
    model = Classifier.load(image_run)
    assert model.score(digit_folder) >= 0.85
    one = digit_folder / "digit 3" / "1.png"
    picture = Image.open(one)
    expected = model.predict_proba(one)
    assert expected.shape == (1, 10)
    for same in (str(one), picture, np.asarray(picture), [one], [picture]):
        np.testing.assert_array_equal(model.predict_proba(same), expected)
    assert model.predict_proba(digit_folder / "digit 3").shape == (12, 10)
    assert model.predict(one)[0] == "digit 3"


def test_tables_of_every_kind_give_the_same_predictions(table_run, tmp_path):
    model = Classifier.load(table_run)
    frame = flowers(30, seed=5).drop(columns="kind")
    expected = model.predict_proba(frame)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_csv(tmp_path / "semicolon.csv", index=False, sep=";")
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for name in ("t.csv", "t.tsv", "semicolon.csv", "t.parquet", "t.jsonl"):
        np.testing.assert_allclose(model.predict_proba(tmp_path / name), expected, atol=1e-9, err_msg=name)
    np.testing.assert_allclose(model.predict_proba(datasets.Dataset.from_pandas(frame)), expected)
    rows = [dict(row) for row in frame.astype(object).where(frame.notna(), None).to_dict("records")]
    np.testing.assert_allclose(model.predict_proba(rows), expected)
    np.testing.assert_allclose(model.predict_proba(rows[0]), expected[:1], atol=1e-6)


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl", "frame", "dataset"])
def test_trains_on_tables_of_every_kind(form, tmp_path):
    frame = flowers(120)
    path = tmp_path / f"t.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    elif form == "parquet":
        frame.to_parquet(path)
    elif form == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    data = {"frame": frame, "dataset": datasets.Dataset.from_pandas(frame)}.get(form, path)
    model = Classifier(epochs=15, verbose=False).fit(data, target="kind")
    assert model.evaluate()["accuracy"] > 0.8
    assert model.classes_.tolist() == ["iris", "lily", "rose"]
    assert [column.kind for column in model.record.spec.preprocessing.columns] == [
        "numeric",
        "boolean",
        "categorical",
        "numeric",
    ]


def test_binary_task_has_one_logit_and_its_yes_can_be_chosen(binary_run):
    model = Classifier.load(binary_run)
    assert model.classes_.tolist() == ["no", "yes"]
    frame = flowers(40).assign(scented=lambda f: f["scented"].map({True: "yes", False: "no"}))
    other = Classifier(epochs=2, positive="no", verbose=False).fit(frame, target="scented")
    assert other.classes_.tolist() == ["yes", "no"]
    two = Classifier(epochs=2, task="multiclass", verbose=False).fit(frame, target="scented")
    assert two.predict_logits(frame).shape == (40, 2)
    assert two.record.spec.task.activation == "softmax"


def test_classes_keep_their_type(tmp_path):
    frame = flowers(90).drop(columns="kind").assign(year=lambda f: 2000 + (f["length"].fillna(0) > 2).astype(int))
    frame.to_csv(tmp_path / "t.csv", index=False)
    model = Classifier(epochs=3, verbose=False).fit(tmp_path / "t.csv", target="year")
    assert model.classes_.tolist() == [2000, 2001]
    assert set(model.predict(frame)) <= {2000, 2001}
    truth = Classifier(epochs=2, verbose=False).fit(frame, target="scented")
    assert truth.classes_.tolist() == [False, True]


def test_class_ten_does_not_stand_before_class_two():
    frame = pd.DataFrame({"x": np.arange(60) % 3, "y": np.array(["2", "10", "9"])[np.arange(60) % 3]})
    frame["noise"] = np.random.default_rng(0).normal(size=60)
    model = Classifier(epochs=2, verbose=False).fit(frame, target="y")
    assert model.classes_.tolist() == [2, 9, 10]


def test_evaluation_of_the_run_is_that_of_its_own_rows(image_run, table_run, digit_folder, flower_table):
    """What evaluate() says from the kept logits is what the model says of the same rows again."""
    for run, data in ((image_run, digit_folder), (table_run, flower_table)):
        model = Classifier.load(run)
        kept = model.record.predictions.to_pydict()
        rows = [i for i, split in enumerate(kept["split"]) if split == "test"]
        found = model.evaluate()
        assert found.rows == len(rows)
        names = [kept["input"][i] for i in rows]
        inputs = [str(data / name) if data.is_dir() else f"{data}#{name.split('#')[1]}" for name in names]
        p = model.predict_proba(inputs)
        truth = [model.record.spec.task.names.index(kept["target"][i]) for i in rows]
        assert found["accuracy"] == pytest.approx((p.argmax(1) == truth).mean())
        assert found["log_loss"] == pytest.approx(-np.log(p[np.arange(len(truth)), truth]).mean(), rel=1e-4)


def test_evaluating_other_labelled_data(table_run, flower_table, tmp_path):
    model = Classifier.load(table_run)
    flowers(60, seed=9).to_csv(tmp_path / "new.csv", index=False)
    found = model.evaluate(tmp_path / "new.csv")
    assert found.rows == 60
    assert found.split == str(tmp_path / "new.csv")
    assert sum(map(sum, found.confusion)) == 60
    assert model.score(tmp_path / "new.csv") == found["accuracy"] > 0.8


def test_explanation_ends_at_the_loss_of_that_input(table_run, flower_table):
    model = Classifier.load(table_run)
    trace = model.explain(f"{flower_table}#5")
    kind = flowers().iloc[4]["kind"]
    assert trace.classes[trace.target] == kind
    expected = lastlayer.cross_entropy(
        torch.from_numpy(model.predict_logits(f"{flower_table}#5")),
        torch.tensor([trace.target]),
        temperature=model.temperature,
    )
    assert trace.loss == pytest.approx(expected.item(), rel=1e-12)
    assert trace.context["input"] == "flowers.csv#5"
    first, second = (trace.classes[int(place)] for place in trace.probabilities.argsort(descending=True)[:2])
    margin = trace["tempered" if "tempered" in trace else "logits"].value.sort(descending=True).values
    assert trace.context["runner_up"] == f"{first} by {float(margin[0] - margin[1]):.1f} nats over {second}"
    np.testing.assert_allclose(trace.probabilities.numpy(), model.predict_proba(f"{flower_table}#5")[0])
    other = next(name for name in model.classes_ if name != kind)
    p_other = model.predict_proba(f"{flower_table}#5")[0][list(model.classes_).index(other)]
    assert model.explain(f"{flower_table}#5", target=other).loss == pytest.approx(-np.log(p_other), rel=1e-9)
    json.loads(trace.to_json())


def test_explanation_without_an_input_takes_the_worst_row(image_run, binary_run):
    model = Classifier.load(image_run)
    assert model.explain().loss == pytest.approx(model.evaluate().worst[0].loss, rel=1e-6)
    model = Classifier.load(binary_run)  # its data were in memory and are gone: the run has kept the logits
    worst = model.evaluate().worst[0]
    trace = model.explain()
    assert trace.loss == pytest.approx(worst.loss, rel=1e-6)
    assert trace.context["input"] == worst.name
    assert trace.context.get("source") is None
    assert model.explain(worst.name).loss == trace.loss  # by its name, too


def test_explanation_of_a_binary_task(binary_run):
    model = Classifier.load(binary_run)
    row = flowers(3, seed=2).drop(columns="scented").iloc[0].to_dict()
    trace = model.explain(row, target="yes")
    assert trace.kind == "binary"
    p = model.predict_proba(row)[0, 1]
    assert trace.loss == pytest.approx(-np.log(p), rel=1e-9)


def test_settings_travel_with_the_run(table_run):
    model = Classifier.load(table_run)
    assert model.config.epochs == 12
    assert model.config.target == "kind"
    assert model.record.data_name.endswith("flowers.csv")


# Bad input


def test_not_trained():
    with pytest.raises(ValueError, match=r"call fit\(data\) first"):
        Classifier().predict("digits")


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="Did you mean 'batch_size'"):
        Classifier(batchsize=32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ("nothing.csv", "no file or folder 'nothing.csv'"),
        ("digits#0", "from #1 on"),
        ({"length": 1.0}, "lacks 3 columns .*: scented, soil, count"),
        ([], "path"),
        (3, "got int"),
    ],
)
def test_inputs_that_cannot_be_read(table_run, image_run, x, message):
    model = Classifier.load(image_run if x == "digits#0" else table_run)
    with pytest.raises(lastlayer.errors.LastLayerError, match=message):
        model.predict(x)


def test_a_cell_that_is_no_number_is_named(table_run):
    model = Classifier.load(table_run)
    frame = flowers(5).drop(columns="kind").astype({"count": object})
    frame.loc[3, "count"] = "many"
    frame["count"] = frame["count"].astype(str)
    with pytest.raises(ValueError, match="frame#4: count: 'many' is not a number"):
        model.predict(frame)
    kept = model.predictions(frame)
    assert kept.problems == {3: "count: 'many' is not a number"}
    assert len(kept) == 5


def test_one_input_is_explained_at_a_time(image_run, digit_folder):
    with pytest.raises(ValueError, match="got 12"):
        Classifier.load(image_run).explain(digit_folder / "digit 1")


def test_classes_that_the_model_does_not_know_are_counted(table_run):
    frame = flowers(20)
    frame.loc[[2, 5], "kind"] = "ros"
    with pytest.raises(ValueError, match=r"2 rows of 20 have a class .*: 'ros' \(2 rows\)\. .*Did you mean 'rose'"):
        Classifier.load(table_run).evaluate(frame)


def test_data_of_the_other_kind(table_run, image_run, flower_table, digit_folder):
    with pytest.raises(ValueError, match="expected a table"):
        Classifier.load(table_run).predict(digit_folder)
    with pytest.raises(ValueError, match="expected an image"):
        Classifier.load(image_run).predict(flower_table)
