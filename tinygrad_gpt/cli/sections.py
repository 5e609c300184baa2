"""Commands whose options `--help` shows under headings."""

import functools
from collections.abc import Callable
from typing import Any

import click

from tinygrad_gpt.cli.options import remember

__all__ = ["SectionedCommand", "attention_option", "precision_option", "section", "shard_option"]


class SectionedOption(click.Option):
    """An option under a heading.

    Args:
        section: the heading.
    """

    def __init__(self, *args: Any, section: str, **settings: Any):
        super().__init__(*args, **settings)
        self.section = section


def section(title: str) -> Callable[..., Any]:
    """`click.option`, under a heading of the help."""
    return functools.partial(click.option, cls=SectionedOption, section=title, show_default=True)


def precision_option(option: Callable[..., Any]) -> Any:
    """`--precision`, made by what `section` returned."""
    return option("--precision", type=click.Choice(["float32", "tf32", "bfloat16", "float16"]), default="float32",
                  help="Precision of the layers' arithmetic; weights and optimiser stay float32. Values other than "
                       "float32 are for GPUs.")


def attention_option(option: Callable[..., Any]) -> Any:
    """`--attention`, made by what `section` returned; like the backend it is no setting of a run."""
    return option("--attention", type=click.Choice(["own", "cudnn", "auto"]), default="own", expose_value=False,
                  callback=remember, help="Attention in bfloat16 and float16 on a GPU: this package's kernels, or "
                  "cuDNN's where it has them; auto is own.")


def shard_option(option: Callable[..., Any]) -> Any:
    """`--shard-optimizer`, made by what `section` returned; it changes no result and is no setting of a run."""
    return option("--shard-optimizer", is_flag=True, expose_value=False, callback=remember,
                  help="Spread AdamW's moments over the processes that mpiexec started (ZeRO stage 1).")


class SectionedCommand(click.Command):
    """A command whose help lists its options by heading, in the order in which they were defined; the others last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(getattr(param, "section", ""), []).append(record)
        others = sections.pop("", [])
        for title, records in [*sections.items(), ("Other options", others)]:
            with formatter.section(title):
                formatter.write_dl(records)
