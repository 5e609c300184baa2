"""A small language model and a run that tunes it on instructions."""

import pytest
import tiny

from tinygrad_gpt.cli import main
from tinygrad_gpt.runs.saved_model import save_model


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The path of a language model that reads 96 tokens."""
    path = tmp_path_factory.mktemp("base") / "base.h5"
    save_model(path, tiny.language_model(n_ctx=96))
    return str(path)


@pytest.fixture(scope="session")
def tasks(tmp_path_factory):
    """The path of 20 instructions, each with two responses to prefer one of."""
    return str(tiny.instruction_file(tmp_path_factory.mktemp("tasks") / "tasks.json", chosen="Gladly: ski",
                                     rejected="No"))


def tuning(tasks, base, out):
    return ["finetune", "instructions", "--data", tasks, "--base", base, "--style", "phi3", "--epochs", "1",
            "--out", str(out), "--samples", "1"]


@pytest.fixture
def args(tasks, base, tmp_path):
    """Arguments of a run that trains for one epoch in the folder `run`."""
    return tuning(tasks, base, tmp_path / "run")


@pytest.fixture(scope="session")
def tuned(tasks, base, tmp_path_factory):
    """The folder of a model that was tuned on instructions."""
    out = tmp_path_factory.mktemp("tuned") / "run"
    assert main([*tuning(tasks, base, out), "--train", "lora"]) == 0
    return str(out)
