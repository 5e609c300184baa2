"""What the book prints of GPT-2 with OpenAI's weights, computed with a model at hand.

Source: S. Raschka, *Build a Large Language Model (From Scratch)*, sections 5.5, 6.4 and 6.5.
"""

from dataclasses import dataclass

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.engine import no_grad
from tinygrad_gpt.models.gpt2 import GPT2
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.text import Characters, Tokenizer

__all__ = ["Printed", "as_printed"]

PROMPT, CLASSIFIED = "Every effort moves you", "Do you have time"
GREEDY = f"{PROMPT} forward.\n\nThe first step is to understand the importance of your work"
DRAWN = (f"{PROMPT} toward finding an ideal new way to practice something!\n\n"
         "What makes us want to be on top of that?")
SCORES = "-1.5854 0.9904\n-3.7235 7.4548\n-2.2661 6.6049\n-3.5983 3.9902"
SEED = 123


@dataclass(frozen=True)
class Printed:
    """A text or table.

    Args:
        title: what it is.
        ours: computed with the model at hand.
        book: what the book prints for GPT-2 with 124 million parameters.
    """

    title: str
    ours: str
    book: str

    @property
    def same(self) -> bool:
        """Whether the two agree in every character."""
        return self.ours == self.book


def as_printed(model: GPT2, tokenizer: Tokenizer | Characters) -> list[Printed]:
    """Two continuations of "Every effort moves you", and the scores of an untrained head at "Do you have time"."""
    with no_grad():
        return [
            Printed("15 most probable tokens", _continued(model, tokenizer, 15), GREEDY),
            Printed(f"25 tokens drawn of the 50 most probable, temperature 1.5, seed {SEED}",
                    _continued(model, tokenizer, 25, top_k=50, temperature=1.5), DRAWN),
            Printed(f"{CLASSIFIED!r}: scores of two classes at each token, from a new head of seed {SEED}",
                    _scores(model, tokenizer), SCORES)]


def _continued(model: GPT2, tokenizer: Tokenizer | Characters, n: int, top_k: int = 1, temperature: float = 1.0) -> str:
    """The prompt and n tokens behind it, drawn as the book's `generate` draws them."""
    ids, stream = tokenizer.encode(PROMPT), TorchStream(SEED)
    for _ in range(n):
        logits = model(np.array([ids[-model.config.n_ctx:]])).numpy()[0, -1]  # (vocab_size)
        kept = logits >= np.sort(logits)[-min(top_k, len(logits))]
        probabilities = ops.softmax(np.where(kept, logits, -np.inf) / np.float32(temperature)).numpy()
        ids.append(int(logits.argmax()) if top_k == 1 else stream.choice(probabilities))
    return tokenizer.decode(ids)


def _scores(model: GPT2, tokenizer: Tokenizer | Characters) -> str:
    ids = np.array([tokenizer.encode(CLASSIFIED)[:model.config.n_ctx]])
    weight, bias = TorchStream(SEED).linear(model.config.n_embd, 2)  # (2, C), (2)
    scores = model.ln_f(model.hidden(ids)).numpy()[0] @ weight.T + bias  # (T, 2)
    return "\n".join(" ".join(f"{score:.4f}" for score in row) for row in scores)
