"""`finetune reward`, on a model that was tuned on instructions."""

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model


def test_a_run_says_how_many_answers_are_right(tasks, tuned, tmp_path, capsys):
    out = tmp_path / "reward"
    assert main(["finetune", "reward", "--data", tasks, "--base", tuned, "--samples", "0", "--group", "2",
                 "--max-new-tokens", "3", "--out", str(out)]) == 0
    assert "validation right: " in capsys.readouterr().out
    provenance = load_model(out).provenance
    assert provenance["recipe"] == "finetune reward"
    assert provenance["config"]["style"] == "phi3"
    assert set(provenance["after"]) == {"training_loss", "training_right", "validation_loss", "validation_right"}
