from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.nn import Linear, Sequential


def test_a_summary_is_a_table():
    net = Sequential(Linear(3, 2), Linear(2, 1, bias=False))
    net[1].freeze()
    assert str(net.summary()).splitlines() == [
        "parameter  shape  dtype    numbers",
        "0.weight     2×3  float32        6",
        "0.bias         2  float32        2",
        "1.weight     1×2  float32        2",
        "",
        "10 parameters, 8 of them trained",
        "memory: float64 0.0 MiB, float32 0.0 MiB, bfloat16 0.0 MiB, float16 0.0 MiB"]
    assert net.summary().memory == {"float64": 80, "float32": 40, "bfloat16": 20, "float16": 20}


def test_the_numbers_of_the_124m_model_and_of_the_books():
    def sizes(**settings):
        return GPT2(GPT2Config(**settings), seed=None).summary().size

    assert sizes() == 124_439_808
    assert sizes(tied_head=False, qkv_bias=False) == 163_009_536
    assert sizes(tied_head=False, qkv_bias=False) - 50257 * 768 == 124_412_160
    model = GPT2(GPT2Config(n_layer=1, n_embd=4, n_head=1, vocab_size=10, n_ctx=8), seed=None)
    assert model.flops_per_token() == 2 * (12 * 16 + 10 * 4) + 4 * 4 * 8
    assert model.flops_per_token(2) == 2 * (12 * 16 + 10 * 4) + 4 * 4 * 2
