"""The listings of chapter 3 with the values that the book prints."""

import pytest
from printed import assert_prints


@pytest.fixture
def chapter(listing):
    return listing("chapter_3")


@pytest.fixture
def batch(chapter):
    return chapter.torch.stack((chapter.inputs, chapter.inputs), dim=0)


@pytest.fixture
def sa_v2(chapter):
    chapter.torch.manual_seed(789)
    return chapter.SelfAttention_v2(3, 2)


def values(tensor):
    return tensor.detach().numpy()


def test_3_3_1_simple_attention(chapter):
    assert_prints(values(chapter.simple_attention()), "[0.4419, 0.6515, 0.5683]")


def test_3_3_2_all_context_vectors(chapter):
    assert_prints(values(chapter.all_context_vectors()), """
        [[0.4421, 0.5931, 0.5790],
         [0.4419, 0.6515, 0.5683],
         [0.4431, 0.6496, 0.5671],
         [0.4304, 0.6298, 0.5510],
         [0.4671, 0.5910, 0.5266],
         [0.4177, 0.6503, 0.5645]]""")


def test_3_4_1_trainable_weights(chapter):
    assert_prints(values(chapter.trainable_weights()), "[0.3061, 0.8210]")


def test_3_4_2_self_attention_v1(chapter):
    chapter.torch.manual_seed(123)
    assert_prints(values(chapter.SelfAttention_v1(3, 2)(chapter.inputs)), """
        [[0.2996, 0.8053],
         [0.3061, 0.8210],
         [0.3058, 0.8203],
         [0.2948, 0.7939],
         [0.2927, 0.7891],
         [0.2990, 0.8040]]""")


def test_3_4_2_self_attention_v2_and_exercise_3_1(chapter, sa_v2):
    printed = """
        [[-0.0739,  0.0713],
         [-0.0748,  0.0703],
         [-0.0749,  0.0702],
         [-0.0760,  0.0685],
         [-0.0763,  0.0679],
         [-0.0754,  0.0693]]"""
    assert_prints(values(sa_v2(chapter.inputs)), printed)
    assert_prints(values(chapter.transferred_weights(chapter.SelfAttention_v1(3, 2), sa_v2)), printed)


def test_3_5_causal_mask_and_dropout(chapter, sa_v2):
    masked_simple, attn_weights = chapter.causal_mask(sa_v2)
    for weights in (masked_simple, attn_weights):
        assert_prints(values(weights), """
            [[1.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
             [0.5517, 0.4483, 0.0000, 0.0000, 0.0000, 0.0000],
             [0.3800, 0.3097, 0.3103, 0.0000, 0.0000, 0.0000],
             [0.2758, 0.2460, 0.2462, 0.2319, 0.0000, 0.0000],
             [0.2175, 0.1983, 0.1984, 0.1888, 0.1971, 0.0000],
             [0.1935, 0.1663, 0.1666, 0.1542, 0.1666, 0.1529]]""")
    dropped, dropped_weights = chapter.dropout(attn_weights)
    assert dropped.tolist() == [[2, 2, 0, 2, 2, 0], [0, 0, 0, 2, 0, 2], [2, 2, 2, 2, 0, 2],
                                [0, 2, 2, 0, 0, 2], [0, 2, 0, 2, 0, 2], [0, 2, 2, 2, 2, 0]]
    assert_prints(values(dropped_weights), """
        [[2.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
         [0.7599, 0.6194, 0.6206, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.4921, 0.4925, 0.0000, 0.0000, 0.0000],
         [0.0000, 0.3966, 0.0000, 0.3775, 0.0000, 0.0000],
         [0.0000, 0.3327, 0.3331, 0.3084, 0.3331, 0.0000]]""")


def test_3_5_3_causal_attention(chapter, batch):
    chapter.torch.manual_seed(123)
    ca = chapter.CausalAttention(3, 2, batch.shape[1], 0.0)
    assert list(ca.state_dict()) == ["mask", "W_query.weight", "W_key.weight", "W_value.weight"]
    context_vecs = ca(batch)
    assert tuple(context_vecs.shape) == (2, 6, 2)
    for context in values(context_vecs):
        assert_prints(context, """
            [[-0.4519,  0.2216],
             [-0.5874,  0.0058],
             [-0.6300, -0.0632],
             [-0.5675, -0.0843],
             [-0.5526, -0.0981],
             [-0.5299, -0.1081]]""")


def test_3_6_1_multi_head_attention_wrapper(chapter, batch):
    chapter.torch.manual_seed(123)
    for context in values(chapter.MultiHeadAttentionWrapper(3, 2, batch.shape[1], 0.0, num_heads=2)(batch)):
        assert_prints(context, """
            [[-0.4519,  0.2216,  0.4772,  0.1063],
             [-0.5874,  0.0058,  0.5891,  0.3257],
             [-0.6300, -0.0632,  0.6202,  0.3860],
             [-0.5675, -0.0843,  0.5478,  0.3589],
             [-0.5526, -0.0981,  0.5321,  0.3428],
             [-0.5299, -0.1081,  0.5077,  0.3493]]""")


def test_3_6_2_multi_head_attention(chapter, batch):
    chapter.torch.manual_seed(123)
    mha = chapter.MultiHeadAttention(3, 2, batch.shape[1], 0.0, num_heads=2)
    context_vecs = mha(batch)
    for context in values(context_vecs):
        assert_prints(context, """
            [[0.3190, 0.4858],
             [0.2943, 0.3897],
             [0.2856, 0.3593],
             [0.2693, 0.3873],
             [0.2639, 0.3928],
             [0.2575, 0.4028]]""")
    context_vecs.square().sum().backward()
    gradients = [values(parameter.grad) for parameter in mha.parameters()]
    assert [gradient.shape for gradient in gradients] == [(2, 3), (2, 3), (2, 3), (2, 2), (2,)]
    assert all(gradient.any() for gradient in gradients)


def test_3_6_2_batched_products(chapter):
    first, second = chapter.batched_products()
    assert_prints(values(first), "[[1.3208, 1.1631, 1.2879], [1.1631, 2.2150, 1.8424], [1.2879, 1.8424, 2.0402]]")
    assert_prints(values(second), "[[0.4391, 0.7003, 0.5903], [0.7003, 1.3737, 1.0620], [0.5903, 1.0620, 0.9912]]")
