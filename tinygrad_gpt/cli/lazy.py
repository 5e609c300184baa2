"""A click group that imports a command only when it is run."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

__all__ = ["LazyGroup"]


class LazyGroup(click.Group):
    """A group read from a table, so that `--help` imports no command.

    Args:
        table: Name of the command -> (module that holds it as `command`, its help in one line).
        default: The command to run where none is named.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], default: str | None = None, **settings: Any):
        super().__init__(*args, **settings)
        self.table, self.default = table, default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if self.default and (not args or args[0] not in (*self.table, *ctx.help_option_names)):
            args = [self.default, *args]
        return super().parse_args(ctx, args or ["--help"])

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        return import_module(self.table[cmd_name][0]).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.table.items()])
