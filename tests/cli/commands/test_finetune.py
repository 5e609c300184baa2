"""`finetune`: a group of three commands, none of which is meant where none is named."""

import pytest

from tinygrad_gpt.cli import main


@pytest.mark.parametrize("args", [[], ["--help"]])
def test_help_lists_what_can_be_trained(args, capsys):
    assert main(["finetune", *args]) == 0
    out = capsys.readouterr().out
    assert [name for name in ("classifier", "instructions", "preferences") if f"  {name} " in out] == [
        "classifier", "instructions", "preferences"]


def test_a_command_must_be_named(capsys):
    assert main(["finetune", "--data", "tasks.json"]) == 2
    assert "No such option '--data'" in capsys.readouterr().err
