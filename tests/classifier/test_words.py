"""Which words pushed a logit: what is said is what the model does without them."""

import json
import random
import re

import pytest
import torch

from lastlayer import Classifier
from lastlayer.classifier.data import tables
from lastlayer.classifier.data.json_lines import from_rows
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.network.model import Network
from lastlayer.classifier.predicting import occlusion
from lastlayer.cli import run as command
from lastlayer.explanation import Trace

WORDS = {"card": "card lost stolen plastic blocked", "rate": "rate exchange euro dollar market"}


def rows(count=120, seed=4, **columns):
    chance = random.Random(seed)
    made = []
    for number in range(count):
        label = chance.choice(sorted(WORDS))
        said = chance.sample(WORDS[label].split(), 2) + chance.sample(["please", "help", "with", "this", "now"], 3)
        chance.shuffle(said)
        text = " ".join(said).capitalize() + "?"
        made.append({"text": text, **{name: make(number) for name, make in columns.items()}, "label": label})
    return made


@pytest.fixture(scope="module")
def binary():
    return Classifier(epochs=12, verbose=False).fit(rows(), "label")


@pytest.fixture(scope="module")
def several():
    """Four classes, weighed, so that the policy corrects logits; fitted on the spot."""
    chance = random.Random(1)
    kinds = {name: [f"{name}{letter}" for letter in "xyz"] for name in ("alpha", "beta", "gamma", "delta")}
    data = []
    for _ in range(200):
        label = chance.choice(sorted(kinds))
        words = [*chance.sample(kinds[label], 2), chance.choice(kinds[chance.choice(sorted(kinds))]), "and", "so"]
        data.append({"text": " ".join(chance.sample(words, 5)), "label": label})
    weights = {"alpha": 2.0, "beta": 1.0, "gamma": 0.5, "delta": 1.0}
    return Classifier(epochs=6, class_weights=weights, verbose=False).fit(data, "label")


@pytest.fixture(scope="module")
def labels():
    data = [{**row, "label": [row["label"]] if n % 3 else ["card", "rate"]} for n, row in enumerate(rows())]
    return Classifier(epochs=6, verbose=False).fit(data, "label")


def without(text, word):
    """The text without a word, however it is written."""
    return re.sub(rf"\b{re.escape(word)}\b", "", text, flags=re.IGNORECASE)


@pytest.mark.parametrize("name", ["binary", "several", "labels"])
def test_what_a_word_adds_is_what_the_model_does_without_it(request, name):
    model = request.getfixturevalue(name)
    text = {"several": "Alphax so betay gammaz and alphax"}.get(name, "Please: lost card, and euro with please")
    target = {"several": "beta", "labels": ["rate"]}.get(name, "rate")
    trace = model.explain(text, target)
    step = trace["words"]
    answer = step.facts["answer"]
    place = () if name == "binary" else (list(model.record.spec.task.names).index(answer),)

    def logit(text, place):
        scale = trace.temperature if name != "several" else 1.0
        return float(model.policy.logits(torch.from_numpy(model.predict_logits([text])))[(0, *place)]) * scale

    assert step.facts["tried"] == len(trace.axes["m"]) == {"several": 5}.get(name, 6)
    for word, added in zip(trace.axes["m"], step.value.tolist(), strict=True):
        assert added == pytest.approx(logit(text, place) - logit(without(text, word), place), abs=2e-6), word
        assert added != 0
    if name == "several":
        assert [column.id for column in step.beside] == ["truth"]
        truth = (list(model.record.spec.task.names).index("beta"),)
        for word, added in zip(trace.axes["m"], step.beside[0].value.tolist(), strict=True):
            assert added == pytest.approx(logit(text, truth) - logit(without(text, word), truth), abs=2e-6), word
        moved = (step.value - step.beside[0].value).abs()
    else:
        moved = step.value.abs()
    assert moved.tolist() == sorted(moved.tolist(), reverse=True)


def test_the_answer_of_each_kind_is_named(binary, labels):
    assert binary.explain("card lost")["words"].facts["answer"] == "rate"  # yes, whatever is predicted
    assert (binary.explain("card lost")["words"].value[:2] < 0).all()
    assert labels.explain("card lost", ["card", "rate"])["words"].facts["answer"] == "rate"  # costs most
    assert labels.explain("card lost", [])["words"].facts["answer"] == "card"


def test_the_worst_rows_of_a_run_and_its_report_have_their_words(several, tmp_path):
    data = [{"text": f"{'good' if n % 2 else 'bad'} thing number{n} here", "label": "ab"[n % 2]} for n in range(80)]
    data[3]["label"] = data[17]["label"] = data[33]["label"] = "a"
    table = tmp_path / "t.jsonl"

    table.write_text("\n".join(map(json.dumps, data)))
    model = Classifier(epochs=12, validation=0.2, test=0.3, verbose=False).fit(table, "label", output=tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text()
    again = Classifier.load(tmp_path / "run")
    for html in (page, again.report()):
        assert "what a word adds to a logit" in html
        assert re.search(r"<td>good</td><td>\+\d\.\d{3}</td>", html)
    assert "단어가 로짓에 더하는 값" in again.report("ko")
    table.write_text("\n".join(json.dumps({**row, "text": "other words stand here"}) for row in data))
    assert "what a word adds to a logit" not in again.report()  # they are not those whose logits were kept
    assert "words" not in again.explain()
    assert "words" in model.explain(data[0])


def test_a_trace_of_words_is_rendered_and_comes_back(several, tmp_path):
    trace = several.explain("Alphax so betay gammaz and alphax", "beta")
    assert "what each word adds to the logit of alpha" in trace.text()
    assert "로짓에 더하는 값" in trace.text("ko")
    assert all(len(line) <= 80 for line in trace.text().splitlines())
    assert r"\Delta_{\text{betay}}" in trace.latex()
    assert "betay" in trace.html()
    back = Trace.from_json(trace.to_json())
    assert back.axes["m"] == trace.axes["m"]
    assert back["words"].value.equal(trace["words"].value)


def test_explain_shows_the_text(binary, tmp_path, capsys):
    run = binary.save(tmp_path / "run")
    (tmp_path / "new.csv").write_text('text\n"Lost  my\nCARD?"\n')
    assert command(["explain", str(run), f"{tmp_path / 'new.csv'}#1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("“Lost my CARD?”\n")
    assert re.search(r"\n +CARD +−\d", out)


def test_models_without_text_have_no_words(table_run, image_run):
    for run in (table_run, image_run):
        model = Classifier.load(run)
        assert "words" not in model.explain()
        assert not any(example.words for example in model.evaluate().worst)


@pytest.mark.parametrize(
    ("text", "words", "texts"),
    [
        ("Card, card (CARD)!", ["Card"], [",  ()!"]),
        ("don't — stop…", ["don't", "—", "stop"], [" — stop…", "don't  stop…", "don't — …"]),
        ("카드를 잃었어요.", ["카드를", "잃었어요"], [" 잃었어요.", "카드를 ."]),
        ("失卡 ok", ["失", "卡", "ok"], ["卡 ok", "失 ok", "失卡 "]),
        ("🙂 🙂 👩‍💻", ["🙂", "👩‍💻"], ["  👩‍💻", "🙂 🙂 "]),
        ("  ", [], []),
        ("a\ud800 b", ["a?", "b"], [" b", "a\ud800 "]),
    ],
)
def test_words_are_what_people_take_for_words(text, words, texts):
    found = occlusion._words({"text": text}, ["text"])
    assert list(found) == words
    assert occlusion._texts(text, "text", found) == [text, *texts]


def test_a_word_goes_from_all_text_columns_at_once():
    data = rows(100, second=lambda n: f"some other words {n} here please")
    model = Classifier(epochs=4, verbose=False).fit(data, "label")
    one = {"text": "please card", "second": "some please here"}
    gone = {"text": " card", "second": "some  here"}
    trace = model.explain(one)
    place = trace.axes["m"].index("please")
    expected = model.predict_logits([one])[0] - model.predict_logits([gone])[0]
    assert float(trace["words"].value[place]) == pytest.approx(float(expected) * 1.0, abs=2e-6)


def test_long_texts_are_tried_word_by_word_up_to_a_hundred(binary, monkeypatch):
    seen, forward = [], Network.forward

    def counted(self, inputs, target=None):
        seen.append(len(inputs[0]))
        return forward(self, inputs, target)

    monkeypatch.setattr(Network, "forward", counted)
    trace = binary.explain("card " + " ".join(f"word{n}" for n in range(900)))
    assert trace["words"].facts["tried"] == 100
    assert sum(seen) <= 3 * 128  # the text, and a hundred without a word


def test_huge_texts_are_tried_without_fewer_words():
    text = " ".join(f"word{n}" for n in range(100_000))
    assert len(occlusion._words({"text": text}, ["text"])) == 8
    assert len(occlusion._words({"text": text[:20_000]}, ["text"])) == 52


def test_a_row_without_text_has_no_words(binary):
    data = tables.as_dataset(from_rows([{"text": None}, {"text": "a card"}, {"text": " "}]), "rows")
    found = occlusion.occluded(Rows("table", data, ["1", "2", "3"]), binary._network, binary.record.spec)
    assert [each if each is None else each.words for each in found] == [None, ("a", "card"), None]
    assert found[1].without.isfinite().all()
