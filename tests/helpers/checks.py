"""What the tests ask of an op: the sweep of `study/sweep.py`, and what needs the stand-in for CuPy or other forms."""

import re

import numpy as np
import strict

from tinygrad_gpt.backend import backend_of, get_backend, use_backend
from tinygrad_gpt.engine.mode import using_ops
from tinygrad_gpt.study import calls, sweep
from tinygrad_gpt.study.calls import NOT_DIFFERENTIATED, cast, error, is_differentiated, is_float, samples, to_backend
from tinygrad_gpt.study.gradcheck import LIMIT
from tinygrad_gpt.study.sweep import SPECIAL

__all__ = ["CHECKS", "LIMIT", "NOT_DIFFERENTIATED", "SPECIAL", "Call", "assert_close", "cast", "error", "fields",
           "forms_agree", "forms_agree_in_small_parts", "forms_of", "is_differentiated", "is_float", "samples",
           "saves_what_it_says", "to_backend"]


class Call(calls.Call):
    """A call that counts how often it waited for the device, in `waits`."""

    def __init__(self, *args, **named):
        before = strict.synchronisations
        super().__init__(*args, **named)
        self.waits = strict.synchronisations - before


def assert_close(ours, expected, limit):
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert error(a, b) <= limit


def over_samples(checked):
    """A check of the sweep as a function of an op and a seed."""
    def check(op, seed):
        for sample in samples(op, seed):
            checked(op, sample, seed)

    return check


# -- the checks; each takes an op and a seed


def float32_stays_on_strict(op, seed):
    """No float64 array on the way: the arrays of the stand-in for CuPy would fail."""
    for arguments, settings in samples(op, seed):
        settings = {**settings, "dtype": "float32"} if "dtype" in settings else settings
        use_backend("strict")
        try:
            with strict.pure_float32():
                call = Call(op, [cast(a, np.float32) for a in arguments], settings, backend="strict")
        finally:
            use_backend("numpy")
        assert call.result.dtype == np.float32
        assert all(g.dtype == np.float32 for g in call.grads if g is not None)


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


CHECKS = {**{name: over_samples(checked) for name, checked in sweep.CHECKS.items()},
          **{f.__name__: f for f in (float32_stays_on_strict, same_on_strict)}}
