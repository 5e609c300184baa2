"""The listings of chapter 2 with the values that the book prints."""

import re

import pytest
from printed import assert_prints

TEXT = "Hello, do you like tea? <|endoftext|> In the sunlit terraces of the palace."


@pytest.fixture
def chapter(listing):
    return listing("chapter_2")


def test_2_3_simple_tokenizer_v1(chapter, verdict):
    words = [item.strip() for item in re.split(r'([,.:;?_!"()\']|--|\s)', verdict) if item.strip()]
    assert len(words) == 4690
    vocab = {token: integer for integer, token in enumerate(sorted(set(words)))}
    assert len(vocab) == 1130
    tokenizer = chapter.SimpleTokenizerV1(vocab)
    ids = tokenizer.encode('"It\'s the last he painted, you know," \n Mrs. Gisburn said with pardonable pride.')
    assert ids == [1, 56, 2, 850, 988, 602, 533, 746, 5, 1126, 596, 5, 1, 67, 7, 38, 851, 1108, 754, 793, 7]
    assert tokenizer.decode(ids) == '" It\' s the last he painted, you know," Mrs. Gisburn said with pardonable pride.'


def test_2_4_simple_tokenizer_v2(chapter, verdict):
    words = [item.strip() for item in re.split(r'([,.:;?_!"()\']|--|\s)', verdict) if item.strip()]
    vocab = {token: integer for integer, token in enumerate([*sorted(set(words)), "<|endoftext|>", "<|unk|>"])}
    tokenizer = chapter.SimpleTokenizerV2(vocab)
    ids = tokenizer.encode(TEXT)
    assert ids == [1131, 5, 355, 1126, 628, 975, 10, 1130, 55, 988, 956, 984, 722, 988, 1131, 7]
    assert tokenizer.decode(ids) == "<|unk|>, do you like tea? <|endoftext|> In the sunlit terraces of the <|unk|>."


def test_2_6_create_dataloader_v1(chapter, verdict):
    loader = chapter.create_dataloader_v1(verdict, batch_size=1, max_length=4, stride=1, shuffle=False)
    batches = iter(loader)
    assert [part.tolist() for part in next(batches)] == [[[40, 367, 2885, 1464]], [[367, 2885, 1464, 1807]]]
    assert [part.tolist() for part in next(batches)] == [[[367, 2885, 1464, 1807]], [[2885, 1464, 1807, 3619]]]
    loader = chapter.create_dataloader_v1(verdict, batch_size=8, max_length=4, stride=4, shuffle=False)
    inputs, targets = next(iter(loader))
    assert inputs.dtype == targets.dtype == chapter.torch.int64
    assert inputs.tolist() == [
        [40, 367, 2885, 1464], [1807, 3619, 402, 271], [10899, 2138, 257, 7026], [15632, 438, 2016, 257],
        [922, 5891, 1576, 438], [568, 340, 373, 645], [1049, 5975, 284, 502], [284, 3285, 326, 11]]
    assert targets[-1].tolist() == [3285, 326, 11, 287]


def test_2_6_a_shuffled_loader(chapter):
    text = " ".join(str(number) for number in range(30))
    chapter.torch.manual_seed(123)
    loader = chapter.create_dataloader_v1(text, batch_size=4, max_length=2, stride=3)
    assert [[window[0] for window in inputs.tolist()] for _ in range(2) for inputs, _ in loader] == [
        [1987, 718, 1248, 2310], [15, 860, 2681, 513], [1315, 2681, 718, 2310], [1987, 1248, 1105, 15]]


def test_2_7_token_embeddings(chapter):
    layer = chapter.token_embeddings()
    assert_prints(layer.weight.detach().numpy(), """
        [[ 0.3374, -0.1778, -0.1690],
         [ 0.9178,  1.5810,  1.3010],
         [ 1.2753, -0.2010, -0.1606],
         [-0.4015,  0.9666, -1.1481],
         [-1.1589,  0.3255, -0.6315],
         [-2.8400, -0.7849, -1.4096]]""")
    assert_prints(layer(chapter.torch.tensor([3])).detach().numpy(), "[[-0.4015,  0.9666, -1.1481]]")


def test_2_8_input_embeddings(chapter, verdict):
    assert tuple(chapter.input_embeddings(verdict).shape) == (8, 4, 256)
