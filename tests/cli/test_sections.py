"""Options under headings in the help of a command."""

import re

import click
import pytest

from tinygrad_gpt.cli.sections import SectionedCommand, precision_option, section


@click.command(cls=SectionedCommand)
@section("Training")("--steps", type=int, default=3, help="How many.")
@section("Data")("--file", help="Which one.")
@precision_option(section("Training"))
@click.option("--debug", is_flag=True, help="Say more.")
def command(steps, file, precision, debug):
    return steps, file, precision, debug


def test_headings_come_in_the_order_of_the_options_and_the_rest_last():
    text = command.get_help(click.Context(command, info_name="run"))
    found = re.findall(r"^(?:  (?=--))?(--\w+|\w.*:$)", text, re.MULTILINE)
    assert found == ["Training:", "--steps", "--precision", "Data:", "--file", "Other options:", "--debug", "--help"]
    assert "[default: 3]" in text


def test_headings_change_nothing_in_what_is_read():
    assert command.main(["--file", "a"], standalone_mode=False) == (3, "a", "float32", False)
    assert command.main(["--precision", "tf32", "--steps", "4"], standalone_mode=False) == (4, None, "tf32", False)


def test_a_precision_that_is_not_there_is_refused():
    with pytest.raises(click.BadParameter, match="'float8' is not one of 'float32', 'tf32', 'bfloat16', 'float16'"):
        command.main(["--precision", "float8"], standalone_mode=False)
