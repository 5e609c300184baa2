"""Finetuning from end to end, on a tiny model."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import fake_cublas
import numpy as np
import psutil
import pytest
import tiny

from tinygrad_gpt.backend import backend_of, on_backend, use_backend
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.errors import DataError, ResourceError, UsageError
from tinygrad_gpt.files import run_lock, sha256_of
from tinygrad_gpt.models.classifier import GPT2Classifier
from tinygrad_gpt.recipes.classification import finetune as finetune_recipe
from tinygrad_gpt.recipes.classification import inputs
from tinygrad_gpt.recipes.classification.classify import classify
from tinygrad_gpt.recipes.classification.config import TRAINED, FinetuneConfig
from tinygrad_gpt.recipes.classification.evaluate import evaluate, reads_quotes
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.inputs import Texts
from tinygrad_gpt.recipes.classification.objectives import ONE_CLASS
from tinygrad_gpt.recipes.classification.starting_model import set_trained, with_head
from tinygrad_gpt.recipes.classification.task import classification_loss, next_tokens
from tinygrad_gpt.runs.saved_model import load_model, save_model

FILES = {"config.json", "confusion.png", "curves.png", "log.jsonl", "model.h5", "report.json", "state-a.h5",
         "state-b.h5"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=6))
    data = tiny.labelled_file(folder / "three.csv")
    return FinetuneConfig(str(data), base=str(folder / "base.h5"), epochs=4, lr=1e-2, batch_size=8)


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """A finished run: its folder, its result, and what it reported."""
    out = tmp_path_factory.mktemp("runs") / "deep" / "run"
    reported = []
    result = finetune_classifier(config, out, reported.append)
    return out, result, reported


@pytest.mark.parametrize("precision", ["bfloat16", "tf32"])
def test_a_precision_that_the_gpu_lacks_is_refused_before_a_folder_is_made(config, precision, tmp_path):
    with fake_cublas.card(75), on_backend("strict"), pytest.raises(UsageError, match="use float16 or float32"):
        finetune_classifier(replace(config, precision=precision), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_learns_and_leaves_its_files(run):
    out, result, _ = run
    assert {path.name for path in out.iterdir()} == FILES
    for picture in ("confusion.png", "curves.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert result.test.accuracy > result.test.majority + 0.2
    assert result.counts == (
        "61 lines read, 60 records, 0 skipped (1 header); 0 duplicates and 0 texts with two labels left out; "
        "42 training, 6 validation, 12 test texts")


def test_the_log_has_a_line_a_step_and_scores_at_each_epoch(run):
    out, _, reported = run
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(1, 25))  # 42 texts in batches of 8, four times
    assert [line["step"] for line in log if line["scores"]] == [6, 12, 18, 24]
    assert set(log[5]["scores"]) == {"training_loss", "training_accuracy", "validation_loss", "validation_accuracy",
                                    "validation_f1"}
    assert [line["loss"] for line in log] == [progress.loss for progress in reported]
    assert log[-1]["loss"] < log[0]["loss"]


def test_the_clock_of_a_run_includes_the_frozen_blocks(config, tmp_path, monkeypatch):
    now = [0]
    monkeypatch.setattr("tinygrad_gpt.runs.run.time.monotonic", lambda: now[0])

    def prepare(preparation):
        now[0] += 1

    reported = []
    config = replace(config, train="last-block", dropout=0.0)
    finetune_classifier(config, tmp_path / "run", reported.append, prepare)
    assert now[0] > 0
    assert {progress.seconds for progress in reported} == {now[0]}


def test_the_report_says_everything(run, config):
    out, result, _ = run
    report = json.loads((out / "report.json").read_text())
    assert set(report) == {"verdict", "counts", "caution", "classes", "truncated", "trained", "training", "validation",
                           "test", "calibration", "bag_of_words", "provenance"}
    assert report["classes"] == sorted(tiny.WORDS)
    assert report["test"]["accuracy"] == result.test.accuracy
    assert report["bag_of_words"]["accuracy"] > 0.8
    assert report["truncated"] == result.truncated > 0  # the tiny model reads 5 tokens
    assert report["provenance"]["config"]["split_seed"] == config.split_seed
    assert report["provenance"]["test_accuracy"] == result.test.accuracy


def test_the_saved_model_answers_as_the_trained_one(run):
    out, result, _ = run
    texts = [text for text, _ in tiny.texts(10)]
    assert classify(load_model(out), texts) == classify(result.saved, texts)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(run, config, tmp_path):
    out, _, _ = run
    finetune_classifier(config, tmp_path / "again")
    for name in ("model.h5", "report.json"):
        assert (tmp_path / "again" / name).read_bytes() == (out / name).read_bytes()
    finetune_classifier(replace(config, seed=7, epochs=1), tmp_path / "other")
    assert load_model(tmp_path / "other").model.arrays()["score.weight"].tobytes() != load_model(
        out).model.arrays()["score.weight"].tobytes()


def test_a_finished_run_is_kept(run, config):
    out, _, _ = run
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UsageError, match=r"cannot start \(.*\): a run is already there; resume it or choose another"):
        finetune_classifier(config, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_model_that_is_there_already_is_kept(config, tmp_path):
    (tmp_path / "model.h5").write_bytes(b"another's")
    with pytest.raises(UsageError, match="a finished run is there; choose another folder"):
        finetune_classifier(config, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.h5"}


def test_a_test_file_of_its_own_is_judged_whole(config, tmp_path):
    judged = tiny.labelled_file(tmp_path / "judged.csv", 20)  # the first 20 of the 60 texts
    result = finetune_classifier(replace(config, test=str(judged), epochs=1), tmp_path / "run")
    assert result.test.count == result.baseline.count == 20
    assert result.counts == (
        "82 lines read, 80 records, 0 skipped (2 header); 20 texts of the test file, 0 duplicates and 0 texts with two "
        "labels left out; 37 training, 3 validation, 20 test texts")
    saved = load_model(tmp_path / "run")
    assert evaluate(saved, read_labelled(judged)).report == result.test
    assert set(saved.provenance["sha256"]) == {"three.csv", "judged.csv", "base.h5"}
    assert saved.provenance["config"]["test"] == "judged.csv"
    with pytest.raises(UsageError, match="split 'book' makes its own test part; give it no test file"):
        replace(config, test="judged.csv", split="book")


@pytest.mark.parametrize("base", ["random", "classifier"])
def test_other_bases(base, config, tmp_path):
    name = base
    if base == "classifier":
        name = str(tmp_path / "spam.h5")
        save_model(tmp_path / "spam.h5", tiny.classifier(("ham", "spam"), n_ctx=12))
    result = finetune_classifier(replace(config, base=name, epochs=1, batch_size=48), tmp_path / "run")
    assert result.saved.labels == tuple(sorted(tiny.WORDS))
    assert result.saved.n_ctx == (256 if base == "random" else 12)
    assert result.saved.transformer.config.dropout == config.dropout


def criterion(scores, labels):
    return ONE_CLASS.loss(scores, labels, None, lambda array: array)


@pytest.mark.parametrize("train", TRAINED)
def test_frozen_parameters_stay_as_they_are_and_get_no_gradient(train):
    saved = tiny.classifier()
    model = saved.classifier
    set_trained(model, train)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    blocks = {"head": (), "last-block": ("h.1.", "ln_f"), "last-two-blocks": ("h.0.", "h.1.", "ln_f"), "all": ("",)}
    assert trained == {name for name, _ in model.named_parameters()
                       if name.startswith(("score.", *(f"transformer.{part}" for part in blocks[train])))}
    inputs = Texts(model, [[1, 2, 3, 4], [5, 6]])
    classification_loss(inputs, criterion, np.array([0, 2]), 0.5, np.arange(2)).backward()
    assert {name for name, parameter in model.named_parameters() if parameter.grad is not None} == trained


def test_training_the_last_block_leaves_the_rest_of_the_file_alone(config, tmp_path):
    result = finetune_classifier(replace(config, train="last-block", epochs=1), tmp_path / "run")
    before = load_model(config.base).model.arrays()
    changed = {name for name, array in result.saved.transformer.arrays().items()
               if array.tobytes() != before[name].tobytes()}
    assert changed == {name for name in before if name.startswith(("h.1.", "ln_f."))}


def test_every_backend_trains_alike(config, backend, tmp_path):
    log, reference = [], []
    small = replace(config, epochs=1, batch_size=21)
    result = finetune_classifier(small, tmp_path / "run", log.append)
    assert backend_of(result.saved.classifier.score.weight.data) is backend
    use_backend("numpy")
    finetune_classifier(small, tmp_path / "numpy", reference.append)
    assert [p.loss for p in log] == pytest.approx([p.loss for p in reference], rel=1e-5)
    assert log[-1].scores == pytest.approx(reference[-1].scores, rel=1e-5)


def test_next_tokens_are_the_targets_up_to_the_end_of_a_text():
    ids = np.array([[7, 1, 2, 3], [7, 4, 0, 0], [7, 0, 0, 0]])
    np.testing.assert_array_equal(next_tokens(ids, np.array([4, 2, 1])),
                                  [[1, 2, 3, -100], [4, -100, -100, -100], [-100] * 4])
    assert ids[1].tolist() == [7, 4, 0, 0]


def test_the_language_model_loss_is_added_with_its_weight():
    model = tiny.classifier().classifier
    batch = Texts(model, [[1, 2, 3, 4], [5, 6]]), criterion, np.array([0, 2])
    plain, half, whole = (classification_loss(*batch, weight, np.arange(2)).item() for weight in (0.0, 0.5, 1.0))
    assert whole - plain == pytest.approx(2 * (half - plain), rel=1e-4)
    assert half - plain == pytest.approx(0.5 * np.log(model.transformer.config.vocab_size), rel=0.1)  # untrained


PLAIN = {"dropout": 0.0, "lm_weight": 0.0, "epochs": 2}


@pytest.mark.parametrize("change", [
    {"train": "lora", "rank": 4, "alpha": 8}, {"train": "lora", "targets": "q,v,score", "init": "book"},
    {"read": "mean", "no_causal_mask": True}, {"read": "first", "no_start": True}, {"train": "head", "read": "last"},
    {"padding": "none", "batch_size": 1, "accumulate": 8}, {"padding": "fixed", "context": "longest", "read": "last"},
    {"read": "concat", "hide": 0.2, "head_dropout": 0.3}, {"context": "9", "hide": 0.2, "lm_weight": 1.0},
    {"context": "4", "class_weights": "balanced"}, {"order": "book", "schedule": "constant", "train": "last-block"},
    {"base": "random", "n_layer": 1, "n_embd": 8, "n_head": 2, "n_ctx": 20, "vocab_size": 270, "init": "book"},
], ids=str)
def test_every_way_to_train_and_read_is_saved_with_the_model(change, config, tmp_path):
    changed = replace(config, **(PLAIN | change))
    result = finetune_classifier(changed, tmp_path / "run")
    texts = [text for text, _ in tiny.texts(10)]
    loaded = load_model(tmp_path / "run")
    assert loaded.classifier.reading == result.saved.classifier.reading
    assert classify(loaded, texts) == classify(result.saved, texts)
    data = read_labelled(changed.data)
    for part, figures in (("train", result.training), ("test", result.test)):
        again = evaluate(loaded, data, part).report
        assert again.confusion == figures.confusion
        assert again.log_loss == pytest.approx(figures.log_loss, rel=1e-5)  # other texts share its batches


def test_kept_activations_change_no_run(config, tmp_path, monkeypatch):
    plain = replace(config, **PLAIN, train="last-block")
    kept, fresh = [], []
    finetune_classifier(plain, tmp_path / "kept", kept.append)
    monkeypatch.setattr(finetune_recipe, "inputs_of", lambda model, tokens, rows: Texts(model, tokens))
    finetune_classifier(plain, tmp_path / "fresh", fresh.append)
    assert [p.loss for p in kept] == pytest.approx([p.loss for p in fresh], rel=1e-6, abs=1e-6)
    assert [p.scores for p in kept] == [pytest.approx(p.scores, rel=1e-6, abs=1e-6) for p in fresh]


def test_the_memory_of_kept_activations_is_asked_for_before_the_start(config, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(finetune_recipe, "check_memory", lambda needed, remedy: asked.append(needed))
    plain = replace(config, **PLAIN, train="last-block", context="4")
    tokenizer = finetune_classifier(plain, tmp_path / "kept").saved.tokenizer
    different = {tuple(tokenizer.encode(text)[:3]) for text in read_labelled(config.data).texts}
    monkeypatch.setattr(inputs, "IN_MEMORY", 0)
    finetune_classifier(plain, tmp_path / "in a file")
    assert asked[0] - asked[1] == len(different) * 4 * 16 * 4  # texts · tokens · width · bytes
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda folder: SimpleNamespace(free=10))
    with pytest.raises(ResourceError, match="no room for temporary files"):
        finetune_classifier(plain, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_texts_one_by_one_are_a_batch(config, tmp_path):
    plain = replace(config, **PLAIN, train="last-block", batch_size=42)
    together, alone = [], []
    finetune_classifier(plain, tmp_path / "together", together.append)
    finetune_classifier(replace(plain, padding="none", batch_size=1, accumulate=42), tmp_path / "alone", alone.append)
    assert len(together) == len(alone) == 2
    assert [p.loss for p in alone] == pytest.approx([p.loss for p in together], rel=1e-5)
    assert [p.norm for p in alone] == pytest.approx([p.norm for p in together], rel=1e-4)


def test_lora_trains_its_updates_and_saves_them_merged(config, tmp_path):
    result = finetune_classifier(replace(config, **PLAIN, train="lora", rank=4, alpha=8), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    # In each of two blocks A (16, 4) and B (4, 16) for q, k, v and c_proj, 4 · (16 + 64) for each layer of the MLP.
    assert result.trained == 2 * (4 * 4 * 32 + 2 * 4 * 80) + 16 * 3 + 3
    saved, base = load_model(tmp_path / "run").model.arrays(), load_model(config.base).transformer.arrays()
    changed = {name for name in base if not np.array_equal(base[name], saved[f"transformer.{name}"])}
    assert changed == {f"h.{i}.{layer}.weight" for i in range(2)
                       for layer in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}


def test_the_book_s_head_is_torch_s(config, tmp_path):
    torch = pytest.importorskip("torch", reason="compares with torch")
    base = load_model(config.base)
    data = read_labelled(config.data)
    model, _, _ = with_head(base.transformer, base.tokenizer, data.texts, np.arange(9), 3, replace(config, init="book"))
    torch.manual_seed(123)
    head = torch.nn.Linear(16, 3)
    assert model.score.weight.numpy().tobytes() == head.weight.detach().numpy().T.tobytes()
    assert model.score.bias.numpy().tobytes() == head.bias.detach().numpy().tobytes()


@pytest.mark.parametrize(("context", "expected"), [("longest", 6), ("model", 16), ("5", 5)])
def test_how_much_of_a_text_is_read(context, expected, config):
    base = tiny.language_model(n_ctx=16)
    texts = ["ski ice", "bug " * 30, "loop"]
    train = np.array([0, 2])
    longest = max(len(base.tokenizer.encode(texts[i])) for i in train) + 1
    model, tokens, truncated = with_head(base.transformer, base.tokenizer, texts, train, 3,
                                         replace(config, context=context))
    assert model.context == (longest if context == "longest" else expected)
    assert [len(ids) for ids in tokens][1] == model.context
    assert truncated == sum(len(base.tokenizer.encode(text)) + 1 > model.context for text in texts)


def test_the_splits_of_the_book(config, tmp_path):
    rows = "".join(f"{label}\t{text}\n" for text, label in tiny.texts(60, ("snow", "sun", "sun")))
    (tmp_path / "two.tsv").write_text(rows)
    results = [finetune_classifier(replace(config, **PLAIN, data=str(tmp_path / "two.tsv"), split=split),
                                   tmp_path / split) for split in ("book", "book-experiments")]
    for result in results:
        assert result.counts.endswith("20 rows left out to balance the classes; 0 of the test texts are in the "
                                      "training part as well; 28 training, 4 validation, 8 test texts")
        data = read_labelled(str(tmp_path / "two.tsv"), quotes=reads_quotes(result.saved, "test"))
        assert reads_quotes(result.saved, "test")
        assert evaluate(result.saved, data, "test").report == result.test
    assert results[0].test != results[1].test


def test_what_flatters_a_model_is_said_with_its_figures(config, run, tmp_path):
    assert run[1].caution == ""
    rows = [f"{label}\t{text}\n" for text, label in tiny.texts(30, ("snow", "sun"))]
    (tmp_path / "twice.tsv").write_text("".join(rows * 2))
    save_model(tmp_path / "base.h5", tiny.classifier(sha256={"mail": sha256_of(tmp_path / "twice.tsv")}, n_ctx=6))
    flattered = replace(config, **PLAIN, data=str(tmp_path / "twice.tsv"), base=str(tmp_path / "base.h5"), split="book")
    result = finetune_classifier(flattered, tmp_path / "run")
    known, total = re.search(r": (\d+) of the (\d+) test texts", result.caution).groups()
    assert 0 < int(known) <= int(total) == 12
    assert result.caution == (f"new texts will fare worse than the test texts: {known} of the 12 test texts are "
                              "in the training part as well; the base was trained on texts of twice.tsv already")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["caution"] == result.caution


def test_the_first_step_of_a_warm_up_trains(config, tmp_path):
    reported = []
    finetune_classifier(replace(config, epochs=10), tmp_path / "run", reported.append)  # 60 steps, 6 of warm-up
    assert [p.lr for p in reported[:7]] == pytest.approx([config.lr * (n + 1) / 7 for n in range(7)])



@pytest.mark.parametrize(("change", "message"), [
    ({"read": "middle"}, "read is 'middle'; choose one of last-real"),
    ({"context": "0"}, "context is '0'; choose longest, model, or a number"),
    ({"context": "many"}, "context is 'many'"),
    ({"padding": "none", "batch_size": 8}, "use batch_size 1 and accumulate 8"),
    ({"no_causal_mask": True}, "set lm_weight to 0"),
    ({"read": "first", "lm_weight": 0.0}, "leave it out, or the mask"),
    ({"context": "97"}, "context is 97, but the model reads 6 tokens; give at most 96"),
    ({"hide": 1.0}, "head_dropout is 0.0 and hide 1.0; give shares from 0 to below 1"),
    ({"train": "lora", "targets": "q,mlp"}, "no linear layer of this model is called 'mlp'"),
    ({"split": "book"}, "3 classes .*: the book's split is for two"),
])
def test_settings_that_cannot_be_are_refused(change, message, config, tmp_path):
    with pytest.raises((UsageError, DataError), match=message):
        finetune_classifier(replace(config, **change), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"train": "first-block"}, UsageError, "choose one of head, last-block"),
    ({"data": "absent.csv"}, DataError, "cannot read"),
    ({"encoding": "klingon"}, UsageError, "no encoding"),
    ({"text_column": "poem"}, DataError, "no text column 'poem'"),
])
def test_a_run_that_cannot_start_leaves_nothing(change, error, message, config, tmp_path):
    with pytest.raises(error, match=message):
        finetune_classifier(replace(config, **change), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_malformed_rows_are_skipped_on_request(config, tmp_path):
    data = tmp_path / "holes.csv"
    data.write_text(tiny.labelled_file(tmp_path / "a.csv").read_text() + ",sun\n")
    with pytest.raises(DataError, match="line 62"):
        finetune_classifier(replace(config, data=str(data)), tmp_path / "run")
    result = finetune_classifier(replace(config, data=str(data), skip_malformed=True, epochs=1), tmp_path / "run")
    assert result.counts.startswith("62 lines read, 60 records, 1 skipped")
    assert GPT2Classifier is type(result.saved.model)


def test_a_run_that_does_not_fit_into_memory_leaves_nothing(config, tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("", (), {"available": 100_000})())
    with pytest.raises(ResourceError, match=r"cannot train \(memory\): it takes .*, or train fewer blocks"):
        finetune_classifier(config, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_one_run_at_a_time_writes_into_a_folder(config, tmp_path):
    (tmp_path / "run").mkdir()
    with run_lock(tmp_path / "run"), pytest.raises(UsageError, match="is writing there; wait for it"):
        finetune_classifier(config, tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_out_of_memory_in_the_middle_frees_the_folder(config, tmp_path):
    def full(progress):
        raise MemoryError

    with pytest.raises(MemoryError):
        finetune_classifier(config, tmp_path / "run", full)
    assert not {".lock", "model.h5"} & {path.name for path in (tmp_path / "run").iterdir()}
