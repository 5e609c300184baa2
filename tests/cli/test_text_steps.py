"""What the commands share that look at one step of a model on a text."""

import pytest

from tinygrad_gpt.cli.text_steps import asked_step
from tinygrad_gpt.errors import UsageError


def test_the_shipped_base_reads_a_text_by_default(capsys):
    step = asked_step(None, "Once upon a time", None)
    assert step.targets[-1] == " time"
    assert capsys.readouterr().err == ""


def test_a_note_says_what_was_left_out(capsys):
    step = asked_step(None, "word " * 600, None)
    assert len(step.tokens) == 512
    left_out = step.left_out
    assert capsys.readouterr().err == (f"the text is longer than the 512 tokens that the model reads; the last "
                                       f"{left_out} were left out\n")


@pytest.mark.parametrize(("arguments", "given"), [(("storyteller", None, None), "--model"), ((None, None, "spam"),
                                                  "--label"), ((None, None, None), "arguments")])
def test_a_step_needs_a_text(arguments, given):
    with pytest.raises(UsageError, match=rf"^{given} \(arguments\): there is no text to read; give --text$"):
        asked_step(*arguments)
