"""The sweep: what every op of the registry must pass, as one call for an op of one's own.

    >>> from tinygrad_gpt import OPS
    >>> from tinygrad_gpt.study.sweep import check
    >>> check(OPS["gelu"])
    []

Each check takes an op, one of its samples and a seed, and raises `Wrong` with what it found.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tinygrad_gpt.engine import OPS, Op, Tensor
from tinygrad_gpt.study.calls import Call, Sample, cast, error, is_differentiated, samples
from tinygrad_gpt.study.gradcheck import LIMIT, Draw, check_sample

__all__ = ["CHECKS", "SPECIAL", "Finding", "Wrong", "check"]

ENTRIES = 64  # of a Jacobian that is computed whole
SINGLE = 1e-5  # relative error of float32
APART = 1000  # added to the seed of the samples, so that no cotangent is equal to an argument


class Wrong(AssertionError):
    """What a check found."""


@dataclass(frozen=True)
class Finding:
    """One fault of an op.

    Args:
        check: name of the check that found it.
        sample: number of the sample, from 0.
        text: what is wrong.
    """

    check: str
    sample: int
    text: str

    def __str__(self):
        return f"{self.check.replace('_', ' ')}, sample {self.sample}: {self.text}"


def check(op: Op | str, seed: int = 0, checks: Sequence[str] | None = None) -> list[Finding]:
    """Put an op through the sweep, on NumPy, in the form of the block (see `using_ops`).

    Args:
        op: an op or its name. It needs samples: small ones for the Jacobian, and one that broadcasts, if it does.
        seed: of the samples and the gradients.
        checks: some of `CHECKS`; None for all.

    Returns:
        For each check the first fault that it found; empty if the op is right.

    Example:
        >>> [str(fault) for fault in check("softmax")]
        []
    """
    op = OPS[op] if isinstance(op, str) else op
    found = []
    for name in CHECKS if checks is None else checks:
        for number, sample in enumerate(samples(op, seed)):
            if text := _fault(CHECKS[name], op, sample, seed):
                found.append(Finding(name, number, text))
                break
    return found


def _fault(checked: Callable, op: Op, sample: Sample, seed: int) -> str | None:
    try:
        checked(op, sample, seed)
    except Wrong as wrong:
        return str(wrong)
    except Exception as failure:  # of the op's own code: whatever it raises is a finding
        if "read-only" in str(failure):
            return "writes in place into an argument, the gradient or a saved array: compute a new array"
        return f"raises {type(failure).__name__}: {failure}"
    return None


def _require(condition, text: str) -> None:
    if not condition:
        raise Wrong(text)


def _gradients(call: Call):
    """Triples (name, argument, gradient) of the arguments that have one."""
    return [(call.op.argument(i), leaf, grad) for i, (leaf, grad) in
            enumerate(zip(call.leaves, call.grads, strict=True)) if isinstance(leaf, Tensor)]


def _same(ours: Sequence, expected: Sequence, limit: float, op: Op, what: str) -> None:
    names = ["the result", *(f"the gradient of '{a}'" for a in op.arguments)]
    for name, a, b in zip(names, ours, expected, strict=False):
        _require(error(a, b) <= limit, f"{name} is another {what}: relative difference {error(a, b):.1e}")


def _stays_single(name: str, grad) -> None:
    if grad is not None:
        _require(grad.dtype == np.float32, f"the gradient of a float32 '{name}' is {grad.dtype}: new arrays and "
                                           "numbers of NumPy are float64; end with `.astype(g.dtype)`")


# -- the checks


def every_argument(op: Op, sample: Sample, seed: int) -> None:
    """Each float argument has a gradient, of its shape and dtype, when all ask for one."""
    call = Call(op, *sample)
    _require(any(grad is not None for grad in call.grads),
             "no argument has a gradient; write a pullback in place of None for each that changes the result")
    for name, leaf, grad in _gradients(call):
        _require(grad is not None, f"'{name}' has no gradient; its pullback is None or missing")
        _require(grad.shape == leaf.shape, f"the gradient of '{name}' is {grad.shape}, the argument {leaf.shape}")
        _require(grad.dtype == leaf.dtype, f"the gradient of '{name}' is {grad.dtype}, the argument {leaf.dtype}; "
                                             "compute without dtypes of your own, or end with `.astype(g.dtype)`")
    single = Call(op, [cast(a, np.float32) for a in sample.arguments], sample.settings)  # astype: to another dtype
    for name, _, grad in _gradients(single):
        _stays_single(name, grad)


def derivatives(op: Op, sample: Sample, seed: int) -> None:
    """Directional derivative of each float argument, one at a time."""
    for compared in check_sample(op, sample, Draw(seed + APART)):
        _require(compared.passed(LIMIT), f"the gradient of '{compared.argument}' along a random direction is "
                                         f"{compared.analytic:.9g}, by differences {compared.numeric:.9g}")


def joint_derivative(op: Op, sample: Sample, seed: int) -> None:
    """Directional derivative along all float arguments at once: pullbacks that share work, used together."""
    call, draw = Call(op, *sample, seed + APART), Draw(seed + APART + 1)
    directions = [None if g is None else draw.normal(*g.shape) for g in call.grads]
    _require(any(d is not None for d in directions), "no argument has a gradient")
    terms = np.concatenate([(g.numpy() * d).reshape(-1)
                            for g, d in zip(call.grads, directions, strict=True) if g is not None])

    def along(t):
        moved = [a if d is None else a + t * d for a, d in zip(sample.arguments, directions, strict=True)]
        return op(*moved, **sample.settings).numpy()

    numeric = (call.cotangent * (along(1e-6) - along(-1e-6))).sum() / 2e-6
    _require(abs(terms.sum() - numeric) / max(1.0, np.abs(terms).sum()) <= LIMIT,
             f"all gradients together, along a random direction, give {terms.sum():.9g}, by differences {numeric:.9g}")


def jacobian(op: Op, sample: Sample, seed: int) -> None:
    """The whole Jacobian where it is small: rows by the backward pass, columns by central differences."""
    arguments, settings = sample
    size = op(*arguments, **settings).size
    for i, x in enumerate(arguments):
        if not is_differentiated(op, i, x) or x.size * size > ENTRIES:
            continue
        analytic, numeric = _rows(op, sample, i, size), _columns(op, sample, i)
        gap = np.abs(analytic - numeric)
        if error(analytic, numeric) > LIMIT:
            row, column = np.unravel_index(np.nan_to_num(gap, nan=np.inf).argmax(), gap.shape)
            raise Wrong(f"the derivative of result {int(row)} by '{op.argument(i)}' {int(column)} is "
                        f"{analytic[row, column]:.9g}, by differences {numeric[row, column]:.9g}")


def _rows(op, sample, i, size):
    leaf = Tensor(sample.arguments[i], requires_grad=True)
    y = op(*sample.arguments[:i], leaf, *sample.arguments[i + 1:], **sample.settings)
    rows = []
    for unit in np.eye(size):
        leaf.zero_grad()
        y.backward(unit.reshape(y.shape), retain_graph=True)
        rows.append(np.zeros(leaf.size) if leaf.grad is None else leaf.grad.numpy().reshape(-1).copy())
    return np.array(rows).reshape(size, leaf.size)


def _columns(op, sample, i):
    x, columns = sample.arguments[i], []
    for unit in np.eye(x.size):
        step = 1e-6 * unit.reshape(x.shape)
        up, down = (op(*sample.arguments[:i], x + t * step, *sample.arguments[i + 1:], **sample.settings).numpy()
                    for t in (1, -1))
        columns.append((up - down).reshape(-1) / 2e-6)
    return np.array(columns).T


def float32_stays(op: Op, sample: Sample, seed: int) -> None:
    """float32 in, float32 out, and the values of float64 up to rounding."""
    settings = {**sample.settings, "dtype": "float32"} if "dtype" in sample.settings else sample.settings
    call = Call(op, [cast(a, np.float32) for a in sample.arguments], settings)
    _require(call.result.dtype == np.float32, f"the result of float32 arguments is {call.result.dtype}")
    for name, _, grad in _gradients(call):
        _stays_single(name, grad)


def nothing_is_written(op: Op, sample: Sample, seed: int) -> None:
    """Arguments, saved arrays and the cotangent are what they were, and a second backward pass gives the same."""
    arrays = [a.copy() if isinstance(a, np.ndarray) else a for a in sample.arguments]
    _make_read_only(arrays)
    call = Call(op, arrays, sample.settings, retain_graph=True)
    first, y = [g.numpy().copy() for g in call.grads if g is not None], call.result.numpy().copy()
    for _, leaf, _ in _gradients(call):
        leaf.zero_grad()
    _make_read_only([*call.saved.values(), call.cotangent])
    call.result.backward(call.cotangent)
    for before, (name, leaf, _) in zip(first, [g for g in _gradients(call) if g[2] is not None], strict=True):
        _require(np.array_equal(before, leaf.grad.numpy()), f"the second backward pass gives another gradient of "
                 f"'{name}': a pullback writes into an array that it needs again; compute a new array")
    _require(np.array_equal(y, call.result.numpy()), "the backward pass writes into the result")
    for i, (a, b) in enumerate(zip(arrays, sample.arguments, strict=True)):
        _require(not isinstance(a, np.ndarray) or np.array_equal(a, b), f"'{op.argument(i)}' is written into")


def _make_read_only(arrays):
    for array in arrays:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False


def nothing_is_shared(op: Op, sample: Sample, seed: int) -> None:
    """Gradients share memory with nothing: not with each other, the arguments, the result, the cotangent, the saved."""
    call = Call(op, *sample)
    grads = [(name, grad.numpy()) for name, _, grad in _gradients(call) if grad is not None]
    others = [a for a in (*call.arrays, *call.saved.values(), call.cotangent, call.result.numpy())
              if isinstance(a, np.ndarray)]
    for i, (name, g) in enumerate(grads):
        shared = any(np.shares_memory(g, other) for other in [*(g for _, g in grads[:i]), *others])
        _require(not shared, f"the gradient of '{name}' is a view of another array; return a copy")


def layouts(op: Op, sample: Sample, seed: int) -> None:
    """Fortran-ordered, strided and reversed arguments and cotangents give the gradients of plain ones."""
    expected = Call(op, *sample)
    for lay_out in (_fortran, _strided, _reversed):
        odd = [lay_out(a) if isinstance(a, np.ndarray) else a for a in sample.arguments]
        call = Call(op, odd, sample.settings, cotangent=lay_out(expected.cotangent))
        _same(call.values(), expected.values(), 1e-12, op, f"one for {lay_out.__name__[1:]} arrays")


def _fortran(x):
    return np.array(x, order="F")


def _strided(x):
    return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x


def _reversed(x):
    return np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x


OVERFLOWS = {"exp": "e^10000 has no float32", "expm1": "e^10000 has no float32", "pow": "10000^10000 has no float32"}
SIZES = {"large": 1e4, "small": 1e-4, "constant": 3.0, "equal": 1e4}


def stable(op: Op, sample: Sample, seed: int) -> None:
    """±1e4, constant rows: finite results and gradients, no warning; equal values lose no digits."""
    generator = np.random.default_rng(seed)
    for kind in ("constant",) if op.name in OVERFLOWS else SIZES:
        arguments = _extremes(op, sample.arguments, kind, generator)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            single = Call(op, [cast(a, np.float32) for a in arguments], sample.settings)
            double = Call(op, arguments, sample.settings)
        _require(all(np.isfinite(v).all() for v in single.values()), f"not finite for {kind} values")
        if kind in ("constant", "equal"):
            _require(error(single.result.numpy(), double.result.numpy()) <= SINGLE, f"loses digits of {kind} values")


def _extremes(op, arguments, kind, generator):
    """Arguments filled with ±1e4, or with one number; those of a sample that are all positive stay so."""
    def filled(a):
        one_sign = kind in ("constant", "equal") or bool((a > 0).all())
        return np.asarray(SIZES[kind] * np.where(one_sign, 1.0, generator.choice([-1.0, 1.0], a.shape)))

    return [filled(a) if is_differentiated(op, i, a) else a for i, a in enumerate(arguments)]


# (arguments, settings, gradients for a cotangent of ones): what PyTorch takes where no derivative is
SPECIAL: dict[str, list[tuple]] = {
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


def special_points(op: Op, sample: Sample, seed: int) -> None:
    """Where there is no derivative, or the formula needs care: the values that PyTorch gives."""
    for arguments, settings, expected in SPECIAL.get(op.name, ()):
        arrays = [np.array(a) if isinstance(a, list) else a for a in arguments]
        for scale in (1.0, 10.0):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", "op 'cross_entropy': all 2 targets are ignored")
                cotangent = scale * np.ones(op(*arrays, **settings).shape)
                call = Call(op, arrays, settings, cotangent=cotangent)
            for ours, right in zip(call.values()[1:], expected, strict=True):
                _require(error(ours, scale * np.array(right)) <= 1e-15,
                         f"at {arguments} the gradient is {ours.tolist()}, expected {right}, where no derivative is")


# What writes into an array that is needed again has other faults for that, so this is said first.
CHECKS = {f.__name__: f for f in (nothing_is_written, every_argument, derivatives, joint_derivative, jacobian,
                                  float32_stays, layouts, nothing_is_shared, stable, special_points)}
