import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.backend import default_backend
from tinygrad_gpt.backend.precision import POLICIES, precision
from tinygrad_gpt.engine.mode import no_grad, observing
from tinygrad_gpt.models.classifier import GPT2Classifier, Reading
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config
from tinygrad_gpt.models.lora import apply_lora
from tinygrad_gpt.nn.precision_casts import to_compute, to_float32

HALVES = {"bfloat16": 2**-8, "float16": 2**-11}  # and the error of a rounding
SCALE = 1024.0  # of the loss, for float16
SIZES = {"vocab_size": 17, "n_ctx": 8, "n_embd": 8, "n_layer": 2, "n_head": 2}
IDS = np.random.default_rng(0).integers(0, 17, (3, 8))
LENGTHS = np.array([8, 3, 5])
NAMES = ("GPT2", "LoRA", "untied", "classifier", "classifier without mask")


@pytest.fixture(params=HALVES)
def half(request):
    with precision(request.param):
        yield POLICIES[request.param].dtype


@pytest.mark.kernels
def test_what_goes_into_a_layer_is_lowered_and_comes_back(half, backend):
    x = Tensor(backend.from_numpy(np.ones(3, np.float32)), requires_grad=True)
    low = to_compute(x)
    assert low.dtype == half
    assert to_compute(low) is low
    assert to_float32(low).dtype == np.float32
    to_float32(low).sum().backward()
    assert x.grad.dtype == np.float32


def test_other_dtypes_and_nothing_stay(half):
    double, ids = Tensor(np.ones(3)), Tensor(np.arange(3))
    assert to_compute(double) is double
    assert to_compute(ids) is ids
    assert to_compute(None) is None
    assert to_float32(double) is double


@pytest.mark.parametrize("name", ["float32", "tf32"])
def test_without_halves_nothing_is_cast(name):
    x = Tensor(np.ones(3, np.float32))
    with precision(name):
        assert to_compute(x) is x
        assert to_float32(x) is x


def models():
    ids, lengths = map(default_backend().from_numpy, (IDS, LENGTHS))
    gpt2 = GPT2(GPT2Config(**SIZES))
    adapted = GPT2(GPT2Config(**SIZES))
    apply_lora(adapted, 2, 4.0)
    for _, p in adapted.named_parameters():
        if not p.numpy().any():
            p.data = default_backend().from_numpy(np.random.default_rng(1).normal(0, 0.3, p.shape).astype(np.float32))
    untied = GPT2(GPT2Config(**SIZES, tied_head=False))
    classifier = GPT2Classifier(GPT2(GPT2Config(**SIZES)), 3)
    open_mask = GPT2Classifier(GPT2(GPT2Config(**SIZES)), 3, reading=Reading("mean", causal=False))
    return {"GPT2": (gpt2, lambda: gpt2.loss(ids, ids)), "LoRA": (adapted, lambda: adapted.loss(ids, ids)),
            "untied": (untied, lambda: untied.loss(ids, ids)),
            "classifier": (classifier, lambda: (classifier(ids, lengths) * 1.0).sum()),
            "classifier without mask": (open_mask, lambda: open_mask(ids, lengths).sum())}


@pytest.mark.parametrize("name", NAMES)
def test_layers_compute_in_halves_and_all_between_in_float32(name, half):
    model, loss = models()[name]
    seen = {}
    with observing(lambda op, args, result: seen.setdefault(op.name, set()).add(result.dtype)):
        result = loss()
    assert result.dtype == np.float32
    assert seen["linear"] == {half}
    assert seen["bias_gelu"] == {half}
    assert seen.get("self_attention", {half}) == seen.get("attention", {half}) == {half}
    assert seen["layer_norm"] == seen["embedding"] == {np.dtype(np.float32)}
    result.backward()
    assert all(p.grad.dtype == np.float32 for p in model.trainable())


@pytest.mark.kernels
@pytest.mark.parametrize("name", NAMES)
def test_losses_and_gradients_are_near_those_of_float32(name, half, backend):
    model, loss = models()[name]
    with precision("float32"):
        expected = loss()
        (expected * SCALE).backward()
        gradients = {key: p.grad.numpy().copy() for key, p in model.named_parameters() if p.requires_grad}
        model.zero_grad()
    ours = loss()
    (ours * SCALE).backward()
    bound = 16 * HALVES[str(half)]
    assert abs(ours.item() - expected.item()) <= bound * max(1, abs(expected.item()))
    largest = max(np.abs(gradient).max() for gradient in gradients.values())
    for key, p in model.named_parameters():
        if p.requires_grad:  # those of queries and keys are small differences of large numbers
            assert np.abs(p.grad.numpy() - gradients[key]).max() <= bound * largest, key


@pytest.mark.kernels
def test_scores_are_float32_and_a_cache_holds_halves(half, backend):
    model = GPT2(GPT2Config(**SIZES)).eval()
    ids = backend.from_numpy(IDS)
    with no_grad():
        whole = model(ids)
        cache = model.new_cache(3)
        assert cache.layers[0].keys.dtype == half
        first, then = model(ids[:, :5], cache), model(ids[:, 5:], cache)
    assert whole.dtype == first.dtype == np.float32
    joined = np.concatenate([first.numpy(), then.numpy()], axis=1)
    assert np.abs(joined - whole.numpy()).max() <= 8 * HALVES[str(half)] * np.abs(whole.numpy()).max()
