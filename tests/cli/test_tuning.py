"""What `finetune instructions` and `finetune preferences` share: their options."""

import dataclasses

import pytest

from tinygrad_gpt.cli.commands import finetune_instructions, finetune_preferences
from tinygrad_gpt.cli.options import Settings
from tinygrad_gpt.recipes.instructions.config import CHOICES
from tinygrad_gpt.recipes.instructions.instruct import INSTRUCT_CHOICES, InstructConfig
from tinygrad_gpt.recipes.instructions.preferences import PREFERENCE_CHOICES, PreferenceConfig


@pytest.mark.parametrize(("command", "kind", "choices"), [
    (finetune_instructions.command, InstructConfig, CHOICES | INSTRUCT_CHOICES),
    (finetune_preferences.command, PreferenceConfig, CHOICES | PREFERENCE_CHOICES)])
def test_every_field_of_the_config_is_an_option_with_its_default(command, kind, choices):
    others = {field.name for field in dataclasses.fields(Settings)} | {"out", "resume", "show_mask"}
    options = {param.name: param for param in command.params if param.name not in others}
    fields = {field.name: field for field in dataclasses.fields(kind)}
    assert set(options) == set(fields)
    for name, field in fields.items():
        if field.default is not dataclasses.MISSING:
            assert options[name].to_info_dict()["default"] == field.default, name
    for name, values in choices.items():
        assert tuple(options[name].type.choices) == values, name
