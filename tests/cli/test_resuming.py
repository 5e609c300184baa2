"""What commands share whose run can be stopped and resumed."""

from pathlib import Path

import click
import pytest

from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.cli.resuming import _resume_command, given_settings, require


@click.command("train")
@click.option("--lr", type=float, default=0.1)
@click.option("--out")
@click.pass_context
def train(ctx, lr, out):
    return ctx


def context(*args):
    return train.main(list(args), "cli.py train", standalone_mode=False)


def test_settings_that_were_typed():
    assert given_settings(context("--lr", "0.1"), {"lr": 0.1, "out": None}) == {"lr": 0.1}
    assert given_settings(context(), {"lr": 0.1, "out": None}) == {}


@pytest.mark.parametrize("value", [None, ()])
def test_what_is_missing_is_named(value):
    require(context(), out=Path("run"))
    with pytest.raises(click.MissingParameter) as info:
        require(context(), lr=0.1, out=value)
    assert info.value.param.name == "out"


def test_the_command_to_go_on_has_what_is_not_the_runs_own():
    ctx = context()
    ctx.obj = Settings()
    assert _resume_command(ctx, Path("a run")) == "cli.py train --resume --out 'a run'"
    ctx.obj = Settings(backend="cupy", threads=2, ops="plain", attention="cudnn")
    assert _resume_command(ctx, Path("run")) == (
        "cli.py train --resume --out run --backend cupy --threads 2 --ops plain --attention cudnn")
