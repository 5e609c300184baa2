"""What the worker computes for a request, in steps, as the answers that are sent."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from tinygrad_gpt.data.prompt_styles import find_style
from tinygrad_gpt.recipes.classification.attribution import attribute
from tinygrad_gpt.recipes.classification.classify import Prediction
from tinygrad_gpt.recipes.generate import GenerateConfig, Piece, stream
from tinygrad_gpt.recipes.instructions.respond import conversation_prompt, respond, settled_style, trimmed
from tinygrad_gpt.runs.saved_model import SavedModel
from tinygrad_gpt.serve.bodies import Answer, Chat, Explanation, Generate, Word, Written

__all__ = ["answer", "continuation", "explanations", "reply"]


def answer(predicted: Prediction, explanation: Explanation | None = None) -> Answer:
    """The answer for one text."""
    assert predicted.probability is not None  # no text of a request is empty
    return Answer(label=predicted.label, probability=predicted.probability, probabilities=predicted.probabilities,
                  unsure=bool(predicted.unsure), tokens=predicted.tokens, truncated=predicted.truncated,
                  explanation=explanation)


def explanations(saved: SavedModel, predicted: Sequence[Prediction]) -> Iterator[Explanation]:
    """Which words moved each label, by integrated gradients."""
    for one in predicted:
        found = attribute(saved, one.text, one.label)
        yield Explanation(score=found.score, neutral=found.neutral,
                          words=[Word(text=word.text, weight=word.integrated) for word in found.words])


def continuation(saved: SavedModel, name: str, body: Generate) -> Iterator[Written]:
    """What a model writes behind a prompt, piece by piece."""
    config = replace(_config(body), stop=tuple(body.stop))
    yield from _written(stream(saved, [body.prompt], config), name)


def reply(saved: SavedModel, name: str, body: Chat) -> Iterator[Written]:
    """What a model answers in a conversation, piece by piece; the oldest turns are left out until it fits."""
    style, config = find_style(settled_style(saved, body.style)), _config(body)
    said = [message.content for message in body.messages]
    room = min(config.max_new_tokens, saved.n_ctx // 2)  # a longer response goes on over the beginning
    prompt, forgotten = conversation_prompt(saved, style, said[::2], said[1::2], room)
    yield from _written(trimmed(respond(saved, prompt, style, config)), name, forgotten)


def _config(body: Generate | Chat) -> GenerateConfig:
    return GenerateConfig(max_new_tokens=body.max_new_tokens, temperature=body.temperature, top_k=body.top_k,
                          top_p=body.top_p, min_p=body.min_p, repetition_penalty=body.repetition_penalty,
                          seed=body.seed)


def _written(pieces: Iterable[Piece], name: str, forgotten: int | None = None) -> Iterator[Written]:
    for piece in pieces:
        if (whole := piece.completion) is None:
            yield Written(text=piece.text)
        else:
            yield Written(text=piece.text, model=name, tokens=len(whole.ids), stopped_by=whole.stopped_by,
                          truncated=whole.truncated, forgotten=forgotten)
