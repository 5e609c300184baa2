"""Chapter 3: coding attention mechanisms."""

import math

import numpy as np
import pytest
from printed import assert_prints, linear

from tinygrad_gpt import Tensor, ops
from tinygrad_gpt.random import TorchStream

# "Your journey starts with one step", one row a word.
INPUTS = Tensor(np.array([[0.43, 0.15, 0.89], [0.55, 0.87, 0.66], [0.57, 0.85, 0.64],
                          [0.22, 0.58, 0.33], [0.77, 0.25, 0.10], [0.05, 0.80, 0.55]], np.float32))
BATCH = ops.stack(INPUTS, INPUTS)  # (2, 6, 3)
PAST = np.tri(6, dtype=bool)

CONTEXT = """
    [[-0.4519,  0.2216],
     [-0.5874,  0.0058],
     [-0.6300, -0.0632],
     [-0.5675, -0.0843],
     [-0.5526, -0.0981],
     [-0.5299, -0.1081]]"""


def heads(x, n_head=1):
    """(B, T, C) -> (B, H, T, D)"""
    batch, length, width = x.shape
    return x.reshape(batch, length, n_head, width // n_head).transpose(1, 2)


def causal_attention(stream, x):
    """The book's class CausalAttention(d_in=3, d_out=2) with new weights: (B, 6, 3) -> (B, 6, 2)."""
    query, key, value = (linear(stream, 3, 2, bias=False) for _ in range(3))
    return ops.attention(heads(query(x)), heads(key(x)), heads(value(x)))[:, 0]


@pytest.fixture
def self_attention_v2():
    """W_query, W_key, W_value of section 3.4.2."""
    stream = TorchStream(789)
    return [linear(stream, 3, 2, bias=False) for _ in range(3)]


@pytest.fixture
def scores(self_attention_v2):
    query, key, _ = self_attention_v2
    return query(INPUTS) @ key(INPUTS).T


def test_3_3_1_one_context_vector():
    scores = INPUTS @ INPUTS[1]
    assert_prints(scores.numpy(), "[0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865]")
    assert_prints((scores / scores.sum()).numpy(), "[0.1455, 0.2278, 0.2249, 0.1285, 0.1077, 0.1656]")
    weights = ops.softmax(scores)
    assert_prints(weights.numpy(), "[0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581]")
    assert_prints((weights @ INPUTS).numpy(), "[0.4419, 0.6515, 0.5683]")


def test_3_3_2_all_context_vectors():
    scores = INPUTS @ INPUTS.T
    assert_prints(scores.numpy(), """
        [[0.9995, 0.9544, 0.9422, 0.4753, 0.4576, 0.6310],
         [0.9544, 1.4950, 1.4754, 0.8434, 0.7070, 1.0865],
         [0.9422, 1.4754, 1.4570, 0.8296, 0.7154, 1.0605],
         [0.4753, 0.8434, 0.8296, 0.4937, 0.3474, 0.6565],
         [0.4576, 0.7070, 0.7154, 0.3474, 0.6654, 0.2935],
         [0.6310, 1.0865, 1.0605, 0.6565, 0.2935, 0.9450]]""")
    weights = ops.softmax(scores)
    assert_prints(weights.numpy(), """
        [[0.2098, 0.2006, 0.1981, 0.1242, 0.1220, 0.1452],
         [0.1385, 0.2379, 0.2333, 0.1240, 0.1082, 0.1581],
         [0.1390, 0.2369, 0.2326, 0.1242, 0.1108, 0.1565],
         [0.1435, 0.2074, 0.2046, 0.1462, 0.1263, 0.1720],
         [0.1526, 0.1958, 0.1975, 0.1367, 0.1879, 0.1295],
         [0.1385, 0.2184, 0.2128, 0.1420, 0.0988, 0.1896]]""")
    assert_prints((weights @ INPUTS).numpy(), """
        [[0.4421, 0.5931, 0.5790],
         [0.4419, 0.6515, 0.5683],
         [0.4431, 0.6496, 0.5671],
         [0.4304, 0.6298, 0.5510],
         [0.4671, 0.5910, 0.5266],
         [0.4177, 0.6503, 0.5645]]""")


def test_3_4_1_trainable_weights_step_by_step():
    stream = TorchStream(123)
    w_query, w_key, w_value = (Tensor(stream.uniform(3, 2)) for _ in range(3))
    query, keys, values = INPUTS[1] @ w_query, INPUTS @ w_key, INPUTS @ w_value
    assert_prints(query.numpy(), "[0.4306, 1.4551]")
    scores = keys @ query
    assert_prints(scores[1].numpy(), "1.8524")
    assert_prints(scores.numpy(), "[1.2705, 1.8524, 1.8111, 1.0795, 0.5577, 1.5440]")
    weights = ops.softmax(scores / math.sqrt(2))
    assert_prints(weights.numpy(), "[0.1500, 0.2264, 0.2199, 0.1311, 0.0906, 0.1820]")
    assert_prints((weights @ values).numpy(), "[0.3061, 0.8210]")


def test_3_4_2_self_attention_v1():
    stream = TorchStream(123)
    w_query, w_key, w_value = (Tensor(stream.uniform(3, 2)) for _ in range(3))
    x = INPUTS.reshape(1, 6, 3)
    y = ops.attention(heads(x @ w_query), heads(x @ w_key), heads(x @ w_value), causal=False)
    assert_prints(y.numpy(), """
        [[0.2996, 0.8053],
         [0.3061, 0.8210],
         [0.3058, 0.8203],
         [0.2948, 0.7939],
         [0.2927, 0.7891],
         [0.2990, 0.8040]]""")


def test_3_4_2_self_attention_v2(self_attention_v2):
    q, k, v = (heads(layer(INPUTS.reshape(1, 6, 3))) for layer in self_attention_v2)
    assert_prints(ops.attention(q, k, v, causal=False).numpy(), """
        [[-0.0739,  0.0713],
         [-0.0748,  0.0703],
         [-0.0749,  0.0702],
         [-0.0760,  0.0685],
         [-0.0763,  0.0679],
         [-0.0754,  0.0693]]""")


def test_3_4_2_exercise_3_1_self_attention_with_seed_123():
    stream = TorchStream(123)
    q, k, v = (heads(linear(stream, 3, 2, bias=False)(INPUTS.reshape(1, 6, 3))) for _ in range(3))
    assert_prints(ops.attention(q, k, v, causal=False).numpy(), """
        [[-0.5337, -0.1051],
         [-0.5323, -0.1080],
         [-0.5323, -0.1079],
         [-0.5297, -0.1076],
         [-0.5311, -0.1066],
         [-0.5299, -0.1081]]""")


def test_3_5_1_the_causal_mask(scores):
    weights = ops.softmax(scores / math.sqrt(2))
    assert_prints(weights.numpy(), """
        [[0.1921, 0.1646, 0.1652, 0.1550, 0.1721, 0.1510],
         [0.2041, 0.1659, 0.1662, 0.1496, 0.1665, 0.1477],
         [0.2036, 0.1659, 0.1662, 0.1498, 0.1664, 0.1480],
         [0.1869, 0.1667, 0.1668, 0.1571, 0.1661, 0.1564],
         [0.1830, 0.1669, 0.1670, 0.1588, 0.1658, 0.1585],
         [0.1935, 0.1663, 0.1666, 0.1542, 0.1666, 0.1529]]""")
    assert_prints(scores.numpy()[PAST], """
         0.2899
         0.4656, 0.1723
         0.4594, 0.1703, 0.1731
         0.2642, 0.1024, 0.1036, 0.0186
         0.2183, 0.0874, 0.0882, 0.0177, 0.0786
         0.3408, 0.1270, 0.1290, 0.0198, 0.1290, 0.0078""")
    assert_prints(ops.softmax(ops.where(PAST, scores, -1e9) / math.sqrt(2)).numpy(), """
        [[1.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.5517, 0.4483, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.3800, 0.3097, 0.3103, 0.0000, 0.0000, 0.0000],
         [0.2758, 0.2460, 0.2462, 0.2319, 0.0000, 0.0000],
         [0.2175, 0.1983, 0.1984, 0.1888, 0.1971, 0.0000],
         [0.1935, 0.1663, 0.1666, 0.1542, 0.1666, 0.1529]]""")


def test_3_5_2_dropout(scores):
    assert_prints(ops.dropout(Tensor(np.ones((6, 6), np.float32)), TorchStream(123).keep(0.5, 6, 6), p=0.5).numpy(), """
        [[2., 2., 0., 2., 2., 0.],
         [0., 0., 0., 2., 0., 2.],
         [2., 2., 2., 2., 0., 2.],
         [0., 2., 2., 0., 0., 2.],
         [0., 2., 0., 2., 0., 2.],
         [0., 2., 2., 2., 2., 0.]]""")
    weights = ops.softmax(ops.where(PAST, scores, -1e9) / math.sqrt(2))
    assert_prints(ops.dropout(weights, TorchStream(123).keep(0.5, 6, 6), p=0.5).numpy(), """
        [[2.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.7599, 0.6194, 0.6206, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.4921, 0.4925, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.3966, 0.0000, 0.3775, 0.0000, 0.0000],
         [0.0000, 0.3327, 0.3331, 0.3084, 0.3331, 0.0000]]""")


def test_3_5_3_causal_attention():
    for context in causal_attention(TorchStream(123), BATCH).numpy():
        assert_prints(context, CONTEXT)


def test_3_6_1_two_heads_side_by_side():
    stream = TorchStream(123)
    y = ops.concat(causal_attention(stream, BATCH), causal_attention(stream, BATCH), axis=-1).numpy()
    for context in y:
        assert_prints(context, """
            [[-0.4519,  0.2216,  0.4772,  0.1063],
             [-0.5874,  0.0058,  0.5891,  0.3257],
             [-0.6300, -0.0632,  0.6202,  0.3860],
             [-0.5675, -0.0843,  0.5478,  0.3589],
             [-0.5526, -0.0981,  0.5321,  0.3428],
             [-0.5299, -0.1081,  0.5077,  0.3493]]""")


def test_3_6_2_multi_head_attention():
    stream = TorchStream(123)
    qkv = [heads(linear(stream, 3, 2, bias=False)(BATCH), n_head=2) for _ in range(3)]
    y = linear(stream, 2, 2)(ops.attention(*qkv).transpose(1, 2).reshape(2, 6, 2))
    for context in y.numpy():
        assert_prints(context, """
            [[0.3190, 0.4858],
             [0.2943, 0.3897],
             [0.2856, 0.3593],
             [0.2693, 0.3873],
             [0.2639, 0.3928],
             [0.2575, 0.4028]]""")


def test_3_6_2_products_of_each_head():
    a = Tensor(np.array([[[[0.2745, 0.6584, 0.2775, 0.8573], [0.8993, 0.0390, 0.9268, 0.7388],
                           [0.7179, 0.7058, 0.9156, 0.4340]],
                          [[0.0772, 0.3565, 0.1479, 0.5331], [0.4066, 0.2318, 0.4545, 0.9737],
                           [0.4606, 0.5159, 0.4220, 0.5786]]]], np.float32))
    assert_prints((a @ a.transpose(2, 3)).numpy(), """
        [[[[1.3208, 1.1631, 1.2879],
           [1.1631, 2.2150, 1.8424],
           [1.2879, 1.8424, 2.0402]],
          [[0.4391, 0.7003, 0.5903],
           [0.7003, 1.3737, 1.0620],
           [0.5903, 1.0620, 0.9912]]]]""")
