"""Text encoders of transformers and frozen backbones, on networks that are built on the spot; nothing is downloaded."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.torture import outcome
from lastlayer import Classifier
from lastlayer.classifier import hub
from lastlayer.classifier.data import encoder_names
from lastlayer.classifier.journal import Silent
from lastlayer.classifier.learning.tracking import as_csv
from lastlayer.classifier.network import encoders
from lastlayer.errors import ConfigError, RunError
from tests.classifier.test_resume import cut_off

ROOT = Path(__file__).parents[2]
WORDS = {
    "card": "card lost please help 카드",
    "rate": "rate exchange high wrong 환율",
    "cash": "cash machine ate money 현금",
}


SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}


def rows(count: int = 90, **columns) -> list[dict]:
    chance = random.Random(5)
    made = []
    for number in range(count):
        label = chance.choice(sorted(WORDS))
        words = chance.sample(WORDS[label].split(), 4)
        made.append(
            {"text": f"{' '.join(words)} n{number}", **{k: f(number) for k, f in columns.items()}, "label": label}
        )
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny BERT with a tokenizer, as save_pretrained writes them."""
    import tokenizers
    import transformers

    transformers.utils.logging.disable_progress_bar()
    path = tmp_path_factory.mktemp("encoders") / "tiny"
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=list(SPECIAL.values()), show_progress=False
    )
    tokenizer.train_from_iterator([row["text"] for row in rows()], trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL)
    fast.save_pretrained(path)
    torch.manual_seed(0)
    settings = transformers.BertConfig(
        vocab_size=200, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=24,
    )  # fmt: skip
    transformers.BertModel(settings).save_pretrained(path)
    return path


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(hub, "answers", lambda: False)
    encoder_names.opened.cache_clear()
    yield
    encoder_names.opened.cache_clear()


def test_an_encoder_from_a_folder_is_fine_tuned_and_kept(folder, tmp_path, heard):
    place = shutil.copytree(folder, tmp_path / "mine")
    model = Classifier(backbone=str(place), epochs=6, lr=0.08, listener=heard).fit(
        rows(), "label", output=tmp_path / "run"
    )
    assert any(note.startswith("Weights: those of") for note in heard.notes)
    assert model.evaluate()["accuracy"] > 0.8
    texts = ["card lost", "", "환율 🙂", "a " * 5000]
    shutil.rmtree(place)
    encoder_names.opened.cache_clear()
    again = Classifier.load(shutil.copytree(tmp_path / "run", tmp_path / "elsewhere"))
    assert (again.predict_proba(texts) == model.predict_proba(texts)).all()


def test_published_weights_change_forty_times_more_slowly_than_the_others(folder):
    def after_a_step_of(lr):
        how = {"epochs": 1, "batch_size": 1000, "weight_decay": 0.0, "verbose": False}
        return Classifier(backbone=str(folder), lr=lr, **how).fit(rows(), "label").record.weights

    # one step of Adam moves a weight by the learning rate, or hardly where its gradient is hardly any
    one, other = after_a_step_of(0.08), after_a_step_of(0.04)
    moved = {name: (one[name] - other[name]).abs().max().item() for name in one}
    of_encoder = [by for name, by in moved.items() if name.startswith("backbone.encoder.")]
    assert max(of_encoder) == pytest.approx(0.04 / 40, rel=1e-3)
    assert moved["head.linear.bias"] == pytest.approx(0.04, rel=1e-3)


def test_features_are_the_mean_over_the_tokens_that_are_there(folder):
    tokens = encoder_names.opened(str(folder)).tokens
    network = encoders.build(tokens, str(folder), pretrained=True, journal=None).eval()
    texts = ["card lost please", "rate"]
    ids, mask = tokens.encode(texts).batch([0, 1])
    hidden = network.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    expected = torch.stack([hidden[row, : int(mask[row].sum())].mean(0) for row in range(2)])
    torch.testing.assert_close(network(ids, mask), expected)
    alone = network(*tokens.encode(texts[1:]).batch([0]))
    torch.testing.assert_close(alone[0], expected[1], atol=1e-6, rtol=1e-5)


def test_weights_come_from_the_folder(folder):
    from safetensors.torch import load_file

    tokens = encoder_names.opened(str(folder)).tokens
    published = load_file(folder / "model.safetensors")
    ours = encoders.build(tokens, str(folder), pretrained=True, journal=None).model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in published.items())
    random_ones = encoders.build(tokens, str(folder), pretrained=False, journal=None).model.state_dict()
    assert not torch.equal(random_ones["embeddings.word_embeddings.weight"], ours["embeddings.word_embeddings.weight"])


def test_a_text_is_cut_at_what_the_encoder_reads_and_it_is_said(folder, heard):
    data = rows(60)
    for row in data[:30]:
        row["text"] += " card" * 100
    model = Classifier(backbone=str(folder), epochs=1, listener=heard).fit(data, "label")
    assert any("reach the 24 tokens" in note for note in heard.notes)
    assert model.record.spec.preprocessing.texts[0].encode(["card " * 1000]).starts.tolist() == [0, 24]


def test_an_encoder_beside_numbers_and_a_second_text(folder):
    data = rows(80, number=lambda n: n % 7, second=lambda n: f"more words stand here n{n}")
    model = Classifier(backbone=str(folder), epochs=1, verbose=False).fit(data, "label")
    assert model._network.backbone.features == 2 * 16 + 128
    assert model.predict_proba(data[:2]).shape == (2, 3)


def test_published_weights_change_more_slowly(folder):
    from lastlayer.classifier.config import Config
    from lastlayer.classifier.learning.optimisation import optimizer_for, set_rate

    model = Classifier(backbone=str(folder), epochs=1, verbose=False).fit(rows(60), "label")
    model._network.backbone.pretrained = True
    optimizer = optimizer_for(model._network, Config(lr=0.4))
    set_rate(optimizer, 0.2)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.005])
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model._network.parameters()))


# --- names


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("bert-bse-uncased", "did you mean 'bert-base-uncased'"),
        ("hf:bert-base-uncased", "does not answer"),
        ("./absent", "no folder"),
        ("resnet18", "reads images"),
    ],
)
def test_a_name_that_cannot_be_opened_is_one_message(offline, name, said):
    with pytest.raises(ConfigError, match=f"(?i){said}") as error:
        Classifier(backbone=name, pretrained=True, verbose=False).fit(rows(60), "label")
    assert "\n" not in str(error.value)


def test_a_folder_without_an_encoder_is_named(tmp_path, offline):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="holds no encoder"):
        Classifier(backbone=str(tmp_path / "empty"), verbose=False).fit(rows(60), "label")


def test_an_encoder_without_a_text_column_is_refused(folder):
    data = [{"a": n, "label": "xy"[n % 2]} for n in range(60)]
    with pytest.raises(ConfigError, match="no column is text"):
        Classifier(backbone=str(folder), verbose=False).fit(data, "label")


def test_a_kept_tokenizer_that_is_broken_is_named(folder, tmp_path):
    run = Classifier(backbone=str(folder), epochs=1, verbose=False).fit(rows(60), "label").save(tmp_path / "run")
    kept = json.loads((run / "tokenizer.json").read_text())
    del kept["columns"][0]["tokenizer"]["model"]
    (run / "tokenizer.json").write_text(json.dumps(kept))
    manifest = json.loads((run / "manifest.json").read_text())
    import hashlib

    content = (run / "tokenizer.json").read_bytes()
    manifest["files"]["tokenizer.json"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (run / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"tokenizer\.json|model\.json"):
        Classifier.load(run)


# --- frozen


def test_a_frozen_encoder_keeps_its_weights_and_reads_each_row_once(folder, monkeypatch, heard):
    from safetensors.torch import load_file

    seen = []
    forward = encoders.Encoder.forward

    def counted(self, ids, mask):
        seen.append(len(ids))
        return forward(self, ids, mask)

    monkeypatch.setattr(encoders.Encoder, "forward", counted)
    model = Classifier(backbone=str(folder), freeze=True, epochs=5, listener=heard).fit(rows(), "label")
    state = model._network.backbone.encoder.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in load_file(folder / "model.safetensors").items())
    parts = model.record.data["rows"]  # once to train; then to calibrate and to judge; then without words of the worst
    assert seen[:5] == [parts[name] for name in ("train", "validation", "validation", "calibration", "test")]
    assert all(rows == 128 for rows in seen[5:])
    assert len(model.record.epochs) == 5
    assert any("computed once" in note for note in heard.notes)


def test_the_trained_head_reads_what_the_frozen_backbone_gives(folder):
    model = Classifier(backbone=str(folder), freeze=True, epochs=2, seed=3, verbose=False).fit(rows(), "label")
    logits = model.predict_logits([row["text"] for row in rows(10)])
    backbone, head = model._network.backbone.eval(), model._network.head
    read = model.read([row["text"] for row in rows(10)])
    assert np.allclose(head(backbone(*read)).detach().numpy(), logits, atol=1e-5)


def test_fine_tuning_follows_and_the_better_epoch_is_kept(folder, heard):
    model = Classifier(backbone=str(folder), freeze=True, finetune_epochs=2, epochs=2, listener=heard).fit(
        rows(), "label"
    )
    epochs = model.record.epochs
    assert [epoch.epoch for epoch in epochs] == [1, 2, 3, 4]
    lowest = min(epochs, key=lambda epoch: epoch.validation_log_loss)
    assert model.record.data["training"]["best_epoch"] == lowest.epoch
    assert any(
        "Fine-tuning: backbone and head together, at most 2 epochs at a learning rate of 5e-05" in n
        for n in heard.notes
    )


TUNED = {"epochs": 2, "batch_size": 8, "schedule": "cosine", "accumulate": 2, "checkpoint_minutes": 0, "device": "cpu"}
KILLED = """
import json, sys
from lastlayer import Classifier
folder, table, run, settings = sys.argv[1:]
Classifier(backbone=folder, verbose=False, **json.loads(settings)).fit(table, "label", output=run)
"""


def started(*arguments):
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    # sums of a matrix product depend on how many threads share it
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, *map(str, arguments)], env={**os.environ, **threads, "PYTHONPATH": path}
    )


def resumed_to_the_same_bits(run, whole):
    """BERT drops features at random, so that the random numbers have to go on, too."""
    assert not (run / "manifest.json").exists()
    notes = Classifier.resume(run, verbose=False).record.data["notes"]
    assert len([note for note in notes if note.startswith("Resumed in epoch 2, after ")]) == 1, notes
    assert outcome(run) == outcome(whole)


def test_fine_tuning_that_is_killed_goes_on_to_the_same_bits(folder, tmp_path):
    table, run, settings = tmp_path / "t.jsonl", tmp_path / "run", {**TUNED, "freeze": True, "finetune_epochs": 2}
    table.write_text("\n".join(json.dumps(row) for row in rows(60, number=lambda n: n % 7)))
    Classifier(backbone=str(folder), verbose=False, **settings).fit(table, "label", output=tmp_path / "whole")
    with started(folder, table, run, json.dumps(settings)) as process:
        while not list(run.glob("checkpoints/0002-*1")):  # the second epoch of backbone and head together
            assert process.poll() is None
            time.sleep(0.002)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    resumed_to_the_same_bits(run, tmp_path / "whole")


def test_training_a_whole_encoder_goes_on_to_the_same_bits(folder, tmp_path):
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in rows(60)))
    Classifier(backbone=str(folder), verbose=False, **TUNED).fit(table, "label", output=tmp_path / "whole")
    run = cut_off(tmp_path / "run", 7, table, "label", backbone=str(folder), **TUNED)
    resumed_to_the_same_bits(run, tmp_path / "whole")


def test_metrics_csv_goes_on_while_fine_tuning(folder, tmp_path):
    lines = []

    class Reading(Silent):
        def epoch(self, epoch, of, seconds_left):
            lines.append((tmp_path / "run" / "metrics.csv").read_text().splitlines()[1:])

    model = Classifier(backbone=str(folder), freeze=True, finetune_epochs=2, epochs=2, listener=Reading())
    model.fit(rows(), "label", output=tmp_path / "run")
    assert [[line.split(",")[0] for line in each] for each in lines] == [
        [str(epoch) for epoch in range(1, last + 1)] for last in (1, 2, 3, 4)
    ]
    assert (tmp_path / "run" / "metrics.csv").read_bytes() == as_csv(model.record.epochs)


def test_a_frozen_encoder_beside_other_columns_trains_what_reads_those(folder):
    from safetensors.torch import load_file

    data = rows(90, number=lambda n: n % 7)
    models = [
        Classifier(backbone=str(folder), freeze=True, epochs=1, lr=lr, verbose=False).fit(data, "label").record.weights
        for lr in (1e-8, 1e-2)
    ]
    published = {
        f"backbone.encoder.model.{name}": each for name, each in load_file(folder / "model.safetensors").items()
    }
    for weights in models:
        assert all(torch.equal(weights[name], value) for name, value in published.items())
    others = [name for name in models[0] if name.startswith("backbone.others.")]
    assert others
    assert all((models[0][name] - models[1][name]).abs().max() > 1e-4 for name in others)


def test_a_frozen_timm_model_keeps_its_weights(tmp_path, monkeypatch):
    import timm

    create, made = timm.create_model, []

    def from_disk(name, pretrained=False, **options):
        torch.manual_seed(11)
        made.append(create(name, pretrained=False, **options))
        return made[-1]

    monkeypatch.setattr(timm, "create_model", from_disk)
    chance = np.random.default_rng(0)
    for label in ("dark", "light"):
        (tmp_path / "d" / label).mkdir(parents=True)
        for place in range(12):
            pixels = chance.integers(0, 100, (32, 32, 3)) + (150 if label == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "d" / label / f"{place}.png")
    model = Classifier(backbone="resnet10t", pretrained=True, freeze=True, epochs=4, workers=0, verbose=False).fit(
        tmp_path / "d"
    )
    torch.manual_seed(11)
    fresh = create("resnet10t", pretrained=False, in_chans=3, num_classes=0).state_dict()
    kept = model._network.backbone[1].state_dict()
    assert all(torch.equal(kept[name], value) for name, value in fresh.items())  # statistics of batch norm too
    assert len(model.record.epochs) == 4


def test_images_that_change_are_not_read_once(tmp_path):
    with pytest.raises(ConfigError, match="augment changes the images"):
        Classifier(backbone="resnet10t", pretrained=True, freeze=True, augment="auto", verbose=False).fit("digits")
