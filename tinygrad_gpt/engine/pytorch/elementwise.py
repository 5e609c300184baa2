"""Methods of a Tensor that are functions of each element, with PyTorch's names and arguments."""

import math

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.operators import OPS, raw
from tinygrad_gpt.engine.pytorch.shaping import Shaping
from tinygrad_gpt.errors import ShapeError

__all__ = ["Elementwise"]


class Elementwise(Shaping):
    """What a Tensor inherits: functions of each element, and questions about elements."""

    __slots__ = ()

    # -- functions of each element

    def abs(self):
        """Absolute values."""
        return OPS["abs"](self)

    absolute = abs

    def neg(self):
        """Sign change."""
        return OPS["neg"](self)

    def exp(self):
        """eˣ."""
        return OPS["exp"](self)

    def expm1(self):
        """eˣ − 1, exact near 0."""
        return OPS["expm1"](self)

    def log(self):
        """Natural logarithm."""
        return OPS["log"](self)

    def log1p(self):
        """ln(1 + x), exact near 0."""
        return OPS["log1p"](self)

    def log2(self):
        """Logarithm to base 2."""
        return OPS["log"](self) / math.log(2)

    def log10(self):
        """Logarithm to base 10."""
        return OPS["log"](self) / math.log(10)

    def sqrt(self):
        """Square root."""
        return OPS["sqrt"](self)

    def rsqrt(self):
        """1 / √x."""
        return 1 / OPS["sqrt"](self)

    def square(self):
        """x²."""
        return self * self

    def pow(self, exponent):
        """x to a power."""
        return self ** exponent

    def reciprocal(self):
        """1 / x."""
        return 1 / self

    def sin(self):
        """Sine."""
        return OPS["sin"](self)

    def cos(self):
        """Cosine."""
        return OPS["cos"](self)

    def tanh(self):
        """Hyperbolic tangent."""
        return OPS["tanh"](self)

    def erf(self):
        """Error function."""
        return OPS["erf"](self)

    def sigmoid(self):
        """Logistic function."""
        return OPS["sigmoid"](self)

    def relu(self):
        """max(x, 0)."""
        return OPS["relu"](self)

    def gelu(self, approximate="tanh"):
        """GELU in the tanh form, GPT-2's activation; "none": with the normal distribution itself."""
        return OPS["gelu" if approximate == "tanh" else "gelu_exact"](self)

    def softplus(self):
        """ln(1 + eˣ)."""
        return self.maximum(0) + (-abs(self)).exp().log1p()

    def silu(self):
        """x · sigmoid(x)."""
        return self * self.sigmoid()

    def clamp(self, min=None, max=None):
        """Values below ``min`` become it, those above ``max`` become it; these have no gradient, the others all."""
        if min is None and max is None:
            raise ShapeError("clamp: neither min nor max is given; give one")
        x = self
        if min is not None:
            x = x.where(~(x._data < raw(min)), min)
        return x if max is None else x.where(~(x._data > raw(max)), max)

    clip = clamp

    def maximum(self, other):
        """The larger of two values, element by element."""
        return OPS["maximum"](self, other)

    def minimum(self, other):
        """The smaller of two values, element by element."""
        return -OPS["maximum"](-self, -other)

    def _off_tape(self, function, *args, **settings):
        """A function of the array package on the values; its derivative is 0 or does not exist."""
        found = getattr(backend_of(self._data).xp, function)(self._data, *args, **settings)
        return self._made(backend_of(self._data).xp.asarray(found))

    def sign(self):
        """−1, 0 or 1; off the tape, for the derivative is 0. So are `floor`, `ceil`, `round` and `trunc`."""
        return self._off_tape("sign")

    def floor(self):
        """The next lower whole number."""
        return self._off_tape("floor")

    def ceil(self):
        """The next higher whole number."""
        return self._off_tape("ceil")

    def trunc(self):
        """The next whole number towards 0."""
        return self._off_tape("trunc")

    def round(self, *, decimals=0):
        """The nearest number of so many decimals; halves go to the even one."""
        return self._off_tape("round", decimals)

    # -- questions; the answers are off the tape

    def isnan(self):
        """True where a value is NaN."""
        return self._off_tape("isnan")

    def isinf(self):
        """True where a value is ∞ or −∞."""
        return self._off_tape("isinf")

    def isfinite(self):
        """True where a value is neither infinite nor NaN."""
        return self._off_tape("isfinite")

    def equal(self, other):
        """Whether two tensors have one shape and the same values."""
        other = raw(other)
        return self.shape == other.shape and bool((self._data == other).all())

    def isclose(self, other, rtol=1e-5, atol=1e-8, equal_nan=False):
        """True where two values differ by at most ``atol + rtol · |other|``."""
        return self._off_tape("isclose", raw(other), rtol=rtol, atol=atol, equal_nan=equal_nan)

    def allclose(self, other, rtol=1e-5, atol=1e-8, equal_nan=False):
        """Whether all values are close, as in `isclose`."""
        return bool(self.isclose(other, rtol, atol, equal_nan)._data.all())

    def nonzero(self, as_tuple=False):
        """The indices of values other than 0, one in a row; as a tuple of one tensor for each axis."""
        found = backend_of(self._data).xp.nonzero(self._data)
        return tuple(map(self._made, found)) if as_tuple else self._made(backend_of(self._data).xp.stack(found, -1))

    def bincount(self, minlength=0):
        """How often each whole number occurs."""
        return self._off_tape("bincount", minlength=minlength)
