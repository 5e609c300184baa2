"""Rows that start from models of their own: the table's, a folder of models, and a family that is trained first."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import tiny

from tinygrad_gpt.book.experiments import rows_named
from tinygrad_gpt.errors import CheckpointError, UsageError
from tinygrad_gpt.recipes.experiments import config as settings
from tinygrad_gpt.recipes.experiments import experiments as recipe
from tinygrad_gpt.recipes.experiments import family
from tinygrad_gpt.recipes.experiments.config import FAMILY, ExperimentsConfig, run_config, starts_by_name
from tinygrad_gpt.recipes.experiments.experiments import experiments, plan
from tinygrad_gpt.recipes.experiments.family import describe_family, train_family
from tinygrad_gpt.recipes.experiments.report import result_table, write_report
from tinygrad_gpt.runs.saved_model import load_model, save_model


@contextmanager
def unseen(title):
    yield lambda progress: None


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.text_file(folder / "text.txt", documents=60)
    (folder / "two.tsv").write_text("".join(f"{label}\t{text}\n" for text, label in tiny.texts(60, ("snow", "sun",
                                                                                                   "sun"))))
    return folder


@pytest.fixture
def config(folder, monkeypatch):
    """Two sizes, of one width and of 16 tokens, so that a test takes a second."""
    sizes = {"gpt2": (1, 8, 2), "gpt2-medium": (2, 8, 2)}
    monkeypatch.setattr(family, "FAMILY", sizes)
    monkeypatch.setattr(settings, "FAMILY", sizes)
    monkeypatch.setattr(family, "ALIKE", replace(family.ALIKE, vocab_size=280, n_ctx=16))
    return ExperimentsConfig(str(folder / "two.tsv"), "family", rows=rows_named("1,6"), epochs=1, lr=1e-2,
                             family_text=(str(folder / "text.txt"),), family_steps=2)


def test_the_family_has_the_proportions_of_gpt_2():
    for (blocks, width, heads), openai in zip(FAMILY.values(), ((12, 768, 12), (24, 1024, 16), (36, 1280, 20),
                                                                (48, 1600, 25)), strict=True):
        assert (4 * blocks, 8 * width, heads) == openai
        assert width % heads == 0


def test_each_row_starts_from_its_own_model(config, tmp_path):
    small, medium = results = experiments(config, tmp_path)
    assert [result.first.number for result in results] == [1, 6]
    assert small.runs[0].trained == medium.runs[0].trained  # the last block of one width
    models = {name: load_model(tmp_path / "family" / name) for name in ("gpt2", "gpt2-medium")}
    assert [saved.model.config.n_layer for saved in models.values()] == [1, 2]
    assert len({saved.tokenizer.digest for saved in models.values()}) == 1
    assert [path.name for path in sorted(tmp_path.glob("*-seed-*"))] == ["01-last-block-seed-123", "06-medium-seed-123"]
    assert [row[2] for row in result_table(results, config.base).rows[:2]] == ["own, for gpt2", "own, for gpt2-medium"]
    write_report(tmp_path, config, results)
    report = (tmp_path / "report.md").read_text()
    assert "Each row starts from its own model of ours, in place of the book's." in report
    assert "not to be compared with ours; how accuracy changes with the size" in report
    for line in describe_family(tmp_path / "family", FAMILY):
        assert f"- {line}" in report
    assert "gpt2-medium: 2 blocks of width 8, 2 heads; 2 steps on 256 tokens of text.txt; validation loss" in report
    again = experiments(replace(config, base=str(tmp_path / "family"), family_text=()), tmp_path / "again")
    assert [result.runs[0].test for result in again] == [result.runs[0].test for result in results]


def test_a_family_that_was_stopped_goes_on(config, tmp_path):
    def stop(title):
        @contextmanager
        def shown():
            def report(progress):
                if "medium" in title:
                    raise KeyboardInterrupt

            yield report

        return shown()

    with pytest.raises(KeyboardInterrupt):
        experiments(config, tmp_path / "out", shown=stop)
    first = (tmp_path / "out" / "family" / "gpt2" / "model.h5").read_bytes()
    assert len(experiments(config, tmp_path / "out")[1].runs) == 1
    assert (tmp_path / "out" / "family" / "gpt2" / "model.h5").read_bytes() == first
    with pytest.raises(UsageError, match="steps is 3, but the run has 2"):
        train_family(config.family_text, 3, tmp_path / "out" / "family", ["gpt2"], unseen)


def test_the_table_names_its_models_and_a_missing_one_stops_no_other(config, tmp_path, monkeypatch):
    table = replace(config, base="table", rows=rows_named("1,6,18"))
    assert [run_config(table, row, 1).base for row in table.rows] == ["gpt2", "gpt2-medium", "gpt2"]
    assert run_config(replace(table, rows=rows_named("10")), rows_named("10")[0], 1).base == "random"
    save_model(tmp_path / "base.h5", tiny.language_model(n_ctx=24))
    file = recipe.model_file

    def downloaded(base):
        if base == "gpt2-medium":
            raise CheckpointError("cannot load model (gpt2-medium): it is not downloaded; …")
        return file(tmp_path / "base.h5")

    monkeypatch.setattr(recipe, "model_file", downloaded)
    for module in ("starting_model", "finetune"):
        monkeypatch.setattr(f"tinygrad_gpt.recipes.classification.{module}.model_file", downloaded)
    monkeypatch.setattr("tinygrad_gpt.recipes.classification.starting_model.load_model",
                        lambda base: load_model(downloaded(base)))
    small, medium, same = results = experiments(table, tmp_path / "out")
    assert len(small.runs) == len(same.runs) == 1
    assert "not downloaded" in str(medium.failures[0])
    assert same.first.number == 1
    write_report(tmp_path / "out", table, results)
    report = (tmp_path / "out" / "report.md").read_text()
    assert "Each row starts from its own model, as in the book's table." in report
    assert "not to be compared" not in report
    assert "Row 6: cannot load model (gpt2-medium)" in report


def test_a_trained_family_can_be_planned_on(config, tmp_path):
    with pytest.raises(UsageError, match=r"cannot plan \(family\): its models are not trained yet"):
        plan(config)
    train_family(config.family_text, 1, tmp_path, config.models, unseen)
    assert [planned.failure for planned in plan(replace(config, base=str(tmp_path), family_text=()))] == ["", ""]


def test_what_a_base_means(folder, tmp_path):
    assert starts_by_name("table")
    assert starts_by_name("family")
    assert not starts_by_name(str(folder))
    (tmp_path / "gpt2-xl").mkdir()
    assert starts_by_name(str(tmp_path))
    with pytest.raises(UsageError, match="base is 'family': it has no text to learn from"):
        ExperimentsConfig("a", "family")
