"""`book`: what it prints beside the book's values."""

from tinygrad_gpt.book import pretrained
from tinygrad_gpt.book.pretrained import as_printed
from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model


def run(language, capsys):
    assert main(["book", "--model", language]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_other_values_are_printed_beside_those_of_the_book(models, capsys):
    out = run(str(models / "language.h5"), capsys)
    assert out.count("the book prints\n") == 3
    assert "    Every effort moves you forward.\n\n    The first step is to understand the importance" in out
    assert "    -1.5854 0.9904\n    -3.7235 7.4548\n" in out


def test_equal_values_are_printed_once(models, capsys, monkeypatch):
    saved = load_model(models / "language.h5")
    greedy, drawn, scores = (printed.ours for printed in as_printed(saved.transformer, saved.tokenizer))
    for name, value in (("GREEDY", greedy), ("DRAWN", drawn), ("SCORES", scores)):
        monkeypatch.setattr(pretrained, name, value)
    out = run(str(models / "language.h5"), capsys)
    assert out.count("as the book prints it\n") == 3
    assert "the book prints\n" not in out


def test_weights_that_are_not_here_are_named_in_one_line(tmp_path, capsys):
    assert main(["book", "--model", str(tmp_path / "gpt2")]) == 1
    assert capsys.readouterr().err.startswith("error: ")
