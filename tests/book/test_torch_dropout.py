import numpy as np
import pytest

from tinygrad_gpt import ops
from tinygrad_gpt.book.torch_dropout import use_torch_dropout
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.random import TorchStream
from tinygrad_gpt.train import train_step

IDS = np.array([[1, 2, 3], [4, 5, 6]])


def model(dropout):
    return GPT2(GPT2Config(vocab_size=10, n_ctx=4, n_embd=8, n_layer=2, n_head=2, dropout=dropout))


class Recorder(TorchStream):
    def __init__(self, seed):
        super().__init__(seed)
        self.shapes = []

    def keep(self, p, *shape):
        self.shapes.append((p, shape))
        return super().keep(p, *shape)


def test_masks_are_drawn_in_the_order_of_the_forward_pass():
    gpt, stream = model(0.25), Recorder(7)
    use_torch_dropout(gpt, stream)
    gpt(IDS)
    block = [(0.25, (2, 2, 3, 3)), (0.25, (2, 3, 8)), (0.25, (2, 3, 8))]
    assert stream.shapes == [(0.25, (2, 3, 8)), *block, *block]


def test_the_stream_decides_the_masks():
    outputs = []
    for seed in (7, 7, 8):
        gpt = model(0.25)
        use_torch_dropout(gpt, TorchStream(seed))
        outputs.append(gpt(IDS).numpy())
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_nothing_is_drawn_without_dropout():
    for gpt in (model(0.0), model(0.25).eval()):
        stream = Recorder(7)
        use_torch_dropout(gpt, stream)
        gpt(IDS)
        assert stream.shapes == []


def test_recompute_draws_the_same_masks_again_and_the_stream_goes_on():
    def gradients(recompute):
        gpt, stream = model(0.25), TorchStream(7)
        gpt.recompute = recompute
        use_torch_dropout(gpt, stream)
        for _ in range(2):  # the second step depends on where the first left the stream
            gpt.zero_grad()
            losses = [ops.cross_entropy(gpt(rows), rows) for rows in (IDS[:1], IDS[1:])]
            for loss in reversed(losses):
                loss.backward()
        return [parameter.grad.numpy().tobytes() for parameter in gpt.parameters()]

    assert gradients(True) == gradients(False)


def test_a_step_that_fails_is_looked_into_with_its_own_masks():
    gpt, stream = model(0.25), Recorder(7)
    use_torch_dropout(gpt, stream)
    seen = []

    def loss():
        seen.append(stream.state()[0][1].tobytes())
        return ops.cross_entropy(gpt(IDS), IDS) * float("nan")

    with pytest.raises(NonFiniteError, match="loss is nan"):
        train_step([loss], AdamW(gpt.parameters()), 1.0, "step 1", gpt)
    assert len(seen) > 1
    assert len(set(seen)) == 1
