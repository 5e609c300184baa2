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
    TEXTS,
    absolute_paths,
    digest_of,
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


def test_unlabelled_texts_of_a_table_are_in_the_same_column(tmp_path):
    rows = "".join(f"{i},{text},{label}\n" for i, (text, label) in enumerate(tiny.texts(60)))
    (tmp_path / "a.csv").write_text(f"number,utterance,class\n{rows}")
    (tmp_path / "more.csv").write_text("utterance,note\nswim on ice,old\n")
    config = FinetuneConfig(str(tmp_path / "a.csv"), text_column="utterance", label_column="class", pretrain_epochs=1,
                            unlabelled=str(tmp_path / "more.csv"))
    data, split = read_parts(config)
    assert read_unlabelled(config, data, split) == ["swim on ice"]
    (tmp_path / "more.txt").write_text("sand, sand\n")
    assert read_unlabelled(replace(config, unlabelled=str(tmp_path / "more.txt")), data, split) == ["sand, sand"]


def test_a_digest_is_found_by_the_role_of_the_file():
    origin = {"config": {"data": "a.csv", "test": "a.csv", "extra": None, "unlabelled": "b.txt"},
              "sha256": {"a.csv": "1", "a.csv 2": "2", "b.txt": "3", "base.h5": "4"}}
    assert [digest_of(origin, name) for name in TEXTS] == ["1", "2", None, "3"]
    assert digest_of({"config": {"data": ["a.csv"]}, "sha256": {"a.csv": "1"}}, "data") is None
    assert digest_of({}, "data") is None
