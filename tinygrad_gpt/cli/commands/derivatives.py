"""`derivatives`: the table of all gradients, as a page or for the blackboard."""

from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo
from tinygrad_gpt.errors import TinygradError, UsageError

__all__ = ["command"]


@click.command(name="derivatives")
@click.argument("names", metavar="[OP]...", nargs=-1)
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE",
              help="The table alone, to another file.  [default: both pages of the checkout]")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if a page is stale.")
@common_options
def command(names: tuple[str, ...], output: Path | None, check: bool) -> None:
    """Show the derivative of every op.

    Without names two pages are written: the table of all ops, docs/derivatives.md, and every gradient of GPT-2 as
    code, docs/gradients.md; with --output only the table. With names those ops are shown here, with their code.
    """
    from tinygrad_gpt.study.blackboard import blackboard
    from tinygrad_gpt.study.derivatives import lecture, page
    from tinygrad_gpt.study.show import select_ops

    if names:
        if output or check:
            raise UsageError("derivatives (OP): --output and --check are for the whole page; name no op")
        echo("\n\n\n".join(lecture(op) for op in select_ops(names)))
        return
    if output:
        pages = {output: page()}
    else:
        docs = _folder_of_checkout()
        pages = {docs / "derivatives.md": page(), docs / "gradients.md": blackboard()}
    for path, text in pages.items():
        _check(path, text) if check else _write(path, text)


def _write(path: Path, text: str) -> None:
    from tinygrad_gpt.files import write_atomic

    write_atomic(path, text.encode())
    echo(f"wrote {path}")


def _check(path: Path, text: str) -> None:
    if path.read_text(encoding="utf-8") != text:
        raise TinygradError(f"stale page ({path}): the ops say something else; run `python cli.py derivatives`")
    echo(f"{path} is up to date")


def _folder_of_checkout() -> Path:
    folder = Path(__file__).resolve().parents[3] / "docs"
    if not folder.is_dir():
        raise UsageError(f"derivatives ({folder}): no such folder, this is not a checkout; name a page with --output")
    return folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
