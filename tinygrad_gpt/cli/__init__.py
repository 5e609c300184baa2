"""The command line: a table of commands and `main`, which runs one and turns every failure into one line."""

from tinygrad_gpt.cli.starting import ignore_stops_at_exit, stops_at_once

with stops_at_once():  # before anything else is imported, which takes most of the time until `main`
    import sys
    from collections.abc import Sequence
    from functools import partial

    import click

    from tinygrad_gpt import __version__
    from tinygrad_gpt.cli.failures import accept_any_character, exit_code, report, stops_raise, warnings_wait
    from tinygrad_gpt.cli.lazy import LazyGroup
    from tinygrad_gpt.cli.options import Settings, settings_options
    from tinygrad_gpt.cli.ranks import Ranks

__all__ = ["COMMANDS", "group", "main"]

COMMANDS = {
    "classify": ("tinygrad_gpt.cli.commands.classify", "Say which class a text belongs to, and why."),
    "evaluate": ("tinygrad_gpt.cli.commands.evaluate", "Measure a finetuned model."),
    "finetune": ("tinygrad_gpt.cli.commands.finetune", "Train a pretrained model for a task."),
    "experiments": ("tinygrad_gpt.cli.commands.experiments", "Repeat the book author's experiments on finetuning."),
    "book": ("tinygrad_gpt.cli.commands.book", "Compare a model with what the book prints of OpenAI's weights."),
    "respond": ("tinygrad_gpt.cli.commands.respond", "Answer an instruction."),
    "chat": ("tinygrad_gpt.cli.commands.chat", "Talk with a model, a line at a time."),
    "generate": ("tinygrad_gpt.cli.commands.generate", "Continue a text."),
    "fill": ("tinygrad_gpt.cli.commands.fill", "Say which words may stand at [MASK] in a text."),
    "serve": ("tinygrad_gpt.cli.commands.serve", "Classify, generate and chat in the browser, and by a JSON API."),
    "perplexity": ("tinygrad_gpt.cli.commands.perplexity", "Measure how well a language model predicts a text."),
    "pretrain": ("tinygrad_gpt.cli.commands.pretrain", "Train a language model on plain text."),
    "download": ("tinygrad_gpt.cli.commands.download", "Fetch a published model: GPT-2 or MiniLM."),
    "average": ("tinygrad_gpt.cli.commands.average", "Average the weights of several finetuned models."),
    "export": ("tinygrad_gpt.cli.commands.export", "Write a model as Hugging Face's transformers reads it."),
    "info": ("tinygrad_gpt.cli.commands.info", "Show a model's sizes, parameters, memory and FLOPs."),
    "gradcheck": ("tinygrad_gpt.cli.commands.gradcheck", "Compare gradients with central differences."),
    "derivatives": ("tinygrad_gpt.cli.commands.derivatives", "Show the derivative of every op."),
    "explain": ("tinygrad_gpt.cli.commands.explain", "Say why one number of a gradient is what it is."),
    "compare": ("tinygrad_gpt.cli.commands.compare", "Find the first step at which two runs differ."),
    "course": ("tinygrad_gpt.cli.commands.course", "Write the gradients of GPT-2 yourself, graded at once."),
    "tape": ("tinygrad_gpt.cli.commands.tape", "Show what one training step records."),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(version)s")
@settings_options
def group() -> None:
    """Every gradient of GPT-2: classify texts, train models, and look at the derivatives."""


def main(args: Sequence[str] | None = None, *, program: str = "tinygrad-gpt") -> int:
    """Run one command.

    Args:
        args: What follows the program's name; the process's own arguments by default.
        program: How the user started us, so that the hints in errors and help can be pasted.
    Returns:
        The exit code: 0 ok, 1 expected failure, 2 usage, 3 non-finite numbers, 4 out of memory or disk,
        70 a bug, 129 SIGHUP, 130 SIGINT, 143 SIGTERM.
    """
    ignore_stops_at_exit()
    return run(group, sys.argv[1:] if args is None else args, program=program)


def run(command: click.Command, args: Sequence[str], *, program: str = "tinygrad-gpt") -> int:
    """Run `command` under the contract of `main`."""
    settings = Settings()
    accept_any_character()
    with stops_raise() as stops, Ranks() as ranks:
        try:
            ranks.meet()
            with warnings_wait():
                code = _invoke(command, args, program, settings)
                stops.raise_dropped()
                if sys.stdout is not None:
                    sys.stdout.flush()  # here, so that a full disk or a closed pipe is reported like any failure
            stops.over = True
        except BaseException as error:  # signals too: the program ends in one place
            stops.over = True
            error = stops.cause(error)
            return ranks.end(exit_code(error), error, partial(report, debug=settings.debug))
        return ranks.end(code)


def _invoke(command: click.Command, args: Sequence[str], program: str, settings: Settings) -> int:
    """click's `main(standalone_mode=False)` without the empty line it prints on Ctrl-C."""
    try:
        with command.make_context(program, list(args), obj=settings) as context:
            command.invoke(context)
        return 0
    except click.exceptions.Exit as stop:  # --help, --version, ctx.exit(n)
        return stop.exit_code
