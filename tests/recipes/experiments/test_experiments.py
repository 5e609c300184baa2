"""The experiments from end to end, on a tiny model."""

import json
from contextlib import contextmanager
from dataclasses import fields, replace

import published
import pytest
import tiny

from tinygrad_gpt.book.experiments import IMDB, ROWS, rows_named
from tinygrad_gpt.book.splits import book_experiments_split
from tinygrad_gpt.data.classification import read_labelled
from tinygrad_gpt.errors import CheckpointError, DataError, UsageError
from tinygrad_gpt.files import run_lock
from tinygrad_gpt.recipes.classification.finetune import finetune_classifier
from tinygrad_gpt.recipes.classification.starting_model import load_base
from tinygrad_gpt.recipes.experiments import experiments as recipe
from tinygrad_gpt.recipes.experiments.experiments import (
    ExperimentsConfig,
    Measured,
    Result,
    experiments,
    plan,
    run_config,
)
from tinygrad_gpt.recipes.experiments.report import bag_of_words, write_report
from tinygrad_gpt.runs.saved_model import save_model
from tinygrad_gpt.text import WordPiece

RANDOM = replace(ROWS[9], change=ROWS[9].change | {"n_ctx": 24, "n_embd": 8, "n_layer": 1, "n_head": 2})

SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789"
LETTERS = WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SIGNS, *(f"##{sign}" for sign in SIGNS)])


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    save_model(folder / "base.h5", tiny.language_model(n_ctx=24))
    (folder / "two.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in tiny.texts(60, ("snow", "sun",
                                                                                                   "sun"))))
    return ExperimentsConfig(str(folder / "two.tsv"), str(folder / "base.h5"), str(folder / "base.h5"),
                             rows_named("1,8,15"), epochs=1, lr=1e-2)


@pytest.fixture(scope="module")
def finished(config, tmp_path_factory):
    """The folder of finished experiments, their results, and what was shown."""
    out, seen = tmp_path_factory.mktemp("experiments") / "deep" / "out", []

    @contextmanager
    def shown(title):
        seen.append((title, []))
        yield seen[-1][1].append

    return out, experiments(config, out, shown=shown), seen


@pytest.fixture
def counted(monkeypatch):
    """The folders of the runs that are really done."""
    folders, real = [], recipe.finetune_classifier
    monkeypatch.setattr(recipe, "finetune_classifier",
                        lambda run, folder, report: folders.append(folder.name) or real(run, folder, report))
    return folders


def test_a_folder_for_each_run_and_no_weights(finished):
    out, _, seen = finished
    assert sorted(path.name for path in out.iterdir()) == ["01-last-block-seed-123", "15-accumulated-seed-123"]
    for folder in out.iterdir():
        assert {path.name for path in folder.iterdir()} == {"run.json", "report.json", "log.jsonl", "curves.png",
                                                            "confusion.png"}
    assert [title for title, _ in seen] == [
        "run 1 of 3: row 1, last block trained, seed 123",
        "run 3 of 3: row 15, no padding, eight texts accumulated, seed 123"]
    assert [len(steps) for _, steps in seen] == [3, 4]  # 28 texts in full batches of 8; eight at a time


def test_the_figures_are_those_of_the_runs(finished):
    out, results, seen = finished
    assert [(result.row.number, result.first.number) for result in results] == [(1, 1), (8, 1), (15, 15)]
    assert results[0].runs == results[1].runs
    (run,) = results[0].runs
    report = json.loads((out / "01-last-block-seed-123" / "report.json").read_text())
    assert (run.train, run.validation, run.test) == tuple(report[part]["accuracy"] for part in (
        "training", "validation", "test"))
    assert results[0].interval == run.interval == tuple(report["test"]["accuracy_interval"])
    assert run.trained == report["trained"]
    assert run.tokens == 24 * 8  # three batches of eight, each text filled up to the longest, of eight tokens
    assert run.seconds == seen[0][1][-1].seconds > 0
    assert run.memory > 10e6
    assert bag_of_words(results)[0] == report["bag_of_words"]["accuracy"]


def test_what_is_finished_is_not_run_again(finished, config, counted):
    out, results, _ = finished
    assert experiments(config, out, resume=True) == results
    assert counted == []
    more = experiments(replace(config, rows=rows_named("1"), seeds=(123, 7)), out, resume=True)
    assert counted == ["01-last-block-seed-7"]
    assert more[0].runs[0] == results[0].runs[0]
    assert more[0].runs[1].seed == 7


def test_an_interrupted_run_begins_anew(config, tmp_path, counted):
    @contextmanager
    def shown(title):
        def interrupt(progress):
            raise KeyboardInterrupt

        yield interrupt

    one = replace(config, rows=rows_named("1"))
    with pytest.raises(KeyboardInterrupt):
        experiments(one, tmp_path, shown=shown)
    folder = tmp_path / "01-last-block-seed-123"
    finetune_classifier(run_config(one, one.rows[0], 123), folder)  # as if it had been killed a moment later
    assert (folder / "model.h5").exists()
    (result,) = experiments(one, tmp_path)
    assert counted == ["01-last-block-seed-123"] * 2
    assert len(result.runs) == 1


@pytest.mark.parametrize("change", [{"lr": 0.5}, {"seed": 7}, None])
def test_a_model_of_the_user_is_not_removed(change, config, tmp_path):
    one, folder = replace(config, rows=rows_named("1")), tmp_path / "01-last-block-seed-123"
    if change is None:
        folder.mkdir()
        save_model(folder / "model.h5", tiny.language_model(n_ctx=24))
    else:
        finetune_classifier(replace(run_config(one, one.rows[0], 123), **change), folder)
    before = (folder / "model.h5").read_bytes()
    (result,) = experiments(one, tmp_path)
    assert "a finished run is there; choose another folder" in str(result.failures[0])
    assert (folder / "model.h5").read_bytes() == before


def test_experiments_are_not_mixed(finished, config, tmp_path, counted):
    out, _, _ = finished
    with pytest.raises(UsageError, match=r"cannot start \(.*out\): experiments are already there; add --resume"):
        experiments(config, out)
    with pytest.raises(UsageError, match=r"cannot resume \(.*01-last-block-seed-123\): epochs, lr changed"):
        experiments(replace(config, epochs=2, lr=0.1), out, resume=True)
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=24, seed=1))
    with pytest.raises(UsageError, match="the data or the base changed since it was run; choose another folder"):
        experiments(replace(config, base=str(tmp_path / "base.h5")), out, resume=True)
    assert counted == []


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"run": 1, "measured": {}}', b'{"run": {"config": {}}'])
def test_damaged_figures_are_refused(content, config, tmp_path):
    (tmp_path / "01-last-block-seed-123").mkdir()
    (tmp_path / "01-last-block-seed-123" / "run.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"run.json\): the file is damaged; remove it"):
        experiments(config, tmp_path, resume=True)


@pytest.mark.parametrize("field", [f.name for f in fields(Measured) if f.name != "caution"])
def test_every_spoiled_figure_is_refused_in_one_line(field, finished, config, tmp_path):
    out, _, _ = finished
    content = json.loads((out / "01-last-block-seed-123" / "run.json").read_text())
    file = tmp_path / "01-last-block-seed-123" / "run.json"
    file.parent.mkdir()
    for value in (-1, 0.5 if field in ("seed", "tokens", "memory", "trained") else 1e400, float("nan"), "x", [1], {},
                  [[[]]]):
        if (field, value) in (("machine", "x"), ("bag_of_words", {})):
            continue  # a name like any other; no bag of words was measured
        file.write_text(json.dumps(content | {"measured": content["measured"] | {field: value}}))
        with pytest.raises(CheckpointError, match=r"run.json\): the file is damaged; remove it") as caught:
            experiments(config, tmp_path, resume=True)
        assert "\n" not in str(caught.value), value


def test_a_run_that_cannot_be_done_does_not_keep_the_others(config, tmp_path):
    some = replace(config, rows=rows_named("10,18"), vocabulary=str(tmp_path / "absent.h5"))
    random, last = experiments(some, tmp_path / "out")
    assert random.runs == []
    assert "absent.h5" in str(random.failures[0])
    assert len(last.runs) == 1
    assert last.failures == []


def test_random_weights_need_no_base(config, tmp_path):
    (result,) = experiments(replace(config, rows=(RANDOM,), base="absent"), tmp_path)
    assert result.runs[0].trained == (300 + 24) * 8 + 12 * 64 + 13 * 8 + 16 + 18  # 300 tokens, 24 positions


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"data": "absent.tsv"}, DataError, "cannot read"), ({"base": "absent"}, CheckpointError, "no such file"),
    ({"data": "three"}, DataError, "3 classes"),
])
def test_what_no_run_can_be_done_on_leaves_nothing(change, error, message, config, tmp_path):
    if change.get("data") == "three":
        change = {"data": str(tiny.labelled_file(tmp_path / "three.csv"))}
    with pytest.raises(error, match=message):
        experiments(replace(config, **change), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_process_at_a_time(config, tmp_path):
    with run_lock(tmp_path), pytest.raises(UsageError, match="is writing there"):
        experiments(config, tmp_path)


def test_the_plan_is_what_is_trained(finished, config):
    _, results, _ = finished
    planned = plan(config)
    assert [p.trained for p in planned] == [result.runs[0].trained for result in results]
    assert [p.context for p in planned] == [8, 8, 24]
    assert all(p.memory > 4 * p.trained for p in planned)
    random, wide = plan(replace(config, rows=rows_named("10,13"), vocabulary="absent"))
    assert wide.context == 24
    assert "absent" in random.failure


def test_row_ten_is_planned_as_in_the_book(shared_data):
    config = ExperimentsConfig(str(shared_data / "spam" / "SMSSpamCollection"), vocabulary=str(shared_data / "gpt2"),
                               rows=rows_named("10"))
    (planned,) = plan(config)
    assert planned.failure == ""
    assert planned.trained == 124_439_808 + 768 * 2 + 2
    assert planned.context == 120
    assert 2e9 < planned.memory < 6e9


def test_the_interval_over_seeds_is_student_s():
    runs = [Measured(seed, 1, 1, test, (0, 1), 60, 10, 10, 10, None, "") for seed, test in enumerate((0.9, 0.92, 0.94))]
    result = Result(ROWS[0], ROWS[0], runs, [])
    assert result.average("test") == pytest.approx(0.92)
    assert result.interval == pytest.approx((0.92 - 0.049683, 0.92 + 0.049683), abs=1e-6)  # 4.302653 · 0.02 / √3
    assert Result(ROWS[0], ROWS[0], runs[:1], []).interval == (0, 1)
    sure = [replace(run, test=1.0 - run.seed / 100) for run in runs]
    assert Result(ROWS[0], ROWS[0], sure, []).interval[1] == 1.0


def books_losses(torch, run):
    """Training losses as the book's script computes them: its loaders, looks and optimiser, in torch."""
    from torch.utils.data import DataLoader
    from torch_gpt2 import GPT2, copy_weights

    data = read_labelled(run.data, quotes=True)
    base, tokenizer = load_base(run, [])
    split = book_experiments_split(data)
    tokens = [tokenizer.encode(text) for text in data.texts]
    longest = max(len(tokens[row]) for row in split.train)
    padded = [(ids + [tokenizer.eot_id] * longest)[:longest] for ids in tokens]
    parts = [[(torch.tensor(padded[row]), int(data.labels[row])) for row in part] for part in (split.train,
                                                                                             split.validation)]
    model = copy_weights(base, GPT2(base.config))
    model.lm_head = torch.nn.Identity()  # what the last norm gives
    torch.manual_seed(run.seed)
    head = torch.nn.Linear(base.config.n_embd, 2)
    train = DataLoader(parts[0], batch_size=run.batch_size, shuffle=True, drop_last=True)
    validation = DataLoader(parts[1], batch_size=run.batch_size)
    torch.manual_seed(run.seed)
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=run.lr, weight_decay=0.1)
    losses = []
    for _ in range(run.epochs):
        for ids, labels in train:
            loss = torch.nn.functional.cross_entropy(head(model(ids))[:, -1], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if (len(losses) - 1) % 50 == 0:
                next(iter(train)), next(iter(validation))
        next(iter(train)), next(iter(validation))
    return losses


def test_a_small_row_ten_is_the_reference_s_training_loss_by_loss(config, tmp_path):
    torch = pytest.importorskip("torch", reason="torch, the oracle, is not installed")
    small = replace(config, rows=(RANDOM,), epochs=20, lr=1e-3)
    experiments(small, tmp_path)
    log = (tmp_path / "10-random-seed-123" / "log.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in log]
    assert len(losses) == 60  # three batches an epoch; the looks at step 50 and at the ends of epochs move the order
    assert losses == pytest.approx(books_losses(torch, run_config(small, RANDOM, 123)), rel=1e-5)
    assert losses[-1] < losses[0] - 0.1  # it has learnt by then


def test_an_encoder_runs_every_row(config, tmp_path):
    """Its texts begin with [CLS] and end with [SEP]; rows that only a causal mask tells apart are one run."""
    published.masked_lm(tmp_path / "bert", LETTERS)
    config = replace(config, base=str(tmp_path / "bert"), rows=ROWS)
    planned = {line.row.number: line for line in plan(config)}
    assert [line.failure for line in planned.values()] == [""] * 19
    assert planned[3].trained < planned[1].trained < planned[4].trained < planned[5].trained
    assert planned[13].context == 24
    assert {line.context for number, line in planned.items() if number in (1, 2, 5)} == {22}
    results = experiments(replace(config, rows=rows_named("2,3,11,17,19")), tmp_path / "out")
    assert [result.failures for result in results] == [[]] * 5
    assert [result.first.number for result in results] == [2, 3, 11, 1, 19]
    assert all(0 <= result.average("test") <= 1 for result in results)
    assert run_config(config, ROWS[0], 1).no_start is False
    assert run_config(config, ROWS[9], 1).no_start is True


def test_film_reviews_have_a_split_and_models_of_their_own(config, tmp_path):
    published.masked_lm(tmp_path / "models" / "bert-base-uncased", LETTERS)
    rows = tuple(replace(row, change={**row.change, "context": "20"}) for row in IMDB[:2])
    results = experiments(replace(config, base=str(tmp_path / "models"), rows=rows), tmp_path / "out")
    assert [(len(result.runs), len(result.failures)) for result in results] == [(0, 1), (1, 0)]
    assert "gpt2" in str(results[0].failures[0])
    report = json.loads((tmp_path / "out" / "21-imdb-bert-seed-123" / "report.json").read_text())
    assert sum(entry["count"] for entry in report["test"]["classes"]) == 12  # of 60
    write_report(tmp_path / "out", replace(config, rows=rows), results)
    assert "| 21 | reviews, all trained | " in (tmp_path / "out" / "report.md").read_text()


def test_runs_in_two_processes_are_those_of_one(finished, config, tmp_path):
    pytest.importorskip("joblib", reason="joblib is not installed")
    shown, (_, expected, _) = [], finished

    @contextmanager
    def noted(title):
        shown.append(title)
        yield lambda progress: None

    wide = replace(config, rows=rows_named("1,8,15,19"), base=config.base)
    found = experiments(wide, tmp_path / "out", jobs=2, shown=noted)
    assert [title[:34] for title in shown] == [f"{n} of 3 runs done, 2 at a time: " + title[31:34] for n, title in
                                               enumerate(shown, start=1)]
    for result, one in zip(found, expected, strict=False):
        assert replace(result.runs[0], seconds=0, memory=0) == replace(one.runs[0], seconds=0, memory=0)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "01-last-block-seed-123", "15-accumulated-seed-123", "19-mean-seed-123"}


def test_a_run_that_cannot_be_does_not_keep_the_other_processes(config, tmp_path):
    pytest.importorskip("joblib", reason="joblib is not installed")
    (tmp_path / "01-last-block-seed-123").mkdir()
    (tmp_path / "01-last-block-seed-123" / "config.json").write_text("{}")
    first, _, last = experiments(config, tmp_path, jobs=2)
    assert [str(error)[:12] for error in first.failures] == ["cannot start"]
    assert len(last.runs) == 1
