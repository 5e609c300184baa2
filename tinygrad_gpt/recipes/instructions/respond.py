"""Let a model respond to instructions, alone or in a conversation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tinygrad_gpt.data.instructions import Instruction
from tinygrad_gpt.data.prompt_styles import Style
from tinygrad_gpt.recipes.generate import Completion, GenerateConfig, Piece, generate, stream
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["conversation_prompt", "respond", "responses", "settled_style", "style_name", "trimmed"]


def style_name(saved: SavedModel) -> str | None:
    """The prompt style that a model was tuned with; None if it was not tuned on instructions."""
    return saved.provenance.get("config", {}).get("style")


def settled_style(saved: SavedModel, style: str | None) -> str:
    """The style to speak with a model: what was asked for, else what it was tuned with, else alpaca."""
    return style or style_name(saved) or "alpaca"


def conversation_prompt(saved: SavedModel, style: Style, requests: Sequence[str], responses: Sequence[str],
                        room: int) -> tuple[str, int]:
    """The prompt of a conversation, of which the oldest turns are left out until the model can read and answer it.

    Args:
        requests, responses: as in `Style.prompt`.
        room: tokens to keep free for the response.

    Returns:
        The prompt and the number of turns that were left out; the last request always stays.
    """
    for dropped in range(len(requests)):
        prompt = style.prompt(requests[dropped:], responses[dropped:])
        if len(saved.tokenizer.encode(prompt)) + room <= saved.n_ctx:
            return prompt, dropped
    return style.prompt(requests[-1:]), len(requests) - 1


def respond(saved: SavedModel, prompt: str, style: Style, config: GenerateConfig) -> Iterator[Piece]:
    """The response to one prompt, piece by piece; the style says where it ends."""
    return stream(saved, [prompt], _ended(style, config))


def trimmed(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """The pieces of one response without the white space around it."""
    held, started = "", False
    for piece in pieces:
        text = held + piece.text
        text = text if started else text.lstrip()
        shown = text.rstrip()
        held = text[len(shown):]
        started = started or bool(shown)
        yield replace(piece, text=shown)


def responses(saved: SavedModel, entries: Sequence[Instruction], style: Style, config: GenerateConfig,
              ) -> list[Completion]:
    """The response to each entry; white space around it is no part of it."""
    prompts = [style.prompt([style.request(entry.instruction, entry.input)]) for entry in entries]
    return generate(saved, prompts, _ended(style, config))


def _ended(style: Style, config: GenerateConfig) -> GenerateConfig:
    return replace(config, stop=style.stop)
