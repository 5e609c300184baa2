"""Chapter 2: working with text data."""

import numpy as np
import pytest
from printed import assert_prints

from tinygrad_gpt.book.batches import token_windows
from tinygrad_gpt.nn import Embedding
from tinygrad_gpt.random import TorchStream


@pytest.fixture(scope="module")
def tokens(verdict, tokenizer):
    return np.array(tokenizer.encode(verdict))


def test_2_2_length_of_the_verdict(verdict):
    assert len(verdict) == 20479
    assert verdict[:99] == ("I HAD always thought Jack Gisburn rather a cheap genius--though a good fellow enough--"
                            "so it was no ")


def test_2_5_ids_with_an_end_of_text(tokenizer):
    before, after = "Hello, do you like tea? ", " In the sunlit terraces of someunknownPlace."
    assert [*tokenizer.encode(before), tokenizer.eot_id, *tokenizer.encode(after)] == [
        15496, 11, 466, 345, 588, 8887, 30, 220, 50256, 554, 262, 4252, 18250, 8812, 2114, 286, 617, 34680, 27271, 13]


def test_2_5_unknown_words(tokenizer):
    ids = tokenizer.encode("Akwirw ier")
    assert ids == [33901, 86, 343, 86, 220, 959]
    assert [tokenizer.decode([i]) for i in ids] == ["Ak", "w", "ir", "w", " ", "ier"]


def test_2_6_number_of_tokens(tokens):
    assert len(tokens) == 5145


def test_2_6_next_words(tokens, tokenizer):
    ids, targets = (part[0].tolist() for part in token_windows(tokens[50:], 4))
    assert ids == [290, 4920, 2241, 287]
    assert targets == [4920, 2241, 287, 257]
    assert tokenizer.decode(ids) == " and established himself in"
    assert tokenizer.decode(targets[-1:]) == " a"


def test_2_6_windows_one_token_apart(tokens):
    for offset, ids, targets in ((0, [40, 367, 2885, 1464], [367, 2885, 1464, 1807]),
                                 (1, [367, 2885, 1464, 1807], [2885, 1464, 1807, 3619])):
        assert [part[0].tolist() for part in token_windows(tokens[offset:], 4)] == [ids, targets]


def test_2_6_a_batch_of_eight(tokens):
    ids, targets = token_windows(tokens, 4)
    assert ids[:8].tolist() == [
        [40, 367, 2885, 1464], [1807, 3619, 402, 271], [10899, 2138, 257, 7026], [15632, 438, 2016, 257],
        [922, 5891, 1576, 438], [568, 340, 373, 645], [1049, 5975, 284, 502], [284, 3285, 326, 11]]
    assert targets[:8].tolist() == [
        [367, 2885, 1464, 1807], [3619, 402, 271, 10899], [2138, 257, 7026, 15632], [438, 2016, 257, 922],
        [5891, 1576, 438, 568], [340, 373, 645, 1049], [5975, 284, 502, 284], [3285, 326, 11, 287]]


def test_2_6_exercise_2_2_other_windows(tokens):
    assert token_windows(tokens, 2)[0][:4].tolist() == [[40, 367], [2885, 1464], [1807, 3619], [402, 271]]
    assert [token_windows(tokens[offset:], 8)[0][0].tolist() for offset in (0, 2, 4, 6)] == [  # a stride of 2
        [40, 367, 2885, 1464, 1807, 3619, 402, 271], [2885, 1464, 1807, 3619, 402, 271, 10899, 2138],
        [1807, 3619, 402, 271, 10899, 2138, 257, 7026], [402, 271, 10899, 2138, 257, 7026, 15632, 438]]


def test_2_7_embedding_weights():
    layer = Embedding(6, 3)
    layer.load_state_dict({"weight": TorchStream(123).normal(6, 3)})
    assert_prints(layer.weight.numpy(), """
        [[ 0.3374, -0.1778, -0.1690],
         [ 0.9178,  1.5810,  1.3010],
         [ 1.2753, -0.2010, -0.1606],
         [-0.4015,  0.9666, -1.1481],
         [-1.1589,  0.3255, -0.6315],
         [-2.8400, -0.7849, -1.4096]]""")
    assert_prints(layer(np.array([3])).numpy(), "[[-0.4015,  0.9666, -1.1481]]")
    assert_prints(layer(np.array([2, 3, 5, 1])).numpy(), """
        [[ 1.2753, -0.2010, -0.1606],
         [-0.4015,  0.9666, -1.1481],
         [-2.8400, -0.7849, -1.4096],
         [ 0.9178,  1.5810,  1.3010]]""")
