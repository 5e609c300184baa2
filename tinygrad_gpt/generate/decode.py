"""The loop of generation: choose a token for each text, read it, and stop where a text ends."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.generate.reader import Reader
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.generate.text_stream import TextStream
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.text import Tokenizer

__all__ = ["Drawn", "decode"]


@dataclass(frozen=True)
class Drawn:
    """One token of one text.

    Args:
        index: number of the text: prompt · n_samples + sample.
        id: the token.
        logprob: its natural log-probability under the model itself, before penalty, temperature and filters.
        text: the characters that are certain now, often one word, sometimes none.
        stopped_by: None, or why this is the text's last token: "end of text", "stop string", "max_new_tokens".
    """

    index: int
    id: int
    logprob: float
    text: str
    stopped_by: str | None


class _Text:
    """A text in the making."""

    def __init__(self, index: int, sample: int, prompt: Sequence[int], stream: TextStream):
        self.index, self.sample, self.stream = index, sample, stream
        self.seen = set(prompt)


def decode(model: GPT2, tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], sampling: Sampling, *,
           max_new_tokens: int, stop: Sequence[str] = (), n_samples: int = 1) -> Iterator[Drawn]:
    """Continue each prompt until the end-of-text token, a stop string, or the largest number of tokens.

    All texts are computed together, one token each a turn; those that have ended are left out. A prompt is read
    once for all its samples, and what all prompts begin with once for all of them. Beyond the model's context the rule
    of `Reader` holds.

    Args:
        model: a GPT2.
        tokenizer: its vocabulary; ids that the model has beyond it are never drawn.
        prompts: ids of each prompt, none empty.
        sampling: how tokens are chosen.
        max_new_tokens: 1 or more.
        stop: strings before which a text ends, none empty.
        n_samples: texts for each prompt.

    Raises:
        NonFiniteError: "logits are not numbers (prompt 1, token 5): …".
    """
    reader = Reader(model, prompts, max_new_tokens)
    reader.repeat(n_samples)
    texts = [_Text(i * n_samples + sample, sample, prompt, TextStream(tokenizer, stop))
             for i, prompt in enumerate(prompts) for sample in range(n_samples)]
    for step in range(max_new_tokens):
        drawn = []
        for text, logits in zip(texts, reader.logits[:, :tokenizer.vocab_size], strict=True):
            if not np.isfinite(logits).all():
                raise NonFiniteError(f"logits are not numbers (prompt {text.index // n_samples + 1}, token "
                                     f"{step + 1}): the model's weights overflow; use another model")
            id = sampling.choose(logits, text.seen, text.sample, step)
            drawn.append(_finish(text, id, log_probability(logits, id), tokenizer, step + 1 == max_new_tokens))
            text.seen.add(id)
        yield from drawn
        going = np.array([row for row, token in enumerate(drawn) if token.stopped_by is None], np.int64)
        if not len(going):
            return
        texts = [texts[row] for row in going]
        reader.keep(going)
        reader.append([drawn[row].id for row in going])


def _finish(text: _Text, id: int, logprob: float, tokenizer: Tokenizer, is_last: bool) -> Drawn:
    """What the token adds to the text, and whether it ends there."""
    if id in tokenizer.end_ids:
        return Drawn(text.index, id, logprob, text.stream.finish(), "end of text")
    piece = text.stream.push(id)
    if text.stream.stopped:
        return Drawn(text.index, id, logprob, piece, "stop string")
    if is_last:
        return Drawn(text.index, id, logprob, piece + text.stream.finish(), "max_new_tokens")
    return Drawn(text.index, id, logprob, piece, None)


def log_probability(logits: np.ndarray, id: int) -> float:
    """Natural logarithm of softmax(logits)[id], in float64."""
    shifted = logits.astype(np.float64) - logits.max()
    return float(shifted[id] - np.log(np.exp(shifted).sum()))
