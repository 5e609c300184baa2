"""`fill`: what it prints, and how it ends."""

import json

import published
import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.recipes.fill import fill, load_masked_lm
from tinygrad_gpt.runs.saved_model import save_model
from tinygrad_gpt.text import WordPiece


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("masked")
    published.masked_lm(path, WordPiece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "##s", "!"]))
    return str(path)


def test_words_and_probabilities(folder, capsys):
    assert main(["fill", "the [MASK]!", "[MASK] [MASK]", "--model", folder, "--top", "2"]) == 0
    out, err = capsys.readouterr()
    first, second = fill(*load_masked_lm(folder), ["the [MASK]!", "[MASK] [MASK]"], 2)
    lines = out.splitlines()
    assert err == ""
    assert lines[0] == "the [MASK]!"
    assert [line.split() for line in lines[1:3]] == [[w.text, f"{w.probability:.3f}"] for w in first.places[0]]
    assert lines[3:6] == ["", "[MASK] [MASK]", "word 1"]
    assert [line.split()[0] for line in lines[9:11]] == [word.text for word in second.places[1]]
    assert (lines[8], len(lines)) == ("word 2", 11)


def test_json(folder, capsys):
    assert main(["fill", "the [MASK]!", "--model", folder, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert answer["text"] == "the [MASK]!"
    ((first, *others),) = answer["places"]
    assert first.keys() == {"text", "id", "probability"}
    assert len(others) == 4
    assert first["probability"] >= others[0]["probability"]


@pytest.mark.parametrize(("args", "code", "why"), [
    (["the cat"], 1, "error: no [MASK] (text 1): there is nothing to fill in; write [MASK] for the hidden word"),
    (["[MASK]", "--top", "0"], 2, "'0' is not a whole number from 1 to 1000"),
    ([], 2, "Missing argument 'TEXT...'"),
])
def test_one_line(folder, capsys, args, code, why):
    assert main(["fill", *args, "--model", folder]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert why in err


def test_models_without_a_head(tmp_path, capsys, shared_data):
    save_model(tmp_path / "gpt2.h5", tiny.language_model())
    assert main(["fill", "a [MASK]", "--model", str(tmp_path / "gpt2.h5")]) == 1
    assert main(["fill", "a [MASK]", "--model", str(shared_data / "models" / "minilm")]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    gpt2, minilm = err.splitlines()
    assert "it is no published encoder with a masked-language head" in gpt2
    assert "it has no masked-language head, only the encoder; give a model with one" in minilm
    assert max(map(len, (gpt2, minilm))) <= 240
