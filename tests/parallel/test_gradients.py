"""The gradient of several ranks is that of one, the same bits on each, whatever the buckets."""

import numpy as np
import pytest
from thread_group import in_ranks

from tinygrad_gpt.backend import to_host
from tinygrad_gpt.errors import NonFiniteError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.optim import AdamW
from tinygrad_gpt.parallel.gradients import Gradients, MeanGradients, gradients_of
from tinygrad_gpt.parallel.group import Group
from tinygrad_gpt.train import Batch, LossScale, losses_of, train_step

SIZES = GPT2Config(vocab_size=40, n_ctx=12, n_embd=16, n_layer=2, n_head=2, dropout=0.1)
IDS = np.random.default_rng(0).integers(0, 40, (6, 13))


def batches_of(model, parts=1):
    """The rows in some batches."""
    def batch(ids):
        return Batch(len(ids), lambda rows: (rows.stop - rows.start,),
                     lambda rows, factor: model.loss(ids[rows, :-1], ids[rows, 1:]) * factor)

    return [batch(ids) for ids in np.split(IDS, parts)]


def run(group, steps=4, parts=1, bucket=2000, dtype=np.float32, scale=None, spoil=None):
    """Losses and norms of some steps, and the weights."""
    model = GPT2(SIZES, seed=1)
    for p in model.parameters():
        p.data = p.numpy().astype(dtype)
    optimizer = AdamW(model.parameters(), 1e-2)
    gradients = Gradients() if group.size == 1 else MeanGradients(group, optimizer.parameters, bucket)
    figures = []
    for step in range(steps):
        losses = losses_of(batches_of(model, parts), group, model)
        seed_dropout(model.train(), 0, step)
        if spoil:
            spoil(group, step, model)
        figures.append(train_step(losses, optimizer, 1.0, f"step {step + 1}", model, scale, gradients))
    return np.array(figures), [p.numpy().copy() for p in model.parameters()]


@pytest.mark.parametrize(("size", "parts", "bucket"), [(2, 1, 2000), (3, 2, 1), (4, 3, 10**9)])
def test_ranks_make_the_steps_of_one_process(size, parts, bucket):
    expected, weights = run(Group(), parts=parts, dtype=np.float64)
    found = in_ranks(size, lambda group: run(group, parts=parts, bucket=bucket, dtype=np.float64))
    for figures, own in found:
        np.testing.assert_allclose(figures, expected, rtol=1e-9)
        for a, b, c in zip(own, found[0][1], weights, strict=True):
            assert a.tobytes() == b.tobytes()
            np.testing.assert_allclose(a, c, rtol=0, atol=1e-6)


def test_buckets_are_sent_while_the_backward_pass_goes_on():
    model = GPT2(SIZES, seed=1)
    events = []

    class Listening(Group):
        size = 2

        def start_total(self, array):
            events.append(("sent", array.size))
            return lambda: events.append(("awaited", array.size))

    gradients = MeanGradients(Listening(), list(model.parameters()), bucket=4 * 800)
    model.wte.weight.register_hook(lambda g: events.append(("the last gradient", g.size)))
    loss = model.loss(IDS[:, :-1], IDS[:, 1:])
    gradients.backward(loss, last=True)
    kinds = [kind for kind, _ in events]
    assert kinds.index("the last gradient") == kinds.count("sent") == len(gradients.buckets) - 1 > 3
    gradients.finish()
    assert [size for kind, size in events if kind == "sent"] == [bucket.size for bucket in gradients.buckets]
    assert [kind for kind, _ in events][-len(gradients.buckets):] == ["awaited"] * len(gradients.buckets)
    assert sum(bucket.size for bucket in gradients.buckets) == gradients.flat.size
    assert all(place.ctypes.data % 64 == gradients.flat.ctypes.data % 64 for place in gradients.places)


def test_what_has_no_gradient_on_any_rank_is_left_alone_and_what_has_one_on_some_is_not():
    def work(group):
        model = GPT2(SIZES, seed=1)
        p, q, r = list(model.parameters())[:3]
        gradients = MeanGradients(group, [p, q, r])
        gradients.begin()
        gradients.backward(p.sum() * (2.0 if group.rank else 1.0) + (q.sum() if group.rank else 0.0), last=True)
        total, = gradients.finish()
        return float(total), [None if x.grad is None else float(to_host(x.grad.data).mean()) for x in (p, q, r)]

    found = in_ranks(2, work)
    assert [grads for _, grads in found] == [[3.0, 1.0, None]] * 2
    assert found[0][0] == found[1][0]


def test_an_overflow_on_one_rank_is_one_on_all():
    def overflow(group, step, model):
        if group.rank == 1 and step == 1:  # at the first trial of this step
            seen = []
            remove = model.wpe.weight.register_hook(
                lambda g: None if seen else (seen.append(1), remove.remove(), g * np.float32(np.inf))[-1])

    def work(group):
        scale = LossScale(16.0)
        figures, weights = run(group, scale=scale, spoil=overflow)
        return figures, weights, scale.value, scale.good_steps

    with np.errstate(invalid="ignore"):
        found = in_ranks(2, work)
    expected, _ = run(Group())
    for figures, weights, value, good_steps in found:
        assert (value, good_steps) == (8.0, 3)
        np.testing.assert_allclose(figures, expected, rtol=1e-4)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(weights, found[0][1], strict=True))


def test_the_rank_with_the_fault_names_it_on_every_rank():
    def break_weights(group, step, model):
        if step == 2 and group.rank == 1:
            model.h[1].ln_1.weight.data[3] = np.nan

    def work(group):
        with pytest.raises(NonFiniteError) as info:
            run(group, spoil=break_weights)
        return str(info.value)

    with np.errstate(invalid="ignore"):
        first, second = in_ranks(2, work)
    assert first == second
    assert first.startswith("loss is nan (step 3): nothing was updated; forward, op 'layer_norm' in h.1.ln_1")


def test_one_process_sends_nothing():
    assert type(gradients_of(Group(), [])) is Gradients
