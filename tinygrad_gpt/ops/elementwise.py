"""Elementwise arithmetic and functions. Two-argument ops broadcast; the engine sums their gradients down."""

import math

from tinygrad_gpt.engine import op

__all__ = [
    "abs_", "add", "astype", "div", "erf", "exp", "log", "maximum", "mul", "neg", "pow_", "sqrt", "sub", "tanh",
    "where",
]


def _pairs(r):
    return [(r.normal(2, 3), r.normal(2, 3)), (r.normal(2, 1, 3), r.normal(4, 1)), (r.normal(3), r.normal())]


def _misfit(r):
    return [((r.normal(2, 3), r.normal(4)), "could not be broadcast")]


@op(samples=_pairs, errors=_misfit, broadcasts=True)
def add(xp, a, b):
    """Sum of two arrays.

    Forward:  y = a + b
    Gradient: ā = ȳ,  b̄ = ȳ
    Shapes:   a, b (broadcast) -> y
    Saves:    nothing
    Source:   calculus
    """
    def grad_a(g):
        return g  # y = a + b

    def grad_b(g):
        return g  # y = a + b

    return a + b, (grad_a, grad_b)


@op(samples=_pairs, errors=_misfit, broadcasts=True)
def sub(xp, a, b):
    """Difference of two arrays.

    Forward:  y = a − b
    Gradient: ā = ȳ,  b̄ = −ȳ
    Shapes:   a, b (broadcast) -> y
    Saves:    nothing
    Source:   calculus
    """
    def grad_a(g):
        return g  # y = a − b

    def grad_b(g):
        return -g  # y = a − b

    return a - b, (grad_a, grad_b)


@op(samples=_pairs, errors=_misfit, broadcasts=True)
def mul(xp, a, b):
    """Product of two arrays, element by element.

    Forward:  y = a ⊙ b
    Gradient: ā = ȳ ⊙ b,  b̄ = ȳ ⊙ a
    Shapes:   a, b (broadcast) -> y
    Saves:    a, b
    Source:   product rule
    """
    def grad_a(g):
        return g * b  # y = a ⊙ b

    def grad_b(g):
        return g * a  # y = a ⊙ b

    return a * b, (grad_a, grad_b)


@op(samples=lambda r: [(r.normal(2, 3), r.away_from_zero(2, 3)), (r.normal(2, 1, 3), r.away_from_zero(4, 1))],
    errors=_misfit, broadcasts=True)
def div(xp, a, b):
    """Quotient of two arrays.

    Forward:  y = a / b
    Gradient: ā = ȳ / b,  b̄ = −ȳ ⊙ y / b
    Shapes:   a, b (broadcast) -> y
    Saves:    b, y
    Source:   quotient rule
    """
    y = a / b

    def grad_a(g):
        return g / b  # y = a / b

    def grad_b(g):
        return -g * y / b  # y = a / b

    return y, (grad_a, grad_b)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(),)], errors=lambda r: [(("text",), "give numbers")])
def neg(xp, x):
    """Sign change.

    Forward:  y = −x
    Gradient: x̄ = −ȳ
    Shapes:   x (...) -> y (...)
    Saves:    nothing
    Source:   calculus
    """
    def grad_x(g):
        return -g  # y = −x

    return -x, (grad_x,)


@op(samples=lambda r: [(r.positive(2, 3), r.normal(2, 3)), (r.positive(2, 1, 3), r.normal(4, 1)), (r.normal(3), 3.0)],
    errors=_misfit, broadcasts=True)
def pow_(xp, base, exponent):
    """Power. Where the base is 0, and the exponent not negative, the exponent's gradient is 0, as in PyTorch.

    Forward:  y = base ^ exponent
    Gradient: base̅ = ȳ ⊙ exponent ⊙ base ^ (exponent − 1),  exponent̅ = ȳ ⊙ y ⊙ ln(base)
    Shapes:   base, exponent (broadcast) -> y
    Saves:    base, exponent, y
    Source:   calculus
    """
    y = base ** exponent

    def grad_base(g):
        safe = xp.where(xp.equal(exponent, 0), 1.0, base)  # y = base ^ 0 is constant, also at base 0 and ∞
        return g * exponent * safe ** (exponent - 1)  # y = base ^ exponent

    def grad_exponent(g):
        log_base = xp.log(xp.where(xp.equal(base, 0) & (exponent >= 0), 1.0, base))  # ln 1 = 0 stands for ln 0
        return g * y * log_base  # y = base ^ exponent = e^(exponent ln base)

    return y, (grad_base, grad_exponent)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(),)], errors=lambda r: [(("text",), "give numbers")])
def exp(xp, x):
    """Exponential function.

    Forward:  y = eˣ
    Gradient: x̄ = ȳ ⊙ y
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    y = xp.exp(x)

    def grad_x(g):
        return g * y  # y = eˣ

    return y, (grad_x,)


@op(samples=lambda r: [(r.positive(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def log(xp, x):
    """Natural logarithm.

    Forward:  y = ln x
    Gradient: x̄ = ȳ / x
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   calculus
    """
    def grad_x(g):
        return g / x  # y = ln x

    return xp.log(x), (grad_x,)


@op(samples=lambda r: [(r.positive(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def sqrt(xp, x):
    """Square root.

    Forward:  y = √x
    Gradient: x̄ = ȳ / (2 y)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    y = xp.sqrt(x)

    def grad_x(g):
        return g / (2 * y)  # y = √x

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def tanh(xp, x):
    """Hyperbolic tangent.

    Forward:  y = tanh x
    Gradient: x̄ = ȳ ⊙ (1 − y²)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    y = xp.tanh(x)

    def grad_x(g):
        return g * (1 - y * y)  # y = tanh x

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def erf(xp, x):
    """Error function.

    Forward:  y = erf x = 2/√π ∫₀ˣ e^(−t²) dt
    Gradient: x̄ = ȳ ⊙ 2/√π e^(−x²)
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   calculus
    """
    def grad_x(g):
        return g * (2 / math.sqrt(math.pi)) * xp.exp(-x * x)  # y = erf x

    return xp.erf(x), (grad_x,)


@op(samples=_pairs, errors=_misfit, broadcasts=True)
def maximum(xp, a, b):
    """The larger of two values; where they are equal each gets half of the gradient, beside NaN all, as in PyTorch.

    Forward:  y = max(a, b)
    Gradient: ā = 0 where a < b, ½ ȳ where a = b, else ȳ,  b̄ = 0 where b < a, ½ ȳ where a = b, else ȳ
    Shapes:   a, b (broadcast) -> y
    Saves:    a, b
    Source:   sub-gradient, split evenly at ties
    """
    def grad_a(g):
        return xp.where(a < b, 0.0, xp.where(xp.equal(a, b), 0.5 * g, g))  # y = max(a, b)

    def grad_b(g):
        return xp.where(b < a, 0.0, xp.where(xp.equal(a, b), 0.5 * g, g))  # y = max(a, b)

    return xp.maximum(a, b), (grad_a, grad_b)


@op(samples=lambda r: [(r.mask(2, 3), r.normal(2, 3), r.normal(2, 3)), (r.mask(3), r.normal(2, 1), r.normal())],
    errors=lambda r: [((r.mask(2, 3), r.normal(4), r.normal(3)), "could not be broadcast")], broadcasts=True)
def where(xp, condition, a, b):
    """Take from ``a`` where the condition holds and from ``b`` elsewhere.

    Forward:  y = a where condition, else b
    Gradient: ā = ȳ where condition, else 0,  b̄ = 0 where condition, else ȳ
    Shapes:   condition (bool), a, b (broadcast) -> y
    Saves:    condition
    Source:   calculus
    """
    def grad_a(g):
        return xp.where(condition, g, 0.0)  # y = a where condition

    def grad_b(g):
        return xp.where(condition, 0.0, g)  # y = b elsewhere

    return xp.where(condition, a, b), (None, grad_a, grad_b)


@op(samples=lambda r: [(r.normal(2, 3),)], errors=lambda r: [(("text",), "give numbers")])
def abs_(xp, x):
    """Absolute value, with derivative 0 at 0.

    Forward:  y = |x|
    Gradient: x̄ = ȳ ⊙ sign(x)
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   sub-gradient, 0 at 0 as in PyTorch
    """
    def grad_x(g):
        return g * xp.sign(x)  # y = |x|

    return xp.abs(x), (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3), {"dtype": "float64"})],
    errors=lambda r: [((r.normal(2), {"dtype": "nonsense"}), "nonsense")], takes_halves=True)
def astype(xp, x, *, dtype):
    """Change the floating dtype.

    Forward:  y = x rounded to dtype
    Gradient: x̄ = ȳ in the dtype of x
    Shapes:   x (...) -> y (...)
    Saves:    nothing
    Source:   rounding is treated as the identity
    """
    own_dtype = x.dtype

    def grad_x(g):
        return g.astype(own_dtype)  # y = x in another dtype

    return x.astype(dtype), (grad_x,)
