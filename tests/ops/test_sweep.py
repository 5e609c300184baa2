"""Every op of the registry, put through every check: an op cannot be registered and escape."""

import numpy as np
import pytest
from checks import (
    CHECKS,
    LIMIT,
    NOT_DIFFERENTIATED,
    Call,
    assert_close,
    cast,
    error,
    fields,
    forms_agree,
    forms_agree_in_small_parts,
    forms_of,
    is_differentiated,
    is_float,
    samples,
    saves_what_it_says,
    to_backend,
)
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.engine import OPS, Op, Tensor, no_grad, op, using_ops
from tinygrad_gpt.errors import TinygradError
from tinygrad_gpt.study.gradcheck import Draw, check_op, split_sample

NAMES = sorted(OPS)
FORMS = [(name, form) for name in NAMES for form in OPS[name].available(get_backend("numpy"))]
SEVERAL = [name for name in NAMES if len(forms_of(OPS[name])) > 1]

# Ops whose body is a formula over the complex numbers, too. The others compare, take moduli or maxima, count, or
# use the error function for reals.
COMPLEX_SAFE = ["add", "astype", "broadcast_to", "concat", "div", "dropout", "embedding", "exp", "layer_norm", "linear",
                "log", "matmul", "mean", "mul", "neg", "permute", "pow", "reshape", "slice", "sqrt", "stack",
                "sub", "sum", "tanh", "where", "gelu", "bias_gelu", "scatter"]


def test_every_registered_op_is_swept():
    from tinygrad_gpt import ops

    assert set(NAMES) == set(OPS)
    public = {getattr(ops, name).name for name in ops.__all__ if isinstance(getattr(ops, name), Op)}
    assert public == set(OPS), "every op is public, every public op is registered"
    for name in NAMES:
        assert samples(OPS[name]), name
        assert OPS[name].errors(Draw()), f"{name}: state at least one call that is refused"
    assert {name for name, _ in NOT_DIFFERENTIATED} | set(COMPLEX_SAFE) <= set(OPS)


def defined_in(module):
    def add(xp, a, b):
        return a + b, (lambda g: g, lambda g: g)

    add.__module__ = module
    return add


def test_an_op_cannot_be_registered_twice_or_without_samples():
    for module in ("tinygrad_gpt.ops.elementwise", "__main__"):
        with pytest.raises(ValueError, match=f"op 'add' is registered twice, in tinygrad_gpt.ops.elementwise and in "
                                             f"{module}; give the second function another name"):
            op(samples=OPS["add"].samples)(defined_in(module))
    with pytest.raises(TypeError, match="samples"):
        op()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_sweep(name, form, check, seed):
    with using_ops(form):
        CHECKS[check](OPS[name], seed)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_derivatives_over_many_draws(name, form):
    with using_ops(form):
        worst = max(check.error for seed in range(3, 30) for check in check_op(name, seed))
    assert worst <= LIMIT


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", SEVERAL)
def test_all_forms_agree(name, seed):
    forms_agree(OPS[name], seed)


@pytest.mark.parametrize("name", [name for name in NAMES if OPS[name].fast])
def test_fast_forms_agree_in_small_parts(name):
    for seed in range(3):
        forms_agree_in_small_parts(OPS[name], seed)


def test_every_fast_and_composed_form_is_of_a_registered_op():
    """A form under a wrong name would never run; each is defined in the file of its op."""
    for name in NAMES:
        own = OPS[name].function.__module__.rsplit(".", 1)[1]
        for kind, form in (("fast", OPS[name].fast), ("compiled", OPS[name].compiled), ("cuda", OPS[name].cuda)):
            assert form is None or form.function.__module__ == f"tinygrad_gpt.ops.{kind}.{own}"
        assert OPS[name].composed is None or OPS[name].composed.__module__ == f"tinygrad_gpt.ops.composed.{own}"


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_every_field(name):
    assert list(fields(OPS[name])) == ["Forward", "Gradient", "Shapes", "Saves", "Source"]
    assert all(fields(OPS[name]).values())


@pytest.mark.parametrize("name", NAMES)
def test_saves_what_its_docstring_says(name):
    saves_what_it_says(OPS[name])


@pytest.mark.kernels
@pytest.mark.parametrize("name", NAMES)
def test_refusals(name, backend):
    for sample, text in OPS[name].errors(Draw()):
        arguments, settings = split_sample(sample)
        arguments = [to_backend(a, backend) for a in arguments]
        if text.startswith("outside") and not backend.on_host:
            continue  # looking at values would wait for the device: in checking mode only, see below
        with pytest.raises(TinygradError) as caught:
            OPS[name](*arguments, **to_backend(settings, backend))
        message = str(caught.value)
        assert text in message
        assert f"'{name}'" in message or "Tensor:" in message
        assert "\n" not in message


@pytest.mark.parametrize("name", COMPLEX_SAFE)
def test_complex_step(name):
    """f(x + ih) = f(x) + ih f'(x) to the last digit, for there is no difference to take; of the plain function."""
    with using_ops("plain"):
        complex_step(name)


def complex_step(name):
    xp = get_backend("numpy").namespace
    function, worst = OPS[name].function, 0.0
    for arguments, settings in samples(OPS[name]):
        if name == "astype":
            settings = {"dtype": complex}
        call = Call(OPS[name], arguments, {"dtype": "float64"} if name == "astype" else settings)
        for i, x in enumerate(arguments):
            if is_differentiated(OPS[name], i, x):
                direction = Draw(5).normal(*x.shape)
                moved = [a + 0j if is_float(a) else np.asarray(a) for a in arguments]
                moved[i] = x + 1e-20j * direction
                slope = (call.cotangent * np.imag(function(xp, *moved, **settings)[0])).sum() / 1e-20
                terms = call.grads[i].numpy() * direction
                worst = max(worst, abs(slope - terms.sum()) / max(1.0, np.abs(terms).sum()))
    assert worst <= 1e-13


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_scalars_and_integers_take_the_dtype_of_the_tensors(name, form, backend):
    with using_ops(form):
        mix_dtypes(name, backend)


def mix_dtypes(name, backend):
    """A Python or NumPy number, or a tensor of integers, beside float32 leaves the result and gradients float32."""
    for arguments, settings in samples(OPS[name]):
        settings = {**settings, "dtype": "float32"} if "dtype" in settings else settings
        settings = {k: np.float64(v) if isinstance(v, float) else v for k, v in settings.items()}
        plain = [cast(a, np.float32) for a in arguments]
        floats = [i for i, a in enumerate(plain) if is_float(a)]
        for i in floats[1:] if OPS[name].broadcasts else ():
            for other in (2, 2.0, np.float64(2.0), np.float32(2.0), np.int64(2), np.full(plain[i].shape, 2)):
                if name == "matmul" and not isinstance(other, np.ndarray):
                    continue
                call = Call(OPS[name], [*plain[:i], other, *plain[i + 1:]], settings, backend=backend.name)
                assert all(value.dtype == np.float32 for value in call.values())
        call = Call(OPS[name], plain, settings, backend=backend.name)
        assert all(value.dtype == np.float32 for value in call.values())


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_same_call_twice_gives_the_same_bits(name, form, backend):
    for arguments, settings in samples(OPS[name]):
        arguments = [cast(a, np.float32) for a in arguments]
        with using_ops(form):
            one, two = (Call(OPS[name], arguments, settings, backend=backend.name).values() for _ in range(2))
        atomic = (name, backend.name) == ("embedding", "strict")  # sums in no order, which its kernel does not leave so
        assert all(a.tobytes() == b.tobytes() or (atomic and error(a, b) < 1e-6) for a, b in zip(one, two, strict=True))


@pytest.mark.kernels
@pytest.mark.parametrize("name", NAMES)
def test_a_changed_value_is_never_used_silently(name, backend):
    for form in forms_of(OPS[name], backend.name):
        with using_ops(form):
            change_values(name, form, backend)


def change_values(name, form, backend):
    """Overwrite an argument or the result after the forward pass: an error, or the gradient as if nothing happened."""
    refusals = 0
    for arguments, settings in samples(OPS[name]):
        expected = Call(OPS[name], arguments, settings, backend=backend.name).values()[1:]
        for victim in range(len(arguments) + 1):
            tensors = [Tensor(backend.from_numpy(a.copy()), requires_grad=is_differentiated(OPS[name], i, a))
                       if isinstance(a, np.ndarray) else a for i, a in enumerate(arguments)]
            result = OPS[name](*tensors, **to_backend(settings, backend))
            target = result if victim == len(arguments) else tensors[victim]
            if not isinstance(target, Tensor) or (name == "broadcast_to" and target is result):
                continue
            values = target.numpy()
            with no_grad():
                target.copy_(backend.from_numpy(np.roll(values, 1) + (1 if values.dtype.kind in "iu" else 0)
                                                if values.dtype.kind in "biu" else 2 * values + 0.5))
            cotangent = backend.from_numpy(Draw(1).normal(*result.shape))
            refusal = refused(lambda result=result, cotangent=cotangent: result.backward(cotangent))
            grads = [t.grad.numpy() for t in tensors if isinstance(t, Tensor) and t.grad is not None]
            if refusal is None:
                assert_close(grads, expected, 1e-12)
            else:
                refusals += 1
                assert "was changed in place" in refusal
                assert not grads
    captured = fields(OPS[name])["Saves"]
    inputs = {*OPS[name].arguments, "y"} & set(captured.replace(",", " ").split())
    assert refusals or form != "plain" or not inputs, "an argument or the result is saved: nobody noticed the change"


# -- layouts and shapes


def refused(call):
    """The message of the error, None if there is none."""
    try:
        call()
    except TinygradError as error:
        return str(error)
    return None


def laid_out(x, layout):
    """The same values in another layout of memory."""
    if layout == "F":
        return np.array(x, order="F")
    if layout == "reversed":
        return np.ascontiguousarray(x[::-1])[::-1] if x.ndim else x
    if layout == "strided":
        return np.repeat(x, 2, axis=-1)[..., ::2] if x.ndim else x
    if layout == "offset":
        return np.concatenate([x[:1], x])[1:] if x.ndim and len(x) else x
    if layout == "swapped":
        return np.ascontiguousarray(x.swapaxes(0, -1)).swapaxes(0, -1) if x.ndim else x
    if layout == "repeated" and x.ndim and x.shape[0]:
        return np.broadcast_to(x[:1], x.shape)
    return x


def resized(value, sizes):
    """The array cut to new sizes: each axis of an old size gets the new one, so that arrays fit as before."""
    if not isinstance(value, np.ndarray):
        return value
    return value[(*(slice(sizes.get(n, n)) for n in value.shape), ...)]


LAYOUTS = st.sampled_from(["C", "F", "reversed", "strided", "offset", "swapped", "repeated"])


@pytest.mark.filterwarnings("ignore:op '(linear_)?cross_entropy'. all . targets")
@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_layouts_and_shapes(name, data):
    """Broadcast, strided, reversed, Fortran-ordered, read-only inputs, one row, no rows: the gradient of plain ones."""
    with using_ops(data.draw(st.sampled_from(OPS[name].available(get_backend("numpy"))), "form")):
        lay_out(name, data)


def lay_out(name, data):
    drawn = samples(OPS[name], data.draw(st.integers(0, 99), "seed"))
    arguments, settings = drawn[data.draw(st.integers(0, len(drawn) - 1), "sample")]
    old = sorted({n for a in arguments if isinstance(a, np.ndarray) for n in a.shape})
    sizes = {n: data.draw(st.sampled_from([n, n, n, 1, 0]), f"size for {n}") for n in old}
    small = [resized(a, sizes) for a in arguments]
    odd = [laid_out(a, data.draw(LAYOUTS, "layout")) if isinstance(a, np.ndarray) else a for a in small]
    plain = [np.array(a, order="C") if isinstance(a, np.ndarray) else a for a in odd]
    refusal = refused(lambda: OPS[name](*plain, **settings))
    if refusal is None:
        check_layouts(name, odd, plain, settings, Call(OPS[name], plain, settings), data)
    else:  # the new sizes do not fit the settings, or there is no maximum of nothing
        assert sizes != {n: n for n in old}
        assert f"'{name}'" in refusal


def check_layouts(name, odd, plain, settings, expected, data):
    cotangent = laid_out(expected.cotangent, data.draw(LAYOUTS.filter(lambda s: s != "repeated"), "cotangent"))
    for array in (cotangent, *odd):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    call = Call(OPS[name], odd, settings, cotangent=cotangent)
    assert_close(call.values(), expected.values(), 1e-12)
    assert all(np.array_equal(a, b) for a, b in zip(odd, plain, strict=True) if isinstance(a, np.ndarray))
