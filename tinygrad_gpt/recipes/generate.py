"""Let a saved model continue texts."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.generate.decode import Drawn, decode
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.runs.saved_model import SavedModel

__all__ = ["Completion", "GenerateConfig", "Piece", "completions", "generate", "stream"]

BATCH = 16  # texts that are computed together


@dataclass(frozen=True)
class GenerateConfig(Sampling):
    """How much to write, and how; the first six fields are those of `Sampling`, with other defaults.

    Args:
        temperature, top_k, top_p, min_p, repetition_penalty, seed: how a token is chosen.
        max_new_tokens: the longest continuation.
        stop: a continuation ends before the first of these strings.
        n_samples: continuations of each prompt.
        allow_special: whether special tokens in a prompt, such as `<|endoftext|>`, are read as tokens, not as text.

    Raises:
        UsageError: "max_new_tokens is 0, expected 1 or above", and as `Sampling`.
    """

    temperature: float = 0.8
    top_p: float | None = 0.95
    max_new_tokens: int = 200
    stop: tuple[str, ...] = ()
    n_samples: int = 1
    allow_special: bool = False

    def __post_init__(self):
        super().__post_init__()
        for name in ("max_new_tokens", "n_samples"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, expected 1 or above")
        if "" in self.stop:
            raise UsageError("stop has an empty string, which is found everywhere; expected strings with characters")
        if self.temperature == 0 and self.n_samples > 1:
            raise UsageError(f"n_samples is {self.n_samples}, but at temperature 0 all would be the same; "
                             "expected 1, or a temperature above 0")


@dataclass(frozen=True)
class Completion:
    """What the model wrote behind a prompt.

    Args:
        prompt: as given.
        text: the continuation alone, without the stop string.
        ids: every token that was drawn, also the end-of-text token and those of a stop string.
        logprobs: natural log-probability of each under the model itself, before penalty, temperature and filters.
        stopped_by: "end of text", "stop string" or "max_new_tokens".
        sample: number of the continuation among those of its prompt, from 0.
        truncated: whether the prompt was longer than the model's context, so that its beginning was not read.
    """

    prompt: str
    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped_by: str
    sample: int
    truncated: bool


@dataclass(frozen=True)
class Piece:
    """News of one continuation.

    Args:
        index: which one: prompt · n_samples + sample.
        text: characters to add to it; never a part of a stop string or of a character.
        completion: the whole of it, when it has ended.
    """

    index: int
    text: str
    completion: Completion | None


def generate(saved: SavedModel, prompts: Sequence[str], config: GenerateConfig) -> list[Completion]:
    """Continue each prompt ``config.n_samples`` times; the samples of a prompt are neighbours.

    What is drawn depends on seed, number of the sample and model, not on the other prompts, except for rounding.

    Args:
        saved: a language model, or a classifier, whose language model is used.
        prompts: texts; an empty one starts from the end-of-text token, as a document does.
        config: how.

    Raises:
        NonFiniteError: "logits are not numbers (prompt 1, token 5): …".
    """
    return list(completions(stream(saved, prompts, config)))


def stream(saved: SavedModel, prompts: Sequence[str], config: GenerateConfig) -> Iterator[Piece]:
    """The same, piece by piece as it is written; continuations that are written together take turns."""
    together = max(1, BATCH // config.n_samples)
    for start in range(0, len(prompts), together):
        for piece in _stream_batch(saved, prompts[start:start + together], config):
            yield Piece(start * config.n_samples + piece.index, piece.text, piece.completion)


def completions(pieces: Iterable[Piece]) -> Iterator[Completion]:
    """What `stream` completes, in the order of the prompts and their samples, each as early as that allows."""
    ended: dict[int, Completion] = {}
    following = 0
    for piece in pieces:
        if piece.completion is not None:
            ended[piece.index] = piece.completion
        while following in ended:
            yield ended.pop(following)
            following += 1


def _stream_batch(saved, prompts, config):
    tokenizer, n = saved.tokenizer, config.n_samples
    start, allowed = tokenizer.layout.start_id, "all" if config.allow_special else ()
    prompt_ids = [[*([] if start is None else [start]), *tokenizer.encode(prompt, allowed)] or [tokenizer.eot_id]
                  for prompt in prompts]
    tokens: list[list[Drawn]] = [[] for _ in range(len(prompts) * n)]
    for drawn in decode(saved.transformer, tokenizer, prompt_ids, config, max_new_tokens=config.max_new_tokens,
                        stop=config.stop, n_samples=n):
        tokens[drawn.index].append(drawn)
        completion = None
        if drawn.stopped_by is not None:
            prompt, sample = divmod(drawn.index, n)
            completion = Completion(
                prompts[prompt], "".join(token.text for token in tokens[drawn.index]),
                tuple(token.id for token in tokens[drawn.index]), tuple(token.logprob for token in tokens[drawn.index]),
                drawn.stopped_by, sample, truncated=len(prompt_ids[prompt]) > saved.n_ctx)
        yield Piece(drawn.index, drawn.text, completion)
