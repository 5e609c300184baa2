"""The listings of chapter 5: the book's printed values, and a training run with a small model.

Losses of the small model are those of PyTorch 2.13.
"""

import numpy as np
import pytest
from listings import load
from printed import assert_prints

from tinygrad_gpt.book import gpt_download
from tinygrad_gpt.checkpoints.gpt2_files import write_gpt2
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config

SMALL = {"vocab_size": 50257, "context_length": 32, "emb_dim": 24, "n_heads": 4, "n_layers": 2, "drop_rate": 0.1,
         "qkv_bias": False}


@pytest.fixture
def chapter(listing):
    return listing("chapter_5")


@pytest.fixture(scope="module")
def gpt():
    """The listing with our package and the model of 124 million parameters with a context of 256, untrained."""
    chapter = load("chapter_5", "tinygrad_gpt")
    chapter.torch.manual_seed(123)
    model = chapter.GPTModel(load("chapter_4", "tinygrad_gpt").GPT_CONFIG_124M | {"context_length": 256})
    return chapter, model.eval()


@pytest.fixture
def small(chapter):
    chapter.torch.manual_seed(123)
    return chapter.GPTModel(SMALL).eval()


def test_5_1_1_text_of_the_untrained_model(gpt):
    chapter, model = gpt
    tokenizer = chapter.tiktoken.get_encoding("gpt2")
    token_ids = chapter.generate_text_simple(
        model=model, idx=chapter.text_to_token_ids("Every effort moves you", tokenizer), max_new_tokens=2,
        context_size=256)
    assert chapter.token_ids_to_text(token_ids, tokenizer) == "Every effort moves you rentingetic"


def test_5_1_2_text_generation_loss(gpt, capsys):
    chapter, model = gpt
    log_probas, mean, loss, perplexity = chapter.text_generation_loss(model)
    assert_prints(log_probas.numpy(), "[ -9.5042, -10.3796, -11.3677, -11.4798,  -9.7764, -12.2561]")
    assert_prints(mean.item(), "-10.7940")
    assert_prints(loss.item(), "10.7940")
    np.testing.assert_allclose(perplexity.item(), 48725.8203, rtol=1e-5)
    assert "Outputs batch 1:  Armed heNetflix" in capsys.readouterr().out


def test_5_1_3_losses_before_training(chapter, small, verdict):
    train_loader, val_loader = chapter.create_loaders(verdict, {"context_length": 256})
    assert [(len(loader), [tuple(x.shape) for x, _ in loader][-1]) for loader in (train_loader, val_loader)] == [
        (9, (2, 256)), (1, (2, 256))]
    train_loader, val_loader = chapter.create_loaders(verdict[:2000], SMALL)
    assert (len(train_loader), len(val_loader)) == (7, 1)
    losses = chapter.losses_before_training(small, train_loader, val_loader)
    np.testing.assert_allclose(losses, [11.009606088910784, 10.925475120544434], rtol=1e-6)


def test_5_2_train_model_simple(chapter, verdict, capsys):
    _, _, train_losses, val_losses, tokens_seen = chapter.pretrain(verdict[:2000], SMALL, num_epochs=1)
    lines = capsys.readouterr().out.splitlines()
    np.testing.assert_allclose(train_losses, [11.006240, 11.002728], atol=2e-4)
    np.testing.assert_allclose(val_losses, [10.920940, 10.898440], atol=2e-4)
    assert tokens_seen == [64, 384]
    assert lines[:2] == ["Ep 1 (Step 000000): Train loss 11.006, Val loss 10.921",
                         "Ep 1 (Step 000005): Train loss 11.003, Val loss 10.898"]
    assert lines[2].startswith("Every effort moves youibal contractsabit fictional yielding stellar Breed bob")
    assert len(lines) == 3


def test_5_3_1_temperatures(chapter, capsys):
    chapter.next_tokens()
    assert capsys.readouterr().out.split() == ["forward", "forward"]
    scaled_probas = chapter.temperatures()
    printed = capsys.readouterr().out
    counts = [int(line.split()[0]) for line in printed.splitlines() if " x " in line]
    assert counts == [73, 0, 0, 582, 2, 0, 0, 343, 0,
                      0, 0, 0, 985, 0, 0, 0, 15, 0,
                      165, 75, 42, 239, 71, 46, 32, 227, 103]
    assert_prints(scaled_probas[2][chapter.vocab["pizza"]].item(), "0.0430")


def test_5_3_2_top_k_sampling(chapter):
    top_logits, top_pos, topk_probas = chapter.top_k_sampling()
    assert_prints(top_logits.numpy(), "[6.7500, 6.2800, 4.5100]")
    assert top_pos.tolist() == [3, 7, 0]
    assert_prints(topk_probas.numpy(), "[0.0615, 0.0000, 0.0000, 0.5775, 0.0000, 0.0000, 0.0000, 0.3610, 0.0000]")


@pytest.mark.parametrize(("settings", "expected"), [
    ({}, [21342, 8592, 29968, 19812, 39127, 25041, 1095, 39109]),
    ({"top_k": 25, "temperature": 1.4}, [21342, 31952, 21040, 15790, 18062, 1254, 3588, 9441]),
    ({"temperature": 0.5}, [44028, 14837, 13706, 30782, 20311, 47845, 30150, 43558]),
    ({"eos_id": 19812}, [21342, 8592, 29968]),
])
def test_5_3_3_generate(chapter, small, settings, expected):
    idx = chapter.torch.tensor([[6109, 3626, 6100, 345]])
    chapter.torch.manual_seed(123)
    ids = chapter.generate(small, idx, max_new_tokens=8, context_size=32, **settings)
    assert ids.tolist()[0][4:] == expected


def test_5_4_saving_and_loading(chapter, small, tmp_path):
    idx = chapter.torch.tensor([[6109, 3626, 6100, 345]])
    loaded = chapter.save_and_load_model(small, SMALL, tmp_path / "model.pth")
    assert loaded(idx).tolist() == small(idx).tolist()
    assert list(loaded.state_dict()) == list(small.state_dict())


def test_5_4_training_goes_on_with_a_loaded_optimizer(chapter, small, tmp_path):
    torch = chapter.torch
    batch = torch.tensor([[6109, 3626, 6100, 345]]), torch.tensor([[3626, 6100, 345, 6109]])

    def step(model, optimizer):
        optimizer.zero_grad()
        loss = chapter.calc_loss_batch(*batch, model, "cpu")
        loss.backward()
        optimizer.step()
        return loss.item()

    optimizer = torch.optim.AdamW(small.parameters(), lr=0.0005, weight_decay=0.1)
    step(small, optimizer)
    model, loaded = chapter.save_and_load_optimizer(small, optimizer, SMALL, tmp_path / "both.pth")
    assert [step(model.eval(), loaded) for _ in range(3)] == [step(small, optimizer) for _ in range(3)]


def test_5_5_load_weights_into_gpt(chapter, tmp_path, monkeypatch):
    theirs = GPT2(GPT2Config(vocab_size=50, n_ctx=32, n_embd=24, n_layer=2, n_head=4), seed=1).eval()
    write_gpt2(tmp_path, theirs.config.to_dict(), {name: p.numpy() for name, p in theirs.named_parameters()})
    monkeypatch.setattr(gpt_download, "downloaded", lambda name: tmp_path)
    config = SMALL | {"vocab_size": 50, "qkv_bias": True}
    model = chapter.pretrained(config)
    assert all(parameter.requires_grad for parameter in model.parameters())
    ids = [[1, 2, 3, 4, 5]]
    np.testing.assert_allclose(model(chapter.torch.tensor(ids)).detach().numpy(), theirs(np.array(ids)).numpy(),
                               atol=1e-6)
    with pytest.raises(ValueError, match="Shape mismatch"):
        chapter.pretrained(config | {"vocab_size": 51})
