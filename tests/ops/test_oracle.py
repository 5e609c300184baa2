"""PyTorch as oracle: the ops on their own samples, and on the samples that PyTorch tests itself with (OpInfo)."""

import sys
import types
import unittest
import warnings

import numpy as np
import pytest
from checks import SPECIAL, Call, cast, error, is_differentiated, samples

from tinygrad_gpt import ops
from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine import OPS, Tensor, using_ops
from tinygrad_gpt.engine.functional import grad as gradient
from tinygrad_gpt.study.gradcheck import Draw

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e '.[oracle]'")
F = torch.nn.functional

LIMITS = {"float64": (1e-12, 1e-10), "float32": (1e-5, 1e-5)}  # forward, gradients
FORMS = [(name, form) for name in sorted(OPS) for form in OPS[name].available(get_backend("numpy"))]


def attention(q, k, v, padding=None, keep=None, *, causal=True, p=0.0):
    n, m = q.shape[-2], k.shape[-2]
    allowed = torch.ones(n, m, dtype=torch.bool)
    if causal:
        allowed = allowed.tril(m - n)
    if padding is not None:
        allowed = allowed & padding.reshape(len(padding), 1, -1, m)
    scores = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
    weights = torch.where(allowed.any(-1, keepdim=True), scores.softmax(-1).nan_to_num(0.0), torch.zeros_like(scores))
    return (weights if keep is None else weights * keep / (1 - p)) @ v


def self_attention(qkv, padding=None, keep=None, *, n_head, **settings):
    batch, length, width = qkv.shape
    q, k, v = qkv.reshape(batch, length, 3, n_head, -1).permute(2, 0, 3, 1, 4)
    return attention(q, k, v, padding, keep, **settings).permute(0, 2, 1, 3).reshape(batch, length, width // 3)


def scatter(values, index, shape):
    places = torch.arange(int(np.prod(shape))).reshape(shape)[index].reshape(-1)
    return torch.zeros(int(np.prod(shape)), dtype=values.dtype).index_add(0, places, values.reshape(-1)).reshape(shape)


def reduction(function, everything=None):
    def reduced(x, axis=None, keepdims=False):
        axes = tuple(range(x.ndim)) if axis is None else axis
        return function(x, dim=axes, keepdim=keepdims) if x.ndim else (everything or function)(x, dim=0)

    return reduced


# Each op, said in PyTorch.
TORCH = {
    "abs": torch.abs, "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "neg": torch.neg,
    "pow": torch.pow, "exp": torch.exp, "log": torch.log, "sqrt": torch.sqrt, "tanh": torch.tanh,
    "maximum": torch.maximum, "where": torch.where, "sigmoid": torch.sigmoid, "relu": F.relu,
    "astype": lambda x, dtype: x.to(getattr(torch, dtype)),
    "bias_gelu": lambda x, b: F.gelu(x + b, approximate="tanh"), "gelu": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_exact": F.gelu,
    "sin": torch.sin, "cos": torch.cos, "log1p": torch.log1p, "expm1": torch.expm1,
    "norm": reduction(lambda x, **settings: torch.linalg.vector_norm(x, **settings)),
    "cumsum": lambda x, axis=0: x.cumsum(axis),
    "attention": attention, "self_attention": self_attention,
    "dropout": lambda x, keep, p: x * keep / (1 - p),
    "embedding": lambda weight, ids: F.embedding(ids, weight),
    "matmul": torch.matmul, "linear": lambda x, weight, bias=None: F.linear(x, weight.T, bias),
    "layer_norm": lambda x, weight, bias: F.layer_norm(x, x.shape[-1:], weight, bias),
    "sum": reduction(torch.sum), "mean": reduction(torch.mean), "max": reduction(torch.amax),
    "logsumexp": reduction(torch.logsumexp),
    "softmax": lambda x, axis=-1: x.softmax(axis), "log_softmax": lambda x, axis=-1: x.log_softmax(axis),
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, dims: x.permute(dims),
    "slice": lambda x, index: x[index], "scatter": scatter, "erf": torch.erf,
    "concat": lambda *arrays, axis=0: torch.cat(arrays, axis),
    "stack": lambda *arrays, axis=0: torch.stack(arrays, axis),
    "broadcast_to": lambda x, shape: x.broadcast_to(shape),
    "linear_cross_entropy": lambda x, weight, targets, **settings: F.cross_entropy(
        x.reshape(-1, x.shape[-1]) @ weight.T, targets.reshape(-1), **settings),
    "cross_entropy": lambda logits, targets, weight=None, **settings: F.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), targets.reshape(-1), weight, **settings),
}


def to_torch(value, requires_grad=False):
    if isinstance(value, np.ndarray):
        return torch.tensor(value, requires_grad=requires_grad)
    return tuple(to_torch(v) for v in value) if isinstance(value, tuple) else value


def test_every_op_has_its_oracle():
    assert TORCH.keys() == OPS.keys()


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_op_on_its_samples(name, form, dtype):
    for seed in range(3):
        for arguments, settings in samples(OPS[name], seed):
            arguments = [cast(a, dtype) for a in arguments]
            with using_ops(form):
                compare_call(name, arguments, settings, *LIMITS[dtype])


@pytest.mark.parametrize("name", sorted(OPS))
def test_second_derivatives_are_those_of_double_backward(name):
    """The gradient of ⟨gradients, v⟩ with respect to the arguments and to the cotangent, float64."""
    for seed in range(2):
        for arguments, settings in samples(OPS[name], seed):
            compare_second_derivatives(name, arguments, settings, Draw(seed + 10))


def compare_second_derivatives(name, arguments, settings, draw):
    wanted = [i for i, a in enumerate(arguments) if is_differentiated(OPS[name], i, a)]
    ours = [Tensor(a, requires_grad=True) if i in wanted else a for i, a in enumerate(arguments)]
    theirs = [to_torch(a, i in wanted) for i, a in enumerate(arguments)]
    y, expected = OPS[name](*ours, **settings), TORCH[name](*theirs, **{k: to_torch(v) for k, v in settings.items()})
    cotangent = draw.normal(*y.shape)
    along = [draw.normal(*arguments[i].shape) for i in wanted]
    u, torch_u = Tensor(cotangent, requires_grad=True), torch.tensor(cotangent, requires_grad=True)
    first = gradient(y, [ours[i] for i in wanted], u, create_graph=True)
    second = gradient(first, [*(ours[i] for i in wanted), u], along, allow_unused=True)
    torch_first = torch.autograd.grad(expected, [theirs[i] for i in wanted], torch_u, create_graph=True)
    torch_second = torch.autograd.grad(torch_first, [*(theirs[i] for i in wanted), torch_u],
                                       [torch.tensor(v) for v in along], allow_unused=True)
    for found, reference in zip([*first, *second], [*torch_first, *torch_second], strict=True):
        reference = np.zeros(()) if reference is None else reference.numpy(force=True)
        found = np.zeros(reference.shape) if found is None else found.numpy()
        assert error(found, np.broadcast_to(reference, found.shape)) <= 1e-9


def compare_call(name, arguments, settings, limit, grad_limit, cotangent=None):
    ours = Call(OPS[name], arguments, settings, cotangent=cotangent)
    theirs = [to_torch(a, is_differentiated(OPS[name], i, a)) for i, a in enumerate(arguments)]
    result = TORCH[name](*theirs, **{k: to_torch(v) for k, v in settings.items()})
    assert str(result.dtype) == f"torch.{ours.result.dtype}"
    assert tuple(result.shape) == ours.result.shape
    assert error(ours.result.numpy(), result.detach().numpy()) <= limit
    result.backward(torch.tensor(ours.cotangent))
    for grad, x in zip(ours.grads, theirs, strict=True):
        if grad is not None:
            assert str(x.grad.dtype) == f"torch.{grad.dtype}"
            assert error(grad.numpy(), x.grad.numpy()) <= grad_limit


@pytest.mark.parametrize("name", sorted(set(SPECIAL) - {"cross_entropy"}))
def test_table_of_sub_gradients(name):
    """The table that the sweep holds the ops to is PyTorch's."""
    for arguments, settings, _ in SPECIAL[name]:
        arrays = [np.array(a) if isinstance(a, list) else a for a in arguments]
        cotangent = np.ones(OPS[name](*arrays, **settings).shape)
        compare_call(name, arrays, settings, 1e-15, 1e-15, cotangent)


def test_cross_entropy_of_ignored_targets_alone():
    """PyTorch gives NaN; here the loss is 0, so is the gradient, and a warning counts the targets."""
    logits = Tensor(np.ones((3, 4)), requires_grad=True)
    with pytest.warns(UserWarning, match="all 3 targets are ignored; the loss is 0"):
        loss = ops.cross_entropy(logits, np.full(3, -100))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.numpy().any()
    assert torch.isnan(F.cross_entropy(torch.ones(3, 4), torch.full((3,), -100)))


# -- OpInfo


def unary(name):
    return lambda x, inplace=False: OPS[name](x)


def added(sign):
    return lambda a, b, alpha=1: a + (b * alpha if alpha != 1 else b) * sign if sign < 0 else a + (
        b * alpha if alpha != 1 else b)


def reduced(name):
    def call(x, dim=None, keepdim=False):
        if name == "logsumexp" and not x.ndim and dim is not None:
            return "an axis of a 0-d tensor: NumPy has none"
        axis = None if dim is None or dim == () or dim == [] else tuple(dim) if isinstance(dim, list) else dim
        return OPS[name](x, axis=axis, keepdims=keepdim)

    return call


def normalized(name):
    def call(x, dim, dtype=None):
        if not x.size:
            return "there is no maximum of nothing"
        return OPS[name](x if dtype is None else x.astype(str(dtype).removeprefix("torch.")), axis=dim)

    return call


def gelu(x, approximate="none"):
    return ops.gelu(x) if approximate == "tanh" else ops.gelu_exact(x)


def linear(x, weight, bias=None):
    return ops.linear(x, weight.T, bias) if weight.ndim == 2 else x @ weight if bias is None else x @ weight + bias


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    n = int(np.prod(shape))
    weight = np.ones(n, x.dtype) if weight is None else weight.reshape(n)
    bias = np.zeros(n, x.dtype) if bias is None else bias.reshape(n)
    return ops.layer_norm(x.reshape((*x.shape[:x.ndim - len(shape)], n)), weight, bias, eps=eps).reshape(x.shape)


def product_attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, enable_gqa=False, scale=None):
    if attn_mask is not None or dropout_p or enable_gqa or scale is not None:
        return "a mask of scores, random dropout, grouped heads or a scale of one's own: not in GPT-2"
    if k.shape != v.shape or q.shape[:-2] != k.shape[:-2] or (is_causal and q.shape[-2] != k.shape[-2]):
        return "values of another width, repeated heads, or a causal mask aligned at the first key"
    q, k, v = (t.reshape((-1, 1, *t.shape[-2:])) if t.ndim == 3 else t for t in (q, k, v))
    return ops.attention(q, k, v, causal=is_causal)


def cross_entropy(logits, target, weight=None, reduction="mean", ignore_index=-100, label_smoothing=0.0):
    if reduction != "mean" or target.dtype.kind == "f":
        return "only the mean over class ids"
    if logits.ndim > 1:
        logits = logits.permute(0, *range(2, logits.ndim), 1)
    return ops.cross_entropy(logits, target, raw(weight), ignore_index=ignore_index, label_smoothing=label_smoothing)


def raw(weight):
    return weight.detach() if isinstance(weight, Tensor) else weight


def embedding(weight, ids, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    if padding_idx is not None or max_norm is not None or scale_grad_by_freq:
        return "a row without gradient, a norm, or scaling by frequency: not in GPT-2"
    return ops.embedding(weight, ids)


def concat(arrays, dim=0):
    if len({a.ndim for a in arrays}) > 1:
        return "an empty 1-d tensor beside others, which PyTorch skips"
    return ops.concat(*arrays, axis=dim)


def transpose(x, a, b):
    return ops.transpose(x, a, b) if x.ndim else "axes of a 0-d tensor: NumPy has none"


def expand(x, *sizes):
    sizes = sizes[0] if isinstance(sizes[0], (tuple, list)) else sizes
    own = (1,) * (len(sizes) - x.ndim) + x.shape
    return ops.broadcast_to(x, shape=tuple(n if s == -1 else s for s, n in zip(sizes, own, strict=True)))


OPINFO = {
    "abs": unary("abs"), "add": added(1), "sub": added(-1), "mul": lambda a, b: a * b,
    "div/no_rounding_mode": lambda a, b, rounding_mode=None: a / b, "true_divide": lambda a, b: a / b,
    "neg": unary("neg"), "exp": unary("exp"), "log": unary("log"), "sqrt": unary("sqrt"), "tanh": unary("tanh"),
    "sigmoid": unary("sigmoid"), "pow": lambda a, b: a ** b, "maximum": lambda a, b: ops.maximum(a, b),
    "where": lambda a, condition, b: ops.where(condition, a, b), "nn.functional.relu": unary("relu"),
    "nn.functional.gelu": gelu, "nn.functional.scaled_dot_product_attention": product_attention,
    "nn.functional.embedding": embedding, "nn.functional.linear": linear, "nn.functional.layer_norm": layer_norm,
    "nn.functional.cross_entropy": cross_entropy, "matmul": lambda a, b: a @ b, "bmm": lambda a, b: a @ b,
    "logsumexp": reduced("logsumexp"), "amax": reduced("max"), "mean": reduced("mean"), "sum": reduced("sum"),
    "softmax": normalized("softmax"), "softmax/with_dtype": normalized("softmax"),
    "log_softmax": normalized("log_softmax"), "log_softmax/with_dtype": normalized("log_softmax"),
    "broadcast_to": lambda x, shape: ops.broadcast_to(x, shape=tuple(shape)), "expand": expand,
    "cat": concat, "stack": lambda arrays, dim=0: ops.stack(*arrays, axis=dim),
    "reshape": lambda x, shape: ops.reshape(x, shape=tuple(shape)), "transpose": transpose,
    "permute": lambda x, dims: ops.permute(x, dims=tuple(dims)),
    "__getitem__": lambda x, index: x[index if all(isinstance(i, int) for i in index) else tuple(index)]
    if isinstance(index, list) else x[index],
    "index_select": lambda x, dim, index: x[(slice(None),) * (dim % x.ndim) + (index,)] if x.ndim else x[None][index],
}
compared = {}


@pytest.fixture(scope="module")
def opinfo():
    """PyTorch's own table of ops and samples. It wants a package for snapshot tests, of which it uses one name."""
    stub = types.ModuleType("expecttest")
    stub.TestCase = unittest.TestCase
    sys.modules.setdefault("expecttest", stub)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from torch.testing._internal.common_methods_invocations import op_db
        except ImportError as problem:
            pytest.skip(f"PyTorch's samples cannot be imported: {problem}")
    return {info.name + (f"/{info.variant_test_name}" if info.variant_test_name else ""): info for info in op_db}


class Translated:
    """A PyTorch sample as our tensors, and the pairs (ours, theirs) that require gradients."""

    def __init__(self, sample):
        self.pairs = []
        self.arguments = [self(v) for v in (sample.input, *sample.args)]
        self.settings = {k: self(v) for k, v in sample.kwargs.items()}

    def __call__(self, value):
        if isinstance(value, (list, tuple)):
            return type(value)(self(v) for v in value)
        if not isinstance(value, torch.Tensor):
            return value
        array = value.detach().numpy()
        if not value.is_floating_point():
            return array
        tensor = Tensor(array, requires_grad=value.requires_grad)
        if value.requires_grad:
            self.pairs.append((tensor, value))
        return tensor


def doubled(value, known):
    """The sample in float64, so that PyTorch's own rounding is not held against us; ``known`` maps ids to copies."""
    if isinstance(value, (list, tuple)):
        return type(value)(doubled(v, known) for v in value)
    if isinstance(value, dict):
        return {k: doubled(v, known) for k, v in value.items()}
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        if id(value) not in known:
            known[id(value)] = value.detach().double().requires_grad_(value.requires_grad)
        return known[id(value)]
    return value


@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("form", ["plain", "fast"])
@pytest.mark.parametrize("name", OPINFO)
@pytest.mark.filterwarnings("ignore:Casting complex", "ignore:op 'cross_entropy'")
def test_opinfo(opinfo, name, form, dtype):
    with using_ops(form):
        compare_opinfo(opinfo, name, form, dtype)


def compare_opinfo(opinfo, name, form, dtype):
    info, count, inapplicable, worst = opinfo[name], 0, [], [0.0, 0.0]
    limit, grad_limit = LIMITS[dtype]
    torch.manual_seed(0)
    for sample in info.sample_inputs("cpu", getattr(torch, dtype), requires_grad=True):
        ours = Translated(sample)
        y = OPINFO[name](*ours.arguments, **ours.settings)
        if isinstance(y, str):
            inapplicable.append(y)
            continue
        count += 1
        assert str(info(sample.input, *sample.args, **sample.kwargs).dtype) == f"torch.{y.dtype}"
        precise = {}
        expected = info(*doubled((sample.input, *sample.args), precise), **doubled(sample.kwargs, precise))
        expected_values = expected.detach().numpy()
        distance = error(y.numpy().reshape(expected_values.shape), expected_values)
        assert distance <= limit
        worst[0] = max(worst[0], distance)
        cotangent = np.random.default_rng(count).standard_normal(expected_values.shape).astype(y.dtype)
        if y.requires_grad:
            y.backward(cotangent.reshape(y.shape))
        grads = torch.autograd.grad(expected, [precise[id(theirs)] for _, theirs in ours.pairs],
                                    torch.tensor(cotangent).to(expected.dtype), allow_unused=True)
        for (tensor, _), grad in zip(ours.pairs, grads, strict=True):
            nothing = np.zeros(tensor.shape, tensor.dtype)
            found = nothing if tensor.grad is None else tensor.grad.numpy()
            distance = error(found, nothing if grad is None else grad.numpy())
            assert distance <= grad_limit
            worst[1] = max(worst[1], distance)
    print(f"{name} {form} {dtype}: {count} samples compared, worst {worst[0]:.1e} forward, {worst[1]:.1e} gradient; "
          f"{len(inapplicable)} not: {set(inapplicable)}")
    assert count >= 1
    compared[name, form, dtype] = count


def test_how_much_was_compared():
    """After the others, where all of them ran: no translation quietly declines its samples."""
    print(f"{sum(compared.values())} samples compared")
    assert len(compared) < 4 * len(OPINFO) or sum(compared.values()) >= 1100
