"""Functions that GPT-2 does not need: sin, cos, log1p, expm1, norm, cumsum."""

from tinygrad_gpt.engine import op
from tinygrad_gpt.ops.reduce import kept_shape

__all__ = ["cos", "cumsum", "expm1", "log1p", "norm", "sin"]


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(),)], errors=lambda r: [(("text",), "give numbers")])
def sin(xp, x):
    """Sine.

    Forward:  y = sin x
    Gradient: x̄ = ȳ ⊙ cos x
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   calculus
    """
    def grad_x(g):
        return g * xp.cos(x)  # y = sin x

    return xp.sin(x), (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(),)], errors=lambda r: [(("text",), "give numbers")])
def cos(xp, x):
    """Cosine.

    Forward:  y = cos x
    Gradient: x̄ = −ȳ ⊙ sin x
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   calculus
    """
    def grad_x(g):
        return -g * xp.sin(x)  # y = cos x

    return xp.cos(x), (grad_x,)


@op(samples=lambda r: [(r.positive(2, 3),), (r.positive(),)], errors=lambda r: [(("text",), "give numbers")])
def log1p(xp, x):
    """Logarithm of 1 + x, exact near 0.

    Forward:  y = ln(1 + x)
    Gradient: x̄ = ȳ / (1 + x)
    Shapes:   x (...) -> y (...)
    Saves:    x
    Source:   calculus
    """
    def grad_x(g):
        return g / (1 + x)  # y = ln(1 + x)

    return xp.log1p(x), (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3),), (r.normal(),)], errors=lambda r: [(("text",), "give numbers")])
def expm1(xp, x):
    """Exponential function less 1, exact near 0.

    Forward:  y = eˣ − 1
    Gradient: x̄ = ȳ ⊙ (y + 1)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   calculus
    """
    y = xp.expm1(x)

    def grad_x(g):
        return g * (y + 1)  # y = eˣ − 1

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(2, 3, 4),), (r.normal(2, 3, 4), {"axis": (0, -1), "keepdims": True}),
                       (r.normal(2, 3), {"axis": 1})],
    errors=lambda r: [((r.normal(2, 3), {"axis": 2}), "axis 2 is out of bounds")])
def norm(xp, x, *, axis=None, keepdims=False):
    """Euclidean norm, with gradient 0 where it is 0, as in PyTorch.

    Forward:  y = √(Σ x²)
    Gradient: x̄ = ȳ ⊙ x / y, 0 where y is 0
    Shapes:   x (...) -> y, without the axes, or with size 1 there
    Saves:    x, y
    Source:   calculus; the sub-gradient of least length at 0
    """
    y, kept = xp.sqrt((x * x).sum(axis=axis, keepdims=keepdims)), kept_shape(x.shape, axis)

    def grad_x(g):
        length = xp.where(xp.equal(y, 0), 1.0, y)  # y = √(Σ x²), and x = 0 where it is 0
        return g.reshape(kept) * x / length.reshape(kept)  # y = √(Σ x²)

    return y, (grad_x,)


@op(samples=lambda r: [(r.normal(4),), (r.normal(2, 3), {"axis": 1}), (r.normal(3, 2), {"axis": -2})],
    errors=lambda r: [((r.normal(2, 3), {"axis": 2}), "out of bounds")])
def cumsum(xp, x, *, axis=0):
    """Running sums along an axis.

    Forward:  y_i = x_0 + … + x_i
    Gradient: x̄_i = ȳ_i + … + ȳ_n
    Shapes:   x (...) -> y (...)
    Saves:    nothing
    Source:   calculus
    """
    y = xp.cumsum(x, axis=axis)
    reverse = (*(slice(None),) * (axis % x.ndim), slice(None, None, -1))

    def grad_x(g):
        return xp.cumsum(g[reverse], axis=axis)[reverse]  # y_i = x_0 + … + x_i

    return y, (grad_x,)
