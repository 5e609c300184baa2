"""GPT-2, the language model."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.checkpoints.gpt2_files import read_gpt2, weights_file, write_gpt2
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.engine.mode import current_mode
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, TapeError, UsageError
from tinygrad_gpt.nn import Block, Conv1D, Dropout, Embedding, KVCache, LayerNorm, Module, ModuleList, init
from tinygrad_gpt.nn.precision_casts import to_compute, to_float32
from tinygrad_gpt.nn.recompute import recomputed
from tinygrad_gpt.nn.stack import through, through_cached

__all__ = ["GPT2", "GPT2Config", "place_dropout", "seed_dropout"]


@dataclass(frozen=True)
class GPT2Config:
    """Sizes of a GPT-2; the defaults are the 124M model.

    Args:
        vocab_size: number of token ids.
        n_ctx: longest sequence, in tokens.
        n_embd: width C of the residual stream, a multiple of n_head.
        n_layer, n_head: blocks, and attention heads in each.
        dropout: probability, of the embedding, the attention weights and both residual branches.
        layer_norm_epsilon: added to the variance.
        qkv_bias: whether c_attn has a bias.
        tied_head: whether the head uses the token embedding, as in GPT-2.
    """

    vocab_size: int = 50257
    n_ctx: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-5
    qkv_bias: bool = True
    tied_head: bool = True

    def __post_init__(self):
        for name in ("vocab_size", "n_ctx", "n_embd", "n_layer", "n_head"):
            if getattr(self, name) < 1:
                raise UsageError(f"GPT2Config: {name} is {getattr(self, name)}, expected at least 1")
        if self.n_embd % self.n_head:
            raise UsageError(f"GPT2Config: n_embd is {self.n_embd}, not a multiple of n_head = {self.n_head}")

    def to_dict(self) -> dict:
        """The fields, for a checkpoint."""
        return asdict(self)


class GPT2(Module):
    """The language model of Radford et al. 2019.

    Args:
        config: sizes.
        seed: of the initial values: normal with standard deviation 0.02 (0.01 for positions), residual
            projections divided by √(2 n_layer), biases 0. With None all are 0, for weights that will be loaded.

    With ``recompute`` set to True each block keeps only its input for backward, and is run again there: less memory
    for a second forward pass, the same numbers.
    """

    recompute = False

    def __init__(self, config: GPT2Config, seed: int | None = 0):
        generator = None if seed is None else np.random.default_rng(seed)
        self.config = config
        v, t, c = config.vocab_size, config.n_ctx, config.n_embd
        self.wte = Embedding(v, c, weight=init.normal(generator, v, c))
        self.wpe = Embedding(t, c, weight=init.normal(generator, t, c, std=0.01))
        self.drop = Dropout(config.dropout)
        self.h = ModuleList(
            Block(c, config.n_head, generator, n_layer=config.n_layer, dropout=config.dropout, qkv_bias=config.qkv_bias,
                  eps=config.layer_norm_epsilon) for _ in range(config.n_layer))
        self.ln_f = LayerNorm(c, config.layer_norm_epsilon)
        self.lm_head = None if config.tied_head else Conv1D(c, v, generator, bias=False)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Read a published GPT-2; float32 weights stay in the file, which is mapped, until they are used or changed.

        Args:
            path: as in `checkpoints.gpt2_files.read_gpt2`.

        Returns:
            The model without dropout, ready to answer.

        Raises:
            CheckpointError: as in `read_gpt2`; or a value is not finite.
        """
        config, tensors = read_gpt2(path)
        model = cls(GPT2Config(**config), seed=None)
        with explained(weights_file(path)):
            model.adopt_state_dict(tensors)
        return model.eval()

    def save_pretrained(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, which `transformers` and `from_pretrained` read.

        Raises:
            ResourceError, TinygradError: as in `files.write_atomic`.
        """
        write_gpt2(folder, self.config.to_dict(), self.arrays())

    @property
    def embeddings(self) -> list[Module]:
        """What comes before the first block."""
        return [self.wte, self.wpe]

    @property
    def ends(self) -> list[Module]:
        """What comes behind the last block, without the head."""
        return [self.ln_f]

    def hidden(self, ids, cache: KVCache | None = None, lengths: np.ndarray | None = None) -> Tensor:
        """ids (B, T) -> the residual stream behind the last block, before ln_f, (B, T, C); see `forward`.

        Raises:
            ShapeError: "GPT2: 300 tokens, but the model's context is 256…".
        """
        length = ids.shape[-1]
        if len(ids.shape) != 2 or length > self.config.n_ctx:
            raise ShapeError(f"GPT2: {length} tokens (ids are {ids.shape}), but the model's context is "
                             f"{self.config.n_ctx}; give ids of shape (B, T), truncated to that")
        if cache is None:
            x = self.drop(self.wte(ids) + self.wpe.weight[:length])
            if not self.recompute:
                return through(self.h, x)
            for block in self.h:
                x = recomputed(block, x)
            return x
        if current_mode().recording:
            raise TapeError("GPT2: a pass with a cache is on no tape; use `with no_grad():`")
        chunk = cache.start(length, lengths)
        x = self.drop(self.wte(ids) + self.wpe(chunk.positions))
        x = through_cached(self.h, x, cache, chunk)
        cache.commit(chunk)
        return x

    def forward(self, ids, cache: KVCache | None = None, lengths: np.ndarray | None = None) -> Tensor:
        """The logits of the next token at each position.

        Args:
            ids: (B, T) integers; rows of different length are padded on the right.
            cache: what the model has read before, from `new_cache`; ids continue its rows and are added to it.
            lengths: (B) integers on the host, 0 to T, how many ids of each row are real; None: all. Without a cache
                they change nothing: the attention is causal, so padding on the right reaches no real token.

        Returns:
            (B, T, vocab_size); the values at padding mean nothing.

        Raises:
            ShapeError: more tokens than the context or the cache has room for.
            TapeError: a cache outside `no_grad`.
        """
        return self.head(self.ln_f(self.hidden(ids, cache, lengths)))

    def flops_per_token(self, length: int | None = None) -> int:
        """Floating-point operations of the forward pass for one token; training takes three times as many.

        Args:
            length: of the text that the token is in; None: the context.

        Source: Chowdhery et al. 2022, arXiv:2204.02311, appendix B: 2 for each weight of a matrix product, and
            4 · n_layer · C · length for scores and weighted sums of all positions.
        """
        c, n_layer = self.config.n_embd, self.config.n_layer
        matrices = 12 * n_layer * c * c + self.config.vocab_size * c  # of the blocks, and the head
        return 2 * matrices + 4 * n_layer * c * (self.config.n_ctx if length is None else length)

    def new_cache(self, batch: int, capacity: int | None = None) -> KVCache:
        """An empty cache for a batch of texts of at most ``capacity`` tokens; by default the context."""
        config = self.config
        capacity = config.n_ctx if capacity is None else min(capacity, config.n_ctx)
        return KVCache(config.n_layer, batch, config.n_head, capacity, config.n_embd // config.n_head,
                       like=to_compute(self.wte.weight[:0]).data)

    def next_logits(self, ids, cache: KVCache, lengths: np.ndarray | None = None) -> Tensor:
        """As `forward`, but only what follows each row's last real token, (B, vocab_size)."""
        x = self.hidden(ids, cache, lengths)
        if lengths is not None and x.shape[1] > 1:
            backend = backend_of(x.data)
            x = x[backend.xp.arange(len(lengths)), backend.from_numpy(np.maximum(lengths, 1) - 1)]  # (B, C)
        else:
            x = x[:, -1]
        return self.head(self.ln_f(x))

    def head(self, x: Tensor) -> Tensor:
        """Normalised residual stream (..., C) -> logits (..., vocab_size)."""
        if self.lm_head is not None:
            return to_float32(self.lm_head(x))
        return to_float32(ops.linear(to_compute(x), to_compute(self.wte.weight).T))

    def loss(self, ids, targets) -> Tensor:
        """Mean negative log-likelihood () of targets (B, T) behind ids (B, T), in nats; −100 does not count."""
        return self.head_loss(self.ln_f(self.hidden(ids)), targets)

    def head_loss(self, x: Tensor, targets) -> Tensor:
        """``cross_entropy(head(x), targets)`` of x (..., C) and targets (...), but never with all logits in memory."""
        if self.lm_head is None:
            return ops.linear_cross_entropy(to_compute(x), to_compute(self.wte.weight), targets)
        if type(self.lm_head) is Conv1D:
            return ops.linear_cross_entropy(to_compute(x), to_compute(self.lm_head.weight).T, targets)
        return ops.cross_entropy(self.head(x), targets)  # a layer that does more, such as one with LoRA


def seed_dropout(model: Module, seed: int, step: int) -> None:
    """Make the dropout masks of this step a function of (seed, step, layer), so that a run can be resumed."""
    layers = [module for _, module in model.named_modules() if isinstance(module, Dropout)]
    for i, layer in enumerate(layers):
        layer.stream, layer.calls = (seed, step, i), 0


def place_dropout(model: Module, batch: int, rows: slice) -> None:
    """Make the dropout masks those of some rows of a batch of the step, from 0; other processes may have the others."""
    for _, module in model.named_modules():
        if isinstance(module, Dropout):
            module.rows = rows
            if module.stream is not None:
                module.stream, module.calls = (*module.stream[:3], *([batch] if batch else [])), 0
