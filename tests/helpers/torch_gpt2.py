"""GPT-2 in plain torch, under the same names: the oracle of the tests and the rival in the benchmarks."""

import torch
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    def __init__(self, width, n_head, qkv_bias=True):
        super().__init__()
        self.c_attn = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.c_proj = nn.Linear(width, width)
        self.n_head = n_head

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = (part.view(batch, length, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).split(width, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.c_proj(y.transpose(1, 2).reshape(batch, length, width))


class MLP(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x):
        return self.c_proj(F.gelu(self.c_fc(x), approximate="tanh"))


class Block(nn.Module):
    def __init__(self, width, n_head, qkv_bias=True, eps=1e-5):
        super().__init__()
        self.ln_1 = nn.LayerNorm(width, eps)
        self.attn = Attention(width, n_head, qkv_bias)
        self.ln_2 = nn.LayerNorm(width, eps)
        self.mlp = MLP(width)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class GPT2(nn.Module):
    """The model of a `GPT2Config`, without dropout."""

    def __init__(self, config):
        super().__init__()
        width, eps = config.n_embd, config.layer_norm_epsilon
        self.wte = nn.Embedding(config.vocab_size, width)
        self.wpe = nn.Embedding(config.n_ctx, width)
        self.h = nn.ModuleList(Block(width, config.n_head, config.qkv_bias, eps) for _ in range(config.n_layer))
        self.ln_f = nn.LayerNorm(width, eps)
        self.lm_head = None if config.tied_head else nn.Linear(width, config.vocab_size, bias=False)

    def forward(self, ids):
        x = self.wte(ids) + self.wpe.weight[:ids.shape[1]]
        for block in self.h:
            x = block(x)
        x = self.ln_f(x)
        return F.linear(x, self.wte.weight) if self.lm_head is None else self.lm_head(x)


def transposed_names(model):
    """The weights that torch holds the other way round: (n_out, n_in)."""
    return {f"{name}.weight".lstrip(".") for name, module in model.named_modules() if isinstance(module, nn.Linear)}


def copy_weights(ours, theirs):
    """Give a torch module the values of ours; both have the same names."""
    flipped = transposed_names(theirs)
    state = {name: torch.from_numpy(a.T.copy() if name in flipped else a.copy())
             for name, a in ours.arrays().items()}
    theirs.load_state_dict(state)
    return theirs


def gradients(theirs):
    """Gradients by name as NumPy arrays, in our layout."""
    flipped = transposed_names(theirs)
    return {name: p.grad.numpy().T if name in flipped else p.grad.numpy() for name, p in theirs.named_parameters()}


def adamw(model, **settings):
    """torch's AdamW with the decay on matrices only."""
    weight_decay = settings.pop("weight_decay")
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": weight_decay},
                              {"params": others, "weight_decay": 0.0}], **settings)
