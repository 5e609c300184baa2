"""`download`: a published model, checked, in a folder of the user's."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from tinygrad_gpt.cli.options import common_options, echo
from tinygrad_gpt.cli.show import note

__all__ = ["command"]


@click.command(name="download")
@click.argument("name", metavar="MODEL", type=click.Choice(["gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "minilm"]))
@click.option("--from", "source", metavar="URL|DIR",
              help="The folder that holds model.safetensors and the vocabulary, here or on a server.  "
                   "[default: huggingface.co]")
@click.option("--to", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Where the files shall go.  [default: your cache folder, or TINYGRAD_GPT_CACHE]")
@common_options
@click.pass_context
def command(ctx: click.Context, name: str, source: str | None, folder: Path | None) -> None:
    """Fetch a published model: GPT-2 or MiniLM.

    MODEL is gpt2 (0.5 GB), gpt2-medium (1.5 GB), gpt2-large (3.2 GB), gpt2-xl (6.4 GB), or minilm (91 MB), a BERT of
    six blocks for classifiers. Every file is checked against its known sha256. If the download is stopped, the same
    command goes on where it was.
    """
    from tinygrad_gpt.checkpoints.download import download

    with _progress() as report:
        written = download(name, source=source, folder=folder, report=report)
    use = "finetune classifier --base {} --data FILE --out DIR" if name == "minilm" else "generate --model {} TEXT"
    echo(f"{name} is in {written}\n"
         f"Use it: {ctx.find_root().info_name} {use.format(name if folder is None else folder)}")


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows how far each file is: a bar on a terminal, else a line for each whole file."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda file, done, total: note(f"{file}: {total:,} bytes") if done == total else None
        return
    from tqdm import tqdm

    with tqdm(unit="B", unit_scale=True, file=sys.stderr, dynamic_ncols=True) as bar:

        def report(file: str, done: int, total: int) -> None:
            if bar.desc != f"{file}: " or done < bar.n:  # the next file, or the same from its start again
                bar.set_description(file, refresh=False)
                bar.reset(total)
                bar.initial = bar.n = done  # a part that was here already has no speed
            bar.update(done - bar.n)

        yield report
