"""`chat`: a conversation on standard input."""

import sys
from collections.abc import Iterator
from typing import Any

import click

from tinygrad_gpt.cli.commands.respond import answering_options, load, spoken
from tinygrad_gpt.cli.idle import DRAWING, note_idle
from tinygrad_gpt.cli.options import common_options
from tinygrad_gpt.cli.show import note
from tinygrad_gpt.errors import UsageError

__all__ = ["command"]


@click.command(name="chat")
@answering_options
@common_options
def command(model: str | None, style: str | None, **sampling: Any) -> None:
    """Talk with a model, a line at a time.

    The model reads the whole conversation, as far as it fits its context; the oldest turns are forgotten first.
    """
    if sys.stdin is None:
        raise UsageError("cannot chat (standard input): it is closed; use `respond` instead")
    from tinygrad_gpt.recipes.generate import GenerateConfig
    from tinygrad_gpt.recipes.instructions.respond import conversation_prompt, respond

    config = GenerateConfig(**sampling)
    saved, marks = load(model, style)
    note_idle(click.get_current_context(), DRAWING)
    room = min(config.max_new_tokens, saved.n_ctx // 2)  # a longer response goes on over the beginning
    note(f"the model reads {saved.n_ctx:,} tokens of the conversation, {room:,} of which are kept for "
         "the next response; the end of input (Ctrl-D) ends it")
    requests: list[str] = []
    responses: list[str] = []
    forgotten = 0
    for line in _lines():
        requests.append(line)
        prompt, dropped = conversation_prompt(saved, marks, requests, responses, room)
        if dropped > forgotten:
            forgotten = dropped
            note(f"turns that no longer fit and are forgotten: {forgotten:,}")
        completion = spoken(respond(saved, prompt, marks, config))
        if completion.truncated:
            note("the message is longer than the model reads; its beginning was not read")
        responses.append(completion.text.strip())


def _lines() -> Iterator[str]:
    """The lines that say something; a terminal shows where to write."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()
