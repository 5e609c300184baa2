"""The listings of appendix E: sizes that the book prints, and LoRA layers in a small model."""

import numpy as np
import pytest
from listings import load

SMALL = {"vocab_size": 50, "context_length": 16, "emb_dim": 8, "n_heads": 2, "n_layers": 2, "drop_rate": 0.0,
         "qkv_bias": True}


@pytest.fixture
def appendix(listing):
    return listing("appendix_e")


@pytest.fixture
def model(appendix):
    chapter = load("chapter_4", appendix.__name__.removesuffix("_appendix_e"))
    appendix.torch.manual_seed(123)
    model = chapter.GPTModel(SMALL)
    model.out_head = appendix.torch.nn.Linear(8, 2)
    return model.eval()


def test_e_4_replace_linear_with_lora(appendix, model, capsys):
    ids = appendix.torch.tensor([[1, 2, 3]])
    before = model(ids).tolist()
    trained = appendix.add_lora(model, rank=4, alpha=4)
    assert model(ids).tolist() == before  # B is zero at first
    assert trained == 4 * (2 * (4 * 16 + 2 * 40) + 10)
    assert [name for name, p in model.named_parameters() if p.requires_grad] == [
        f"{layer}.lora.{matrix}" for layer in linear_layers() for matrix in "AB"]
    assert """    (0): TransformerBlock(
      (att): MultiHeadAttention(
        (W_query): LinearWithLoRA(
          (linear): Linear(in_features=8, out_features=8, bias=True)
          (lora): LoRALayer()
        )
""" in capsys.readouterr().out


def test_e_4_the_number_of_trainable_parameters(appendix):
    widths = {768: 4 * [(768, 768)] + [(768, 3072), (3072, 768)]}
    with appendix.torch.no_grad():
        layers = [appendix.LoRALayer(n_in, n_out, rank=16, alpha=16) for n_in, n_out in widths[768]]
        head = appendix.LoRALayer(768, 2, rank=16, alpha=16)
    count = [sum(p.numel() for p in layer.parameters()) for layer in (*layers, head)]
    assert 12 * sum(count[:-1]) + count[-1] == 2_666_528


def test_e_4_a_training_step_changes_the_lora_matrices_only(appendix, model):
    torch = appendix.torch
    torch.manual_seed(1)
    appendix.add_lora(model, rank=4, alpha=4)
    before = {name: parameter.detach().numpy().copy() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=8e-4, weight_decay=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(torch.tensor([[1, 2, 3], [4, 5, 6]]))[:, -1, :],
                                                 torch.tensor([0, 1]))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(losses, [0.9042227, 0.8832310, 0.8623880], rtol=1e-5)
    changed = [name for name, parameter in model.named_parameters()
               if (parameter.detach().numpy() != before[name]).any()]
    assert changed == [f"{layer}.lora.{matrix}" for layer in linear_layers() for matrix in "AB"]


def linear_layers():
    """The names of the model's linear layers, in the order of its parameters."""
    return [*(f"trf_blocks.{block}.{layer}" for block in (0, 1) for layer in (
        "att.W_query", "att.W_key", "att.W_value", "att.out_proj", "ff.layers.0", "ff.layers.2")), "out_head"]
