"""The listings of chapter 6: sizes that the book prints, and a finetuning of a small model.

Losses and accuracies of the small model are those of PyTorch 2.13.
"""

import csv
import re

import numpy as np
import pytest
import tiny
from listings import load

from tinygrad_gpt.book.splits import book_split
from tinygrad_gpt.data.classification import read_labelled

SMALL = {"vocab_size": 50257, "context_length": 16, "emb_dim": 16, "n_heads": 2, "n_layers": 2, "drop_rate": 0.0,
         "qkv_bias": True}


@pytest.fixture
def chapter(listing):
    return listing("chapter_6")


@pytest.fixture
def loaders(chapter, tmp_path):
    rows = [(int(label == "sun"), text) for text, label in tiny.texts(60, classes=("snow", "sun"))]
    write_splits(tmp_path, [rows[:40], rows[40:50], rows[50:]])
    return chapter.create_loaders(tmp_path)


@pytest.fixture
def model(chapter):
    library = chapter.__name__.removesuffix("_chapter_6")
    chapter.torch.manual_seed(123)
    model = load("chapter_4", library).GPTModel(SMALL)
    chapter.replace_head(model, SMALL)
    return model


def write_splits(folder, parts):
    """Files as section 6.2 writes them, with columns Label (0 or 1) and Text."""
    for name, rows in zip(("train", "validation", "test"), parts, strict=True):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("Label", "Text"), *rows])


def test_6_3_the_loaders_of_the_spam_data(chapter, shared_data, tmp_path, capsys):
    data = read_labelled(shared_data / "spam" / "SMSSpamCollection", quotes=True)
    split = book_split(data)
    write_splits(tmp_path, [[(int(data.classes[data.labels[row]] == "spam"), data.texts[row]) for row in part]
                            for part in (split.train, split.validation, split.test)])
    loaders = chapter.create_loaders(tmp_path)
    assert [len(loader.dataset) for loader in loaders] == [1045, 149, 300]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "120"
    assert [re.findall(r"\d+", line) for line in lines[1:3]] == [["8", "120"], ["8"]]
    assert lines[3:] == ["130 training batches", "19 validation batches", "38 test batches"]


def test_6_5_replacing_the_head(chapter, model):
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert [name for name in trained if not name.startswith("trf_blocks.1.")] == [
        "final_norm.scale", "final_norm.shift", "out_head.weight", "out_head.bias"]
    assert len(trained) == 4 + 16
    outputs = chapter.outputs_of_a_text(model)
    assert tuple(outputs.shape) == (1, 4, 2)
    np.testing.assert_allclose(outputs[:, -1, :].numpy(), [[-0.249849, -0.523100]], atol=1e-5)


def test_6_6_accuracy_and_loss(chapter, model, loaders):
    assert [chapter.calc_accuracy_loader(loader, model, "cpu") for loader in loaders] == [0.4, 0.5, 0.5]
    with chapter.torch.no_grad():
        losses = [chapter.calc_loss_loader(loader, model, "cpu", num_batches=1) for loader in loaders]
    np.testing.assert_allclose(losses, [0.701701, 0.663908, 0.702658], rtol=1e-5)


def test_6_7_train_classifier_simple(chapter, model, loaders, capsys):
    train_loader, val_loader, _ = loaders
    chapter.torch.manual_seed(1)
    optimizer = chapter.torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    frozen = model.tok_emb.weight.detach().numpy().copy()
    train_losses, val_losses, train_accs, val_accs, seen = chapter.train_classifier_simple(
        model, train_loader, val_loader, optimizer, "cpu", num_epochs=3, eval_freq=5, eval_iter=5)
    np.testing.assert_allclose(train_losses, [0.704171, 0.609945, 0.497221], atol=1e-3)
    np.testing.assert_allclose(val_losses, [0.694702, 0.636071, 0.621698], atol=1e-3)
    assert (train_accs, val_accs) == ([0.6, 0.875, 0.95], [0.7, 0.8, 0.9])
    assert seen == 3 * 40
    assert (model.tok_emb.weight.detach().numpy() == frozen).all()
    assert capsys.readouterr().out.splitlines()[-1] == "Training accuracy: 95.00% | Validation accuracy: 90.00%"


def test_6_7_finetune(chapter, model, loaders):
    train_losses, _, _, _, examples_seen = chapter.finetune(model, *loaders[:2], num_epochs=1)
    assert len(train_losses) == 1
    assert examples_seen == 40


def test_6_8_classify_review(chapter, model):
    tokenizer = chapter.tiktoken.get_encoding("gpt2")
    with chapter.torch.no_grad():
        model.out_head.weight.zero_()
    for bias, answer in (([0.0, 1.0], "spam"), ([1.0, 0.0], "not spam")):
        model.out_head.bias = chapter.torch.nn.Parameter(chapter.torch.tensor(bias))
        assert chapter.classify_review("You are a winner", model, tokenizer, "cpu", max_length=12) == answer
