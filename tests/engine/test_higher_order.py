"""Second derivatives: of every op against central differences of the first, and of whole models."""

import ml_dtypes
import numpy as np
import pytest
import strict
from checks import assert_close, cast, is_differentiated, is_float, samples, to_backend

from tinygrad_gpt import ops
from tinygrad_gpt.backend import get_backend, use_backend
from tinygrad_gpt.engine import OPS, Op, Tensor, checking, no_grad, using_ops
from tinygrad_gpt.engine.functional import grad
from tinygrad_gpt.engine.recompute import recompute
from tinygrad_gpt.errors import TapeError
from tinygrad_gpt.models.gpt2 import GPT2, GPT2Config, seed_dropout
from tinygrad_gpt.runs.saved_model import load_model
from tinygrad_gpt.study.gradcheck import Draw

FORMS = [(name, form) for name in sorted(OPS) for form in OPS[name].available(get_backend("numpy"))]
LIMIT = 1e-6  # relative, of a central difference of first derivatives


def gradients(name, arguments, settings, cotangent, **options):
    """The differentiated arguments as leaves, and the gradients of ⟨cotangent, op⟩ with respect to them."""
    leaves = {i: Tensor(a, requires_grad=True) for i, a in enumerate(arguments) if is_differentiated(OPS[name], i, a)}
    y = OPS[name](*[leaves.get(i, a) for i, a in enumerate(arguments)], **settings)
    return list(leaves.values()), grad(y, list(leaves.values()), cotangent, **options)


def second_derivative_error(name, arguments, settings, draw):
    """Of ⟨gradients, v⟩ along a random direction of arguments and cotangent: by double backward, by differences."""
    shape = OPS[name](*arguments, **settings).shape
    wanted = [i for i, a in enumerate(arguments) if is_differentiated(OPS[name], i, a)]
    cotangent, change = draw.normal(*shape), draw.normal(*shape)
    along, directions = ([draw.normal(*arguments[i].shape) for i in wanted] for _ in range(2))

    def product(t):
        moved = list(arguments)
        for i, d in zip(wanted, directions, strict=True):
            moved[i] = np.asarray(moved[i] + t * d)
        _, grads = gradients(name, moved, settings, cotangent + t * change)
        return sum(float((g.numpy() * v).sum()) for g, v in zip(grads, along, strict=True))

    u = Tensor(cotangent, requires_grad=True)
    leaves, first = gradients(name, arguments, settings, u, create_graph=True)
    second = grad(first, [*leaves, u], along, allow_unused=True)
    terms = [g.numpy() * d for g, d in zip(second, [*directions, change], strict=True) if g is not None]
    assert terms
    numeric = (product(1e-6) - product(-1e-6)) / 2e-6
    return abs(sum(t.sum() for t in terms) - numeric) / max(1.0, sum(np.abs(t).sum() for t in terms))


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_second_derivatives_are_those_of_differences(name, form):
    for seed in range(2):
        for arguments, settings in samples(OPS[name], seed):
            with using_ops(form):
                assert second_derivative_error(name, arguments, settings, Draw(seed + 1)) <= LIMIT


@pytest.mark.parametrize("name", sorted(OPS))
def test_gradients_are_those_without_a_graph(name):
    """The recorded walk gives the values of the first-order one, of float32 arrays in float32."""
    for arguments, settings in samples(OPS[name]):
        single = [a.astype(np.float32) if is_differentiated(OPS[name], i, a) else a for i, a in enumerate(arguments)]
        single = [a.astype(np.float32) if isinstance(a, np.ndarray) and a.dtype == np.float64 else a for a in single]
        settings = {**settings, "dtype": "float32"} if "dtype" in settings else settings
        cotangent = Draw(3).normal(*OPS[name](*single, **settings).shape).astype(np.float32)
        _, expected = gradients(name, single, settings, cotangent)
        _, found = gradients(name, single, settings, cotangent, create_graph=True)
        for ours, reference in zip(found, expected, strict=True):
            assert ours.dtype == np.float32
            assert ours.numpy() == pytest.approx(reference.numpy(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("name", sorted(OPS))
def test_gradients_of_halves_are_halves(name, half):
    """Of dtype and shape of their arguments, also those of gradients, and near what float32 gives."""
    for arguments, settings in samples(OPS[name]):
        halves = [cast(a, half) for a in arguments]
        results = []
        for given in (halves, [cast(a, np.float32) if is_float(a) else a for a in halves]):
            like = OPS[name](*given, **settings)
            u = Tensor(np.ones(like.shape, like.dtype), requires_grad=True)
            leaves, first = gradients(name, given, settings, u, create_graph=True)
            second = grad(first, [*leaves, u], [np.ones(g.shape, g.dtype) for g in first], allow_unused=True)
            for g, x in zip([*first, *second], [*leaves, *leaves, u], strict=True):
                assert g is None or (g.dtype, g.shape) == (x.dtype, x.shape)
            results.append([g.numpy().astype(np.float32) for g in first])
        assert_close(*results, 16 * float(ml_dtypes.finfo(half).eps))


def test_third_derivatives_and_beyond():
    x = Tensor(np.array([0.5, -2.0]), requires_grad=True)
    y, expected = (x ** 5.0).sum(), [5, 20, 60, 120, 120]
    for power, factor in enumerate(expected):
        (y,) = grad(y.sum(), x, create_graph=True)
        assert y.numpy() == pytest.approx(factor * x.numpy() ** (4 - power))


@pytest.mark.kernels
def test_gradients_of_gradients_stay_on_their_backend(backend):
    x = Tensor(np.array([[1.0, 2.0], [3.0, 4.0]]), requires_grad=True, backend=backend.name)
    (slope,) = grad(ops.softmax(ops.gelu(x)).sum(axis=0)[0], x, create_graph=True)
    (curvature,) = grad((slope * slope).sum(), x)
    assert type(curvature.data) is type(x.data)
    assert np.isfinite(curvature.numpy()).all()


def first_and_second(name, arguments, settings, backend):
    """Gradients, and those of ⟨gradients, v⟩, computed on a backend; as NumPy arrays."""
    given = [to_backend(a, backend) for a in arguments]
    leaves = [Tensor(a, requires_grad=True) if is_differentiated(OPS[name], i, arguments[i]) else a
              for i, a in enumerate(given)]
    wanted = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
    y = OPS[name](*leaves, **to_backend(settings, backend))
    u = Tensor(Draw(1).normal(*y.shape), requires_grad=True, backend=backend.name)
    along = [Tensor(Draw(2).normal(*leaf.shape), backend=backend.name) for leaf in wanted]
    before = strict.synchronisations
    first = grad(y, wanted, u, create_graph=True)
    second = grad(first, [*wanted, u], along, allow_unused=True)
    assert strict.synchronisations == before, "nothing waits for the device"
    return [g.numpy() for g in [*first, *second] if g is not None]


@pytest.mark.parametrize("name", sorted(OPS))
def test_second_derivatives_on_a_device_are_those_of_the_host(name):
    for arguments, settings in samples(OPS[name]):
        expected = first_and_second(name, arguments, settings, get_backend("numpy"))
        backend = use_backend("strict")
        try:
            assert_close(first_and_second(name, arguments, settings, backend), expected, 1e-12)
        finally:
            use_backend("numpy")


# -- `backward(create_graph=True)`


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
def test_powers_at_zero_have_second_derivatives(exponent):
    x = Tensor(np.array([0.0, 2.0]), requires_grad=True)
    slope, = grad((x ** exponent).sum(), x, create_graph=True)
    curvature, = grad(slope.sum(), x)
    expected = {0.0: [0, 0], 1.0: [0, 0], 2.0: [2, 2], 3.0: [0, 12]}[exponent]
    assert curvature.tolist() == expected


def test_values_guarded_by_checking_mode_have_second_derivatives():
    with checking():
        x = Tensor(np.array([[1.0, 2.0]]), requires_grad=True)
        (slope,) = grad(ops.softmax(ops.gelu(x))[0, 0], x, create_graph=True)
        guarded = grad(slope.sum(), x)[0].numpy()
    (slope,) = grad(ops.softmax(ops.gelu(x))[0, 0], x, create_graph=True)
    assert np.array_equal(guarded, grad(slope.sum(), x)[0].numpy())


def test_gradients_on_leaves_carry_a_graph():
    x = Tensor(np.array([2.0]), requires_grad=True)
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.tolist() == [12.0]
    slope, = (x.grad,)
    x.zero_grad()
    slope.sum().backward()
    assert x.grad.tolist() == [12.0]  # 6 x
    assert not x.grad.requires_grad


def test_gradients_accumulate_with_their_graphs():
    x = Tensor(np.array([2.0]), requires_grad=True)
    (x * x).sum().backward(create_graph=True)
    (x * x * x).sum().backward(create_graph=True)
    assert x.grad.tolist() == [16.0]
    assert grad(x.grad.sum(), x)[0].tolist() == [14.0]  # 2 + 6 x


def test_the_graph_is_kept_and_hooks_see_tensors_of_it():
    x, seen = Tensor(np.array([2.0]), requires_grad=True), []
    h = x * x
    h.register_hook(lambda g: seen.append(g) or g * 10.0)
    h.retain_grad()
    y = (h * h).sum()
    y.backward(create_graph=True)
    assert (h.grad.tolist(), x.grad.tolist()) == ([80.0], [320.0])  # 10 · 2 h; 10 · 4 x³
    assert seen[0].requires_grad
    assert grad(y, x, retain_graph=True)[0].tolist() == [320.0]  # once more
    assert grad(x.grad.sum(), x)[0].tolist() == [3360.0]  # as PyTorch: what flows through h again is hooked again


def test_a_stored_gradient_shares_no_memory():
    x = Tensor(np.array([2.0, 3.0]), requires_grad=True)
    cotangent = Tensor(np.array([1.0, 1.0]))
    (x + 0.0).backward(cotangent, create_graph=True)
    x.grad.data[...] = 7
    assert cotangent.tolist() == [1.0, 1.0]


def test_a_first_pass_keeps_nothing_but_references():
    """Of a graph the nodes keep what was there before: leaves and constants, and no result of an op."""
    x, constant = Tensor(np.ones(1000), requires_grad=True), np.full(1000, 2.0)
    y = ops.exp(x * constant)
    product = y.node.inputs[0]
    assert product.known[0] is x.data
    assert product.known[1] is constant
    assert y.node.known == [None]
    y.sum().backward()
    assert product.known is None


# -- what is refused


def test_a_freed_graph_is_refused():
    x = Tensor(np.ones(2), requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(TapeError, match="was freed by an earlier backward"):
        y.backward(create_graph=True)


@pytest.mark.parametrize("change", ["leaf", "constant", "result"])
def test_a_value_changed_in_place_is_refused(change):
    x, constant = Tensor(np.ones(2), requires_grad=True), Tensor(np.ones(2))
    h = x + constant  # saves none of them, so that the first-order pass does not mind
    y = (h * 2.0).sum()
    with no_grad():
        {"leaf": x, "constant": constant, "result": h}[change].copy_(np.zeros(2))
    y.backward(retain_graph=True)
    with pytest.raises(TapeError, match="was changed in place after the forward pass"):
        grad(y, x, create_graph=True)


def test_a_recomputed_block_is_refused():
    x = Tensor(np.ones(2), requires_grad=True)
    y = recompute(lambda x: x * x, x).sum()
    with pytest.raises(TapeError, match="'recompute' is no op of the registry, so its gradient has no derivative"):
        y.backward(create_graph=True)


@pytest.mark.parametrize("body", [
    lambda xp, x: (np.cbrt(x), (lambda g: g * np.cbrt(x),)),
    lambda xp, x: (x.sum(), (lambda g: xp.nancumsum(x) * g,))])
def test_an_op_that_does_not_run_on_tensors_is_refused(body):
    def impure(xp, x):
        return body(xp, x)

    impure = OPS["impure"] = Op(impure)
    try:
        x = Tensor(np.ones(2), requires_grad=True)
        y = impure(x).sum()
        with pytest.raises(TapeError, match=r"the plain form of op 'impure' does not run|numpy\.cbrt: the tape"):
            grad(y, x, create_graph=True)
        assert grad(impure(x).sum(), x)[0].shape == (2,)
    finally:
        OPS.pop("impure")


# -- whole models


def double(model):
    """The model with float64 parameters."""
    for parameter in model.parameters():
        parameter.data = parameter.data.astype(np.float64)
    return model


def model_product(model, loss, directions):
    """Gradients of ⟨gradients of the loss, directions⟩ with respect to all parameters."""
    parameters = list(model.parameters())
    grads = grad(loss(), parameters, create_graph=True)
    return [g.numpy() for g in grad(grads, parameters, directions)]


def difference_product(model, loss, directions, step):
    """The same by central differences of the gradients."""
    def gradients_at(t):
        for parameter, d in zip(model.parameters(), directions, strict=True):
            parameter.data = parameter.data + t * d
        return [g.numpy().copy() for g in grad(loss(), model.parameters())]

    after = gradients_at(step)
    before = gradients_at(-2 * step)
    gradients_at(step)  # back
    return [(a - b) / (2 * step) for a, b in zip(after, before, strict=True)]


def relative(found, expected):
    """Largest difference relative to the largest value, of all parameters together."""
    scale = max(np.abs(e).max() for e in expected)
    return max(np.abs(f - e).max() for f, e in zip(found, expected, strict=True)) / scale


@pytest.mark.parametrize("form", ["plain", "fast", "composed"])
def test_a_hessian_vector_product_of_gpt2(form):
    """Of the loss with dropout, its masks being the same at every evaluation."""
    model = double(GPT2(GPT2Config(23, n_ctx=8, n_embd=8, n_layer=2, n_head=2, dropout=0.1), seed=1).train())
    ids, targets = (np.random.default_rng(i).integers(0, 23, (2, 7)) for i in range(2))

    def loss():
        seed_dropout(model, 3, 0)
        return model.loss(ids, targets)

    directions = [np.asarray(Draw(5).normal(*p.shape)) for p in model.parameters()]
    with using_ops(form):
        found = model_product(model, loss, directions)
        assert relative(found, difference_product(model, loss, directions, 1e-6)) <= 1e-6


def torch_product(model, ids, targets, directions):
    """The Hessian-vector product by torch's double backward, in our layout."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[oracle]'")
    import torch_gpt2
    from torch.nn.attention import SDPBackend, sdpa_kernel

    theirs = torch_gpt2.copy_weights(model, torch_gpt2.GPT2(model.config).double())
    flipped, names = torch_gpt2.transposed_names(theirs), [name for name, _ in model.named_parameters()]
    parameters = dict(theirs.named_parameters())
    ours = [torch.from_numpy(d.T.copy() if name in flipped else d) for name, d in zip(names, directions, strict=True)]
    with sdpa_kernel(SDPBackend.MATH):  # the one that can be differentiated twice
        logits = theirs(torch.from_numpy(ids))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
        grads = torch.autograd.grad(loss, [parameters[name] for name in names], create_graph=True)
        found = torch.autograd.grad(grads, [parameters[name] for name in names], ours)
    return [h.numpy().T if name in flipped else h.numpy() for name, h in zip(names, found, strict=True)]


def test_a_hessian_vector_product_of_gpt2_is_torchs():
    model = double(GPT2(GPT2Config(23, n_ctx=8, n_embd=8, n_layer=2, n_head=2), seed=1).eval())
    ids, targets = (np.random.default_rng(i).integers(0, 23, (2, 7)) for i in range(2))
    directions = [np.asarray(Draw(5).normal(*p.shape)) for p in model.parameters()]
    found = model_product(model, lambda: model.loss(ids, targets), directions)
    assert relative(found, torch_product(model, ids, targets, directions)) <= 1e-9


def test_a_hessian_vector_product_of_the_shipped_model_is_torchs():
    saved = load_model("storyteller")
    model, tokens = double(saved.transformer), np.array([saved.tokenizer.encode("Once upon a time there was a king.")])
    ids, targets = tokens[:, :-1], tokens[:, 1:]
    directions = [np.asarray(Draw(5).normal(*p.shape)) for p in model.parameters()]
    found = model_product(model, lambda: model.loss(ids, targets), directions)
    assert relative(found, torch_product(model, ids, targets, directions)) <= 1e-9
