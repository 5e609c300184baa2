"""The listing of the book's GPT model, built from our layers, and that of GPT-2."""

from tinygrad_gpt import nn
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

BLOCK = """TransformerBlock(
      (att): MultiHeadAttention(
        (W_query): Linear(in_features=8, out_features=8, bias=False)
        (W_key): Linear(in_features=8, out_features=8, bias=False)
        (W_value): Linear(in_features=8, out_features=8, bias=False)
        (out_proj): Linear(in_features=8, out_features=8, bias=True)
        (dropout): Dropout(p=0.1, inplace=False)
      )
      (ff): FeedForward(
        (layers): Sequential(
          (0): Linear(in_features=8, out_features=32, bias=True)
          (1): GELU()
          (2): Linear(in_features=32, out_features=8, bias=True)
        )
      )
      (norm1): LayerNorm()
      (norm2): LayerNorm()
      (drop_resid): Dropout(p=0.1, inplace=False)
    )"""
BOOK = f"""GPTModel(
  (tok_emb): Embedding(50, 8)
  (pos_emb): Embedding(4, 8)
  (drop_emb): Dropout(p=0.1, inplace=False)
  (trf_blocks): Sequential(
    (0): {BLOCK}
    (1): {BLOCK}
  )
  (final_norm): LayerNorm()
  (out_head): Linear(in_features=8, out_features=50, bias=False)
)"""
GPT_2 = """GPT2(
  (wte): Embedding(50, 8)
  (wpe): Embedding(4, 8)
  (drop): Dropout(p=0.0, inplace=False)
  (h): ModuleList(
    (0-2): 3 x Block(
      (ln_1): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (attn): CausalSelfAttention(
        (c_attn): Conv1D(nf=24, nx=8)
        (c_proj): Conv1D(nf=8, nx=8)
        (attn_dropout): Dropout(p=0.0, inplace=False)
      )
      (ln_2): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
      (mlp): MLP(
        (c_fc): Conv1D(nf=32, nx=8)
        (c_proj): Conv1D(nf=8, nx=32)
      )
      (resid_dropout): Dropout(p=0.0, inplace=False)
    )
  )
  (ln_f): LayerNorm((8,), eps=1e-05, elementwise_affine=True, bias=True)
)"""


def made(name, **children):
    """A module of a class of this name, with these attributes."""
    module = type(name, (nn.Module,), {})()
    for key, child in children.items():
        setattr(module, key, child)
    return module


def block():
    linear = {key: nn.Linear(8, 8, bias=False) for key in ("W_query", "W_key", "W_value")}
    attention = made("MultiHeadAttention", **linear, out_proj=nn.Linear(8, 8), dropout=nn.Dropout(0.1))
    layers = nn.Sequential(nn.Linear(8, 32), made("GELU"), nn.Linear(32, 8))
    return made("TransformerBlock", att=attention, ff=made("FeedForward", layers=layers), norm1=made("LayerNorm"),
                norm2=made("LayerNorm"), drop_resid=nn.Dropout(0.1))


def test_the_books_model():
    model = made("GPTModel", tok_emb=nn.Embedding(50, 8), pos_emb=nn.Embedding(4, 8), drop_emb=nn.Dropout(0.1),
                 trf_blocks=nn.Sequential(block(), block()), final_norm=made("LayerNorm"),
                 out_head=nn.Linear(8, 50, bias=False))
    assert str(model) == BOOK


def test_gpt2():
    assert repr(GPT2(GPT2Config(vocab_size=50, n_ctx=4, n_embd=8, n_layer=3, n_head=2), seed=None)) == GPT_2
