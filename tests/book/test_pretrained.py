"""What the book prints of OpenAI's weights, with stand-ins in their place."""

import numpy as np
import pytest
import tiny
from listings import load

from tinygrad_gpt.book.gpt_download import load_gpt2
from tinygrad_gpt.book.pretrained import DRAWN, GREEDY, SCORES, as_printed
from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.text import get_encoding


def test_the_book_s_own_functions_give_the_same(tmp_path):
    """The listings of chapters 4 to 6 with PyTorch, and the same weights in both models."""
    torch = pytest.importorskip("torch", reason="compares with torch")
    chapter_5, chapter_6 = load("chapter_5", "torch"), load("chapter_6", "torch")
    sizes = {"vocab_size": 50257, "context_length": 48, "emb_dim": 16, "n_heads": 2, "n_layers": 2, "drop_rate": 0.0,
             "qkv_bias": True}
    ours = GPT2(GPT2Config(n_ctx=48, n_embd=16, n_layer=2, n_head=2), seed=3).eval()
    for parameter in ours.parameters():
        parameter.data[...] += TorchStream(parameter.size).normal(*parameter.shape) * np.float32(0.3)
    theirs = chapter_5.GPTModel(sizes).eval()
    write_gpt2(tmp_path, ours.config.to_dict(), {name: p.numpy() for name, p in ours.named_parameters()})
    chapter_5.load_weights_into_gpt(theirs, load_gpt2(tmp_path)[1])

    tokenizer = get_encoding("gpt2")
    prompt = chapter_5.text_to_token_ids("Every effort moves you", tokenizer)
    greedy = chapter_5.generate_text_simple(theirs, prompt, 15, 48)
    torch.manual_seed(123)
    drawn = chapter_5.generate(theirs, prompt, 25, 48, top_k=50, temperature=1.5)
    chapter_6.replace_head(theirs, sizes)
    scores = chapter_6.outputs_of_a_text(theirs)[0]
    expected = [chapter_5.token_ids_to_text(ids, tokenizer) for ids in (greedy, drawn)]
    found = as_printed(ours, tokenizer)
    assert [printed.ours for printed in found[:2]] == expected
    np.testing.assert_allclose([[float(score) for score in row.split()] for row in found[2].ours.splitlines()],
                               scores.numpy(), atol=1.5e-4)


def test_another_model_differs_from_the_book():
    saved = tiny.language_model()
    found = as_printed(saved.transformer, saved.tokenizer)
    assert [printed.book for printed in found] == [GREEDY, DRAWN, SCORES]
    assert not any(printed.same for printed in found)
    assert len(found[2].ours.splitlines()) == len(saved.tokenizer.encode("Do you have time"))
