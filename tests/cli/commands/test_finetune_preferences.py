"""`finetune preferences`, on a model that was tuned on instructions."""

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import load_model


def test_a_run_begins_with_equal_models_and_keeps_the_style_of_its_base(tasks, tuned, tmp_path, capsys):
    assert main(["finetune", "preferences", "--data", tasks, "--base", tuned, "--samples", "0", "--out",
                 str(tmp_path / "dpo")]) == 0
    assert load_model(tmp_path / "dpo").provenance["config"]["style"] == "phi3"
    assert "training loss: 0.6931 before, " in capsys.readouterr().out  # ln 2
