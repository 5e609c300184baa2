"""Greedy decoding of a batch beside `generate` of Hugging Face's transformers, with the same weights."""

import warnings

import numpy as np
import pytest
import tiny

from tinygrad_gpt.generate.decode import decode
from tinygrad_gpt.generate.sampling import Sampling
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    transformers = pytest.importorskip(
        "transformers", reason="transformers, the oracle, is not installed: pip install -e '.[oracle]'")
    import torch

PROMPTS = [[5, 9, 30, 2], [7], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]
N_NEW = 20


@pytest.fixture(scope="module")
def models():
    """The same GPT-2 twice, in float64; the end of text is id 299."""
    config = GPT2Config(vocab_size=300, n_ctx=40, n_embd=24, n_layer=2, n_head=3)
    ours, r = GPT2(config), np.random.default_rng(1)
    for p in ours.parameters():
        p.data = p.numpy().astype(np.float64) + 0.3 * r.standard_normal(p.shape)
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=300, n_positions=40, n_embd=24, n_layer=2, n_head=3, bos_token_id=299, eos_token_id=299,
        attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)).double().eval()
    state = {f"transformer.{name}": torch.from_numpy(a.copy()) for name, a in ours.arrays().items()}
    theirs.load_state_dict(state | {"lm_head.weight": state["transformer.wte.weight"]})
    return ours, theirs


@pytest.mark.parametrize("penalty", [1.0, 1.4])
def test_greedy_continuations_and_their_log_probabilities(models, penalty):
    ours, theirs = models
    tokenizer = tiny.language_model().tokenizer
    assert (tokenizer.vocab_size, tokenizer.eot_id) == (300, 299)
    drawn = list(decode(ours, tokenizer, PROMPTS, Sampling(temperature=0, repetition_penalty=penalty),
                        max_new_tokens=N_NEW))
    for index, prompt in enumerate(PROMPTS):
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=N_NEW, pad_token_id=299,
                                       repetition_penalty=penalty)
            logprobs = theirs(expected).logits.log_softmax(-1)[0]
        tokens = [token for token in drawn if token.index == index]
        ids = [token.id for token in tokens]
        assert ids == expected[0, len(prompt):].tolist()
        own = logprobs[range(len(prompt) - 1, len(prompt) - 1 + len(ids)), ids].numpy()
        np.testing.assert_allclose([token.logprob for token in tokens], own, rtol=0, atol=1e-10)
    assert len({token.id for token in drawn}) > (20 if penalty > 1 else 3)
