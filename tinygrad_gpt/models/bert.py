"""BERT, the encoder: every token sees the whole text. DistilBERT and RoBERTa are the same with fewer or other parts."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np

from tinygrad_gpt import ops
from tinygrad_gpt.checkpoints.bert_files import read_bert, write_bert
from tinygrad_gpt.checkpoints.gpt2_files import weights_file
from tinygrad_gpt.checkpoints.hdf5_guard import explained
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ShapeError, UsageError
from tinygrad_gpt.nn import Conv1D, Dropout, Embedding, LayerNorm, Module, ModuleList, init
from tinygrad_gpt.nn.precision_casts import to_float32
from tinygrad_gpt.ops.attention import merge_heads, split_heads

__all__ = ["ACTIVATIONS", "FAMILIES", "POOLERS", "Bert", "BertConfig", "EncoderBlock"]

ACTIVATIONS = {"gelu": ops.gelu_exact, "gelu_new": ops.gelu, "relu": ops.relu}
POOLERS = {"tanh": ops.tanh, "relu": ops.relu}
FAMILIES = ("bert", "distilbert", "roberta")


@dataclass(frozen=True)
class BertConfig:
    """Sizes of an encoder; the defaults are BERT-base.

    Args:
        vocab_size: number of token ids.
        n_ctx: longest sequence, in tokens.
        n_embd: width C of the residual stream, a multiple of n_head.
        n_layer, n_head: blocks, and attention heads in each.
        n_inner: width of the feed-forward layers.
        n_types: number of token types, such as first and second sentence; 0: none.
        activation: of the feed-forward layers, one of `ACTIVATIONS`: "gelu" is the exact one, "gelu_new" GPT-2's.
        pooler: the function behind the layer that the first token goes through, one of `POOLERS`; "none": no such
            layer.
        dropout: probability, of the embedding, the attention weights and both residual branches.
        layer_norm_epsilon: added to the variance.
        family: one of `FAMILIES`, whose names the published files have.
    """

    vocab_size: int = 30522
    n_ctx: int = 512
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int = 3072
    n_types: int = 2
    activation: str = "gelu"
    pooler: str = "tanh"
    dropout: float = 0.0
    layer_norm_epsilon: float = 1e-12
    family: str = "bert"

    def __post_init__(self):
        for name in ("vocab_size", "n_ctx", "n_embd", "n_layer", "n_head", "n_inner"):
            if getattr(self, name) < 1:
                raise UsageError(f"BertConfig: {name} is {getattr(self, name)}, expected at least 1")
        if self.n_embd % self.n_head:
            raise UsageError(f"BertConfig: n_embd is {self.n_embd}, not a multiple of n_head = {self.n_head}")
        for name, choices in (("activation", ACTIVATIONS), ("pooler", (*POOLERS, "none")), ("family", FAMILIES)):
            if getattr(self, name) not in choices:
                raise UsageError(f"BertConfig: {name} is {getattr(self, name)!r:.60}; choose one of "
                                 f"{', '.join(choices)}")

    def to_dict(self) -> dict:
        """The fields, for a checkpoint."""
        return asdict(self)


class Bert(Module):
    """The encoder of Devlin et al. 2018.

    The layers have the names of GPT-2's: ``wte`` and ``wpe`` are the embeddings of tokens and positions, ``wtt`` that
    of token types, ``ln_e`` the norm behind them, ``h`` the blocks.

    Args:
        config: sizes.
        seed: of the initial values: normal with standard deviation 0.02, biases 0. With None all are 0, for weights
            that will be loaded.
    """

    def __init__(self, config: BertConfig, seed: int | None = 0):
        generator = None if seed is None else np.random.default_rng(seed)
        self.config = config
        c = config.n_embd
        self.wte, self.wpe = (Embedding(n, c, weight=init.normal(generator, n, c))
                              for n in (config.vocab_size, config.n_ctx))
        self.wtt = Embedding(config.n_types, c, weight=init.normal(generator, config.n_types, c)) \
            if config.n_types else None
        self.ln_e = LayerNorm(c, config.layer_norm_epsilon)
        self.drop = Dropout(config.dropout)
        self.h = ModuleList(EncoderBlock(config, generator) for _ in range(config.n_layer))
        self.pooler = None if config.pooler == "none" else Conv1D(c, c, generator)

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Read a published encoder of the BERT, DistilBERT or RoBERTa family.

        Args:
            path: as in `checkpoints.bert_files.read_bert`.

        Returns:
            The model without dropout, ready to answer.

        Raises:
            CheckpointError: as in `read_bert`; or a value is not finite.
        """
        config, tensors = read_bert(path)
        model = cls(BertConfig(**config), seed=None)
        with explained(weights_file(path)):
            model.adopt_state_dict(tensors)
        return model.eval()

    def save_pretrained(self, folder: str | Path, pad_id: int = 0) -> None:
        """Write config.json and model.safetensors, which `transformers` and `from_pretrained` read.

        Raises:
            ResourceError, TinygradError: as in `files.write_atomic`.
        """
        write_bert(folder, self.config.to_dict(), self.arrays(), pad_id)

    @property
    def embeddings(self) -> list[Module]:
        """What comes before the first block."""
        return [self.wte, self.wpe, *([self.wtt] if self.wtt else []), self.ln_e]

    @property
    def ends(self) -> list[Module]:
        """What comes behind the last block."""
        return [self.pooler] if self.pooler else []

    def forward(self, ids, visible=None, types=None) -> Tensor:
        """The hidden states behind the last block.

        Args:
            ids: (B, T) integers.
            visible: (B, T) bool, which tokens are real; None: all. What stands at the others means nothing.
            types: (B, T) integers below n_types; None: zeros.

        Returns:
            (B, T, C).

        Raises:
            ShapeError: "Bert: 600 tokens, but the model's context is 512…".
        """
        x = self.embed(ids, types)
        for block in self.h:
            x = block(x, visible)
        return x

    def embed(self, ids, types=None) -> Tensor:
        """ids and types as in `forward` -> what goes into the first block, (B, T, C)."""
        if len(ids.shape) != 2 or ids.shape[1] > self.config.n_ctx:
            raise ShapeError(f"Bert: {ids.shape[-1]} tokens (ids are {ids.shape}), but the model's context is "
                             f"{self.config.n_ctx}; give ids of shape (B, T), truncated to that")
        return self.embed_words(self.wte(ids), types)

    def embed_words(self, x: Tensor, types=None) -> Tensor:
        """As `embed`, from the embeddings of the tokens, (B, T, C)."""
        position = self.wpe.weight[:x.shape[1]]
        if self.wtt is not None:
            position = position + (self.wtt.weight[0] if types is None else self.wtt(types))
        return self.drop(self.ln_e(x + position))

    def pool(self, x: Tensor) -> Tensor:
        """What is read of a text, (B, C), through the pooler where there is one."""
        return x if self.pooler is None else POOLERS[self.config.pooler](to_float32(self.pooler(x)))

    def flops_per_token(self, length: int | None = None) -> int:
        """Floating-point operations of the forward pass for one token, without pooler; see `GPT2.flops_per_token`."""
        config = self.config
        matrices = config.n_layer * config.n_embd * (4 * config.n_embd + 2 * config.n_inner)
        return 2 * matrices + 4 * config.n_layer * config.n_embd * (config.n_ctx if length is None else length)


class EncoderBlock(Module):
    """Post-norm transformer block: x ← ln_1(x + attn(x)), then ln_2(x + mlp(x))."""

    def __init__(self, config: BertConfig, generator: "np.random.Generator | None"):
        self.attn = SelfAttention(config, generator)
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.mlp = FeedForward(config, generator)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon)
        self.resid_dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, visible=None) -> Tensor:
        """(B, T, C) -> (B, T, C); the tokens see those that are ``visible`` (B, T) bool, None: all."""
        return self._residual(x, self.attn(x, visible))

    def over(self, rows: Tensor, x: Tensor, visible=None) -> Tensor:
        """As `forward`, at some positions only: rows (B, n, C) of x (B, T, C) -> (B, n, C)."""
        return self._residual(rows, self.attn.over(rows, x, visible))

    def _residual(self, x: Tensor, y: Tensor) -> Tensor:
        x = self.ln_1(x + to_float32(self.resid_dropout(y)))
        return self.ln_2(x + to_float32(self.resid_dropout(self.mlp(x))))


class SelfAttention(Module):
    """Multi-head self-attention without a causal mask: ``c_attn`` (C, 3C) makes queries, keys and values, ``c_proj``
    (C, C) mixes heads."""

    def __init__(self, config: BertConfig, generator: "np.random.Generator | None"):
        self.c_attn = Conv1D(config.n_embd, 3 * config.n_embd, generator)
        self.c_proj = Conv1D(config.n_embd, config.n_embd, generator)
        self.attn_dropout = Dropout(config.dropout)
        self.n_head = config.n_head

    def forward(self, x: Tensor, visible=None) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        batch, length, _ = x.shape
        keep = self.attn_dropout.mask(x, (batch, self.n_head, length, length))
        y = ops.self_attention(self.c_attn(x), visible, keep, n_head=self.n_head, causal=False, p=self.attn_dropout.p)
        return self.c_proj(y)

    def over(self, rows: Tensor, x: Tensor, visible=None) -> Tensor:
        """As `forward`, at some positions only: rows (B, n, C) of x (B, T, C) -> (B, n, C)."""
        width = x.shape[-1]
        (q,) = split_heads(self.c_attn.columns(rows, 0, width), self.n_head, 1)  # (B, H, n, D)
        k, v = split_heads(self.c_attn.columns(x, width, 3 * width), self.n_head, 2)  # (B, H, T, D) each
        keep = self.attn_dropout.mask(x, (*q.shape[:3], k.shape[2]))
        y = ops.attention(q, k, v, visible, keep, causal=False, p=self.attn_dropout.p)
        return self.c_proj(merge_heads(y))


class FeedForward(Module):
    """``c_fc`` (C, n_inner), the activation, ``c_proj`` (n_inner, C)."""

    def __init__(self, config: BertConfig, generator: "np.random.Generator | None"):
        self.c_fc = Conv1D(config.n_embd, config.n_inner, generator)
        self.c_proj = Conv1D(config.n_inner, config.n_embd, generator)
        self.activation = config.activation

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)"""
        return self.c_proj(ACTIVATIONS[self.activation](self.c_fc(x)))
