"""`evaluate instructions`: scores in words or JSON, and the file of responses."""

import json
from pathlib import Path

import pytest

from tinygrad_gpt.cli import main


@pytest.fixture
def args(tasks, tuned, tmp_path):
    return ["evaluate", "instructions", "--data", tasks, "--model", tuned, "--output", str(tmp_path / "out.jsonl"),
            "--max-new-tokens", "3"]


def test_the_part_that_was_kept_for_tests(args, tmp_path, capsys):
    output = tmp_path / "out.jsonl"
    assert main([*args, "--part", "test"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 responses, ")
    assert "exact match 0.0000, ROUGE-L " in out
    assert out.endswith(f"Written to {output}\n")
    assert len(output.read_text().splitlines()) == 2
    assert err == ""


def test_entries_that_the_model_was_trained_on_are_noted(args, capsys):
    assert main([*args, "--limit", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["count"] == 1
    assert err == "the model was trained on most of these entries; --part test leaves them out\n"


def test_an_empty_judge_is_refused(tasks, base, tmp_path, capsys):
    assert main(["evaluate", "instructions", "--data", tasks, "--model", base, "--output", str(tmp_path / "a.jsonl"),
                 "--judge", "", "--judge-model", "wise"]) == 2
    assert "judge is '', expected an address" in capsys.readouterr().err


def test_malformed_entries_are_skipped_where_asked(args, tasks, tmp_path, capsys):
    entries = json.loads(Path(tasks).read_text())
    entries.insert(3, {"instruction": "Say nothing", "output": ""})
    (tmp_path / "some.json").write_text(json.dumps(entries))
    args[args.index("--data") + 1] = str(tmp_path / "some.json")
    assert main(args) == 1
    assert 'its "output" is empty' in capsys.readouterr().err
    assert main([*args, "--part", "test", "--skip-malformed"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("2 responses, ")
    assert err == "1 malformed entries skipped\n"
