"""OpenAI's weights as nested dicts, from small stand-ins."""

import numpy as np
import pytest
import tensorflow_checkpoint
from published import weights as small_weights

from tinygrad_gpt.book import gpt_download
from tinygrad_gpt.book.gpt_download import download_and_load_gpt2, load_gpt2
from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config


@pytest.fixture
def published(tmp_path):
    """A GPT-2 of two narrow blocks, and the folder that holds it."""
    model = GPT2(GPT2Config(vocab_size=11, n_ctx=7, n_embd=6, n_layer=2, n_head=2), seed=0)
    write_gpt2(tmp_path / "gpt2", model.config.to_dict(), {name: p.numpy() for name, p in model.named_parameters()})
    return model, tmp_path / "gpt2"


def test_settings_and_params(published):
    model, folder = published
    settings, params = load_gpt2(folder)
    assert settings == {"n_vocab": 11, "n_ctx": 7, "n_embd": 6, "n_head": 2, "n_layer": 2}
    assert sorted(params) == ["b", "blocks", "g", "wpe", "wte"]
    assert [sorted(block) for block in params["blocks"]] == [["attn", "ln_1", "ln_2", "mlp"]] * 2
    block, found = model.h[1], params["blocks"][1]
    for ours, theirs in (
            (model.wte.weight, params["wte"]), (model.wpe.weight, params["wpe"]), (model.ln_f.weight, params["g"]),
            (model.ln_f.bias, params["b"]), (block.ln_2.weight, found["ln_2"]["g"]),
            (block.ln_2.bias, found["ln_2"]["b"]), (block.attn.c_attn.weight, found["attn"]["c_attn"]["w"]),
            (block.attn.c_attn.bias, found["attn"]["c_attn"]["b"]),
            (block.mlp.c_proj.weight, found["mlp"]["c_proj"]["w"])):
        np.testing.assert_array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize(("size", "name"), [
    ("124M", "gpt2"), ("355M", "gpt2-medium"), ("774M", "gpt2-large"), ("1558M", "gpt2-xl")])
def test_what_download_brought_is_used(size, name, published, monkeypatch):
    asked = []
    monkeypatch.setattr(gpt_download, "downloaded", lambda model: asked.append(model) or published[1])
    monkeypatch.setattr(gpt_download, "download", None)
    assert download_and_load_gpt2(size, "unused")[0]["n_embd"] == 6
    assert asked == [name]


def test_weights_that_are_not_here_are_fetched_to_the_folder(published, tmp_path, monkeypatch):
    fetched = []
    monkeypatch.setattr(gpt_download, "downloaded", lambda model: None)
    monkeypatch.setattr(gpt_download, "download", lambda name, folder: fetched.append((name, folder)) or published[1])
    assert download_and_load_gpt2(model_size="124M", models_dir=tmp_path / "models")[0]["n_layer"] == 2
    assert fetched == [("gpt2", tmp_path / "models" / "124M")]


def test_openais_files_that_the_books_program_fetched_are_used(tmp_path, monkeypatch):
    monkeypatch.setattr(gpt_download, "downloaded", None)
    weights = small_weights()
    tensorflow_checkpoint.openai_folder(tmp_path / "gpt2" / "124M", weights, n_head=3)
    settings, params = download_and_load_gpt2("124M", models_dir=str(tmp_path / "gpt2"))
    assert settings == {"n_vocab": 11, "n_ctx": 7, "n_embd": 6, "n_head": 3, "n_layer": 2}
    np.testing.assert_array_equal(params["blocks"][1]["attn"]["c_attn"]["w"], weights["h.1.attn.c_attn.weight"])


def test_an_unknown_size():
    with pytest.raises(UsageError, match=r"model_size is '125M' \(download_and_load_gpt2\); give 124M, 355M, "):
        download_and_load_gpt2("125M", "models")
