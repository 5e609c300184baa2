"""`evaluate`: a group of two commands, of which one is meant where none is named."""

import tiny

from tinygrad_gpt.cli import main


def test_evaluate_means_a_classifier_where_nothing_is_named(model, tmp_path, capsys):
    data = str(tiny.labelled_file(tmp_path / "three.csv"))
    assert main(["evaluate", "--data", data, "--model", model]) == 0
    short = capsys.readouterr().out
    assert main(["evaluate", "classifier", "--data", data, "--model", model]) == 0
    assert capsys.readouterr().out == short
    assert main(["evaluate", "--help"]) == 0
    out = capsys.readouterr().out
    assert "classifier " in out
    assert "instructions " in out
