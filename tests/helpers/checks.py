"""What the sweep asks of an op. Each check asserts; the mutants of the ops are put through the same ones."""

import re
import warnings

import numpy as np
import strict

from tinygrad_gpt.backend import backend_of, get_backend, is_integer, use_backend
from tinygrad_gpt.engine import Tensor
from tinygrad_gpt.engine.guards import saved_arrays
from tinygrad_gpt.engine.mode import using_ops
from tinygrad_gpt.study.gradcheck import Draw, check_op, split_sample

# Arguments that may be floats and are never differentiated, by design.
NOT_DIFFERENTIATED = {("cross_entropy", 2): "class_weight is a setting of the loss"}
LIMIT = 1e-7  # relative error against a central difference


def samples(op, seed=0):
    return [split_sample(sample) for sample in op.samples(Draw(seed))]


def is_float(x):
    return isinstance(x, np.ndarray) and not is_integer(x.dtype)


def is_differentiated(op, i, x):
    return is_float(x) and (op.name, i) not in NOT_DIFFERENTIATED


def to_backend(value, backend):
    """NumPy arrays, also inside tuples and settings, as arrays of the backend."""
    if isinstance(value, np.ndarray):
        return backend.from_numpy(value)
    if isinstance(value, tuple):
        return tuple(to_backend(v, backend) for v in value)
    return {k: to_backend(v, backend) for k, v in value.items()} if isinstance(value, dict) else value


def cast(value, dtype):
    return np.asarray(value, dtype) if is_float(value) or isinstance(value, np.floating) else value


class Call:
    """One forward and backward pass of an op: result and gradients on the host, everything else as it was."""

    def __init__(self, op, arguments, settings, seed=1, backend="numpy", cotangent=None, retain_graph=False):
        self.op, self.backend = op, get_backend(backend)
        self.arrays = [to_backend(a, self.backend) for a in arguments]
        settings = to_backend(settings, self.backend)
        self.leaves = [Tensor(array, requires_grad=True) if is_differentiated(op, i, a) else array
                       for i, (a, array) in enumerate(zip(arguments, self.arrays, strict=True))]
        before = strict.synchronisations
        self.result = op(*self.leaves, **settings)
        if cotangent is None:
            cotangent = Draw(seed).normal(*self.result.shape).astype(self.result.dtype)
        self.cotangent = self.backend.from_numpy(cotangent)
        self.saved = saved_arrays(self.result.node.pullbacks)
        self.result.backward(self.cotangent, retain_graph=retain_graph)
        self.waits = strict.synchronisations - before
        self.grads = [leaf.grad if isinstance(leaf, Tensor) else None for leaf in self.leaves]

    def values(self):
        """Result and gradients as NumPy arrays."""
        return [t.numpy() for t in (self.result, *self.grads) if t is not None]


def error(a, b):
    """Largest difference relative to the larger of 1 and the largest value."""
    a, b = np.asarray(a), np.asarray(b)
    assert a.shape == b.shape, f"{a.shape} against {b.shape}"
    if a.dtype.kind == "f" and np.isnan(a).any():  # NaN where NaN is expected is no difference
        a, b = (np.where(np.isnan(a) & np.isnan(b), 0.0, x) for x in (a, b))
    return float(np.abs(a - b).max(initial=0) / max(1.0, np.abs(b).max(initial=0)))


def assert_close(ours, expected, limit):
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert error(a, b) <= limit


# -- the checks; each takes an op and a seed


def derivatives(op, seed):
    """Directional derivative of each float argument, one at a time."""
    for check in check_op(op, seed):
        assert check.passed(LIMIT), check


def every_argument(op, seed):
    """Each float argument has a gradient, of its shape and dtype, when all ask for one."""
    for arguments, settings in samples(op, seed):
        call = Call(op, arguments, settings)
        assert any(g is not None for g in call.grads)
        for array, leaf, grad in zip(call.arrays, call.leaves, call.grads, strict=True):
            if isinstance(leaf, Tensor):
                assert grad is not None
                assert grad.shape == array.shape
                assert grad.dtype == array.dtype
        single = Call(op, [cast(a, np.float32) for a in arguments], settings)  # astype: to another dtype
        assert all(g.dtype == np.float32 for g in single.grads if g is not None)


def joint_derivative(op, seed):
    """Directional derivative along all float arguments at once: pullbacks that share work, used together."""
    for arguments, settings in samples(op, seed):
        call = Call(op, arguments, settings, seed)
        draw = Draw(seed + 1)
        directions = [None if g is None else draw.normal(*g.shape) for g in call.grads]
        terms = np.concatenate([(g.numpy() * d).reshape(-1)
                                for g, d in zip(call.grads, directions, strict=True) if g is not None])

        def along(t, arguments=arguments, settings=settings, directions=directions):
            moved = [a if d is None else a + t * d for a, d in zip(arguments, directions, strict=True)]
            return op(*moved, **settings).numpy()

        numeric = (call.cotangent * (along(1e-6) - along(-1e-6))).sum() / 2e-6
        assert abs(terms.sum() - numeric) / max(1.0, np.abs(terms).sum()) <= LIMIT


def jacobian(op, seed, entries=64):
    """The whole Jacobian where it is small: rows by backward, columns by central difference."""
    worst = 0.0
    for arguments, settings in samples(op, seed):
        for i, x in enumerate(arguments):
            size = op(*arguments, **settings).size
            if not is_differentiated(op, i, x) or x.size * size > entries:
                continue
            leaf = Tensor(x, requires_grad=True)
            y = op(*arguments[:i], leaf, *arguments[i + 1:], **settings)
            rows = []
            for unit in np.eye(size):
                leaf.zero_grad()
                y.backward(unit.reshape(y.shape), retain_graph=True)
                rows.append(leaf.grad.numpy().reshape(-1).copy())
            columns = []
            for unit in np.eye(x.size):
                step = 1e-6 * unit.reshape(x.shape)
                up, down = (op(*arguments[:i], x + t * step, *arguments[i + 1:], **settings).numpy() for t in (1, -1))
                columns.append((up - down).reshape(-1) / 2e-6)
            analytic, numeric = np.array(rows), np.array(columns).T
            worst = max(worst, error(analytic, numeric))
    assert worst <= LIMIT
    return worst


def float32_stays(op, seed):
    """float32 in, float32 out, and no float64 array on the way (the strict arrays would fail)."""
    for arguments, settings in samples(op, seed):
        if "dtype" in settings:
            settings = {**settings, "dtype": "float32"}
        arguments = [cast(a, np.float32) for a in arguments]
        for backend in ("numpy", "strict"):
            use_backend(backend)
            try:
                with strict.pure_float32():
                    call = Call(op, arguments, settings, backend=backend)
            finally:
                use_backend("numpy")
            assert call.result.dtype == np.float32
            assert all(g.dtype == np.float32 for g in call.grads if g is not None)


def nothing_is_written(op, seed):
    """Inputs, settings, saved arrays and the cotangent are read-only, and what they were."""
    for arguments, settings in samples(op, seed):
        arrays = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        for a in arrays:
            if isinstance(a, np.ndarray):
                a.flags.writeable = False
        call = Call(op, arrays, settings, retain_graph=True)
        first = [g.numpy().copy() for g in call.grads if g is not None]
        y = call.result.numpy().copy()
        for leaf in call.leaves:
            if isinstance(leaf, Tensor):
                leaf.zero_grad()
        for array in (*call.saved.values(), call.cotangent):
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        call.result.backward(call.cotangent)
        again = [leaf.grad.numpy() for leaf in call.leaves if isinstance(leaf, Tensor)]
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
        assert np.array_equal(y, call.result.numpy())
        assert all(np.array_equal(a, b) for a, b in zip(arrays, arguments, strict=True) if isinstance(a, np.ndarray))


def nothing_is_shared(op, seed):
    """Gradients share memory with nothing: not with each other, the arguments, the result, the cotangent, the saved."""
    for arguments, settings in samples(op, seed):
        call = Call(op, arguments, settings)
        grads = [g.numpy() for g in call.grads if g is not None]
        others = [a for a in (*call.arrays, *call.saved.values(), call.cotangent, call.result.numpy())
                  if isinstance(a, np.ndarray)]
        for i, g in enumerate(grads):
            assert not any(np.shares_memory(g, other) for other in [*grads[:i], *others])


def forms_of(op, backend="numpy"):
    """The names of the forms that an op has on a backend, as `using_ops` takes them."""
    return [*op.available(get_backend(backend)), *(["composed"] if op.composed else [])]


def forms_agree(op, seed):
    """All forms of an op give the values and the gradients of the plain one, in float64."""
    for arguments, settings in samples(op, seed):
        with using_ops("plain"):
            plain = Call(op, arguments, settings)
        for form in forms_of(op)[1:]:
            with using_ops(form):
                other = Call(op, arguments, settings)
            assert_close(other.values(), plain.values(), 1e-12)


SMALL = {"TILE": 4, "LOGITS": 7, "PRODUCT": 4, "QUERIES": 2}  # constants of fast forms: the size of their parts


def forms_agree_in_small_parts(op, seed):
    """The same where the fast form takes its arrays in several parts, as it does with large ones."""
    names = op.fast.function.__globals__
    before = {name: names[name] for name in SMALL if name in names}
    names.update({name: SMALL[name] for name in before})
    try:
        forms_agree(op, seed)
    finally:
        names.update(before)


def saved_by(op, form, seed=0):
    """The names of the arrays that the pullbacks of a form capture, over all samples."""
    with using_ops(form):
        return {name.split("[")[0] for arguments, settings in samples(op, seed)
                for name in Call(op, arguments, settings).saved}


def saves_what_it_says(op, seed=0):
    """The docstring's `Saves:` names the arrays that the plain form's pullbacks capture."""
    saved = saved_by(op, "plain", seed)
    stated = fields(op)["Saves"]
    assert saved == (set() if stated == "nothing" else set(re.split(r",\s*", stated)))


def same_on_strict(op, seed):
    """The stand-in for CuPy gives the same bits, and nothing waits for the device."""
    for arguments, settings in samples(op, seed):
        ours = Call(op, arguments, settings)
        use_backend("strict")
        try:
            theirs = Call(op, arguments, settings, backend="strict")
            assert theirs.waits == 0
            assert all(backend_of(g.data).name == "strict" for g in theirs.grads if g is not None)
            assert_close(theirs.values(), ours.values(), 1e-14)
        finally:
            use_backend("numpy")


def fields(op):
    """The docstring's fields."""
    parts = re.split(r"^    (Forward|Gradient|Shapes|Saves|Source):", op.__doc__, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def extremes(op, arguments, kind, r):
    """Arguments filled with ±1e4, or with one number, inside the domain of the op."""
    size = {"large": 1e4, "small": 1e-4, "constant": 3.0, "equal": 1e4}[kind]
    constant = kind in ("constant", "equal") or op.name in ("log", "log1p", "sqrt")
    return [np.asarray(size * np.where(constant, 1.0, r.choice([-1.0, 1.0], a.shape)))
            if is_differentiated(op, i, a) else a for i, a in enumerate(arguments)]


SPECIAL = {  # (arguments, settings, gradients for a cotangent of ones): what PyTorch takes where no derivative is
    "abs": [(([-2.0, 0.0, 3.0],), {}, [[-1.0, 0.0, 1.0]])],
    "relu": [(([-2.0, 0.0, 3.0],), {}, [[0.0, 0.0, 1.0]])],
    "maximum": [(([1.0, 2.0, 3.0], [2.0, 2.0, 2.0]), {}, [[0.0, 0.5, 1.0], [1.0, 0.5, 0.0]])],
    "max": [(([2.0, 1.0, 2.0, 2.0],), {}, [[1 / 3, 0.0, 1 / 3, 1 / 3]]),
            (([[2.0, 2.0], [1.0, 3.0]],), {"axis": 1}, [[[0.5, 0.5], [0.0, 1.0]]])],
    "norm": [(([[0.0, 0.0], [3.0, 4.0]],), {"axis": 1}, [[[0.0, 0.0], [0.6, 0.8]]])],
    "pow": [(([0.0, 0.0, 0.0, 0.0], [0.0, 1.0, 2.0, 3.0]), {}, [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]),
            (([-2.0, 2.0], 0.0), {}, [[0.0, 0.0]]), (([-2.0, 2.0], 3.0), {}, [[12.0, 12.0]])],
    "cross_entropy": [(([[1.0, 2.0], [3.0, 1.0]], np.array([-100, -100])), {}, [[[0.0, 0.0], [0.0, 0.0]]])],
}


def special_points(op, seed):
    """Where there is no derivative, or the formula needs care: the values that PyTorch gives."""
    for arguments, settings, expected in SPECIAL.get(op.name, ()):
        arrays = [np.array(a) if isinstance(a, list) else a for a in arguments]
        for scale in (1.0, 10.0):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", "op 'cross_entropy': all 2 targets are ignored")
                cotangent = scale * np.ones(op(*arrays, **settings).shape)
                call = Call(op, arrays, settings, cotangent=cotangent)
            assert_close(call.values()[1:], [scale * np.array(e) for e in expected], 1e-15)


OVERFLOWS = {"exp": "e^10000 has no float32", "expm1": "e^10000 has no float32", "pow": "10000^10000 has no float32"}


def stable(op, seed):
    """±1e4, constant rows: finite results and gradients, no warning; equal values lose no digits."""
    for kind in ("constant",) if op.name in OVERFLOWS else ("large", "small", "constant", "equal"):
        for arguments, settings in samples(op, seed):
            arguments = extremes(op, arguments, kind, np.random.default_rng(seed))
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                single = Call(op, [cast(a, np.float32) for a in arguments], settings)
                double = Call(op, arguments, settings)
            assert all(np.isfinite(v).all() for v in single.values()), kind
            if kind in ("constant", "equal"):
                assert error(single.result.numpy(), double.result.numpy()) <= 1e-5


CHECKS = {f.__name__: f for f in (every_argument, derivatives, joint_derivative, jacobian, float32_stays,
                                  nothing_is_written, nothing_is_shared, stable, special_points, same_on_strict)}
