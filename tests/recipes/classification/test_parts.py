"""The texts of a finetuning run."""

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import tiny

from tinygrad_gpt.recipes.classification.config import FinetuneConfig
from tinygrad_gpt.recipes.classification.parts import (
    FILES,
    absolute_paths,
    read_parts,
    read_unlabelled,
    with_absolute_paths,
)


@pytest.fixture
def config(tmp_path):
    return FinetuneConfig(str(tiny.labelled_file(tmp_path / "three.csv")), classes="sun,code,snow")


def test_paths_hold_from_any_folder_and_names_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mail.csv").touch()
    Path("teacher").mkdir()
    found = absolute_paths({"data": "mail.csv", "base": "storyteller", "test": None, "lr": 0.1,
                            "teachers": ("teacher", "bag-of-words")})
    assert found == {"data": os.path.join(tmp_path, "mail.csv"), "base": "storyteller", "test": None, "lr": 0.1,
                     "teachers": (os.path.join(tmp_path, "teacher"), "bag-of-words")}
    assert set(FILES) <= set(asdict(FinetuneConfig("mail.csv")))
    assert with_absolute_paths(FinetuneConfig("mail.csv", lr=0.1)) == FinetuneConfig(str(tmp_path / "mail.csv"), lr=0.1)


def test_a_file_is_divided_and_more_texts_join_all_but_the_test_part(config, tmp_path):
    data, split = read_parts(config)
    assert data.classes == ["sun", "code", "snow"]
    assert sorted(split.rows) == list(range(60))
    texts = [(f"new {text}", label) for text, label in tiny.texts(30)]
    (tmp_path / "more.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in texts))
    joined, parts = read_parts(replace(config, extra=str(tmp_path / "more.csv")))
    np.testing.assert_array_equal(parts.test, split.test)
    added = np.setdiff1d(parts.rows, split.rows)
    assert sorted(joined.texts[i] for i in added) == sorted(text for text, _ in texts)
    assert {joined.texts[i]: joined.classes[joined.labels[i]] for i in added} == dict(texts)


def test_a_test_file_is_the_test_part(config, tmp_path):
    test = tiny.labelled_file(tmp_path / "test.csv", 12)  # the first twelve texts of the other file
    data, split = read_parts(replace(config, test=str(test)))
    assert [data.texts[i] for i in split.test] == [text for text, _ in tiny.texts(12)]
    assert split.in_test == 12
    assert len(split.train) + len(split.validation) == 48


def test_unlabelled_texts_are_none_of_the_labelled(config, tmp_path):
    data, split = read_parts(config)
    known = data.texts[split.test[0]]
    (tmp_path / "more.txt").write_text(f"swim on ice\n{known.upper()}\n")
    unlabelled = replace(config, unlabelled=str(tmp_path / "more.txt"), pretrain_epochs=1)
    assert read_unlabelled(unlabelled, data, split) == ["swim on ice"]
    assert read_unlabelled(config, data, split) == []
