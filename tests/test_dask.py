"""The programs of docs/dask.md on a local cluster of two workers: the labels of one process, and one model a worker."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from tinygrad_gpt import GPTClassifier
from tinygrad_gpt.runs.saved_model import save_model

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "dask.md").read_text(encoding="utf-8")
LINES, TABLE = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
TEXTS = [text for text, _ in tiny.texts(300)]
NOTED = """
import os

def noted(lines, model):
    with open("workers.txt", "a") as file:
        print(os.getpid(), id(model), file=file)
    return labelled(lines, model)

"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a tiny classifier instead of the shipped one, and its labels of the texts."""
    pytest.importorskip("distributed", reason="Dask's distributed is not installed")
    save_model(tmp_path / "sms-spam", tiny.classifier())
    return tmp_path


def run(folder, program):
    (folder / "label.py").write_text(program)
    repository = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "label.py"], cwd=folder, capture_output=True, text=True, timeout=300,
                          env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(repository), "HOME": str(folder),
                               "OPENBLAS_NUM_THREADS": "1", "DASK_DISTRIBUTED__DASHBOARD__LINK": ""})
    assert done.returncode == 0, done.stderr


def test_lines_are_labelled_on_two_workers(folder):
    (folder / "messages").mkdir()
    for part in range(3):
        (folder / "messages" / f"{part}.jsonl").write_text("".join(
            json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS) if i % 3 == part))
    main = LINES.index("\nif __name__")
    program = LINES[:main] + NOTED + LINES[main:].replace("map_partitions(labelled", "map_partitions(noted").replace(
        "16 MiB", "1 KiB")
    assert program.count("noted") == 2
    run(folder, program)
    found = {entry["id"]: entry for file in (folder / "labelled").iterdir()
             for entry in map(json.loads, file.read_text().splitlines())}
    assert [found[i]["text"] for i in range(len(TEXTS))] == TEXTS
    model = GPTClassifier.load(folder / "sms-spam")
    assert [found[i]["label"] for i in range(len(TEXTS))] == model.predict(TEXTS).tolist()
    assert [found[i]["probability"] for i in range(len(TEXTS))] == pytest.approx(
        model.predict_proba(TEXTS).max(axis=1).tolist(), abs=1e-3)
    partitions = (folder / "workers.txt").read_text().splitlines()
    assert len(partitions) > 10
    assert len(set(partitions)) == len({line.split()[0] for line in partitions}) == 2  # each worker has one model


def test_a_table_is_labelled_on_two_workers(folder):
    pandas = pytest.importorskip("pandas", reason="pandas, which Dask's tables need, is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow, which Dask's tables need, is not installed")
    pandas.DataFrame({"text": TEXTS}).to_parquet(folder / "messages.parquet", row_group_size=50)
    run(folder, TABLE)
    table = pandas.read_parquet(folder / "labelled")
    assert table["text"].tolist() == TEXTS
    assert table["label"].tolist() == GPTClassifier.load(folder / "sms-spam").predict(TEXTS).tolist()
