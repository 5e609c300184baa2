"""`derivatives`: the table of all gradients, as a page or for the blackboard."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo
from tinygrad_gpt.errors import TinygradError, UsageError

__all__ = ["command"]


@click.command(name="derivatives")
@click.argument("names", metavar="[OP]...", nargs=-1)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="Page to write.  [default: docs/derivatives.md of the checkout]")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the page is stale.")
@common_options
def command(names: tuple[str, ...], output: Path | None, check: bool) -> None:
    """Show the derivative of every op.

    Without names the page docs/derivatives.md is written; with names those ops are shown here, with their code.
    """
    from tinygrad_gpt.study.derivatives import lecture, page
    from tinygrad_gpt.study.show import select_ops

    if names:
        if output or check:
            raise UsageError("derivatives (OP): --output and --check are for the whole page; name no op")
        echo("\n\n\n".join(lecture(op) for op in select_ops(names)))
        return
    path, text = output or _page_of_checkout(), page()
    if not check:
        from tinygrad_gpt.files import write_atomic

        write_atomic(path, text.encode())
        echo(f"wrote {path}")
    elif path.read_text(encoding="utf-8") != text:
        raise TinygradError(f"stale page ({path}): the docstrings of the ops say something else; "
                            "run `python cli.py derivatives`")
    else:
        echo(f"{path} is up to date")


def _page_of_checkout() -> Path:
    folder = Path(__file__).resolve().parents[3] / "docs"
    if not folder.is_dir():
        raise UsageError(f"derivatives ({folder}): no such folder, this is not a checkout; name a page with --output")
    path = folder / "derivatives.md"
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
