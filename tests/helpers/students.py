"""What students hand in: right solutions, also written in another way, and mistakes with the sentence to expect."""

from typing import NamedTuple

from tinygrad_gpt.course.exercises import Exercise, exercise
from tinygrad_gpt.course.solutions import right_bodies, with_pullbacks


class Mistake(NamedTuple):
    """A pullback with a mistake, in an otherwise right solution; and a pattern of what must be said of it."""

    name: str
    pullback: str
    body: str
    said: str


def mistaken(mistake: Mistake) -> str:
    """The exercise, solved but for the mistake."""
    each = exercise(mistake.name)
    return with_pullbacks(each, {**right_bodies(each), mistake.pullback: mistake.body})


def zeros(each: Exercise) -> str:
    """The exercise with zeros of the right shape in place of every gradient."""
    every = ", ".join(each.op.arguments)
    grads = f"return tuple(None if a is None or a.dtype.kind != 'f' else 0 * a for a in ({every},))"
    return with_pullbacks(each, {"grads": grads, **{f"grad_{a}": f"return 0 * {a}" for a in each.op.arguments}})


IN_ANOTHER_WAY = {
    "linear": {"grad_x": "return xp.einsum('...j,ij->...i', g, weight)",
               "grad_weight": "return xp.einsum('ni,nj->ij', x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1]))",
               "grad_bias": "return g.reshape(-1, g.shape[-1]).sum(0)"},
    "softmax": {"grad_x": "weighted = y * g\nreturn weighted - y * weighted.sum(axis=axis, keepdims=True)"},
    "layer_norm": {
        "grad_x": """
            n = x.shape[-1]
            x_hat_grad = weight * g
            var_grad = (-0.5 * rstd ** 3 * (x_hat_grad * centred).sum(-1, keepdims=True))
            centred_grad = x_hat_grad * rstd + 2 / n * centred * var_grad
            return centred_grad - centred_grad.sum(-1, keepdims=True) / n""",
        "grad_weight": "return xp.einsum('ni,ni->i', g.reshape(-1, g.shape[-1]), x_hat.reshape(-1, g.shape[-1]))",
        "grad_bias": "while g.ndim > 1:\n    g = g.sum(0)\nreturn g.copy()"},
    "gelu": {"grad_x": """
        t = 2 * h - 1
        inner = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x ** 2)
        return 0.5 * g * (1 + t) + 0.5 * x * g * (1 - t ** 2) * inner"""},
    "embedding": {"grad_weight": """
        one_hot = (ids.reshape(-1, 1) == xp.arange(weight.shape[0])).astype(g.dtype)
        return one_hot.T @ g.reshape(-1, g.shape[-1])"""},
    "attention": {"grads": """
        dU = xp.einsum('bhnd,bhmd->bhnm', g, v)
        dA = dU if keep is None else xp.where(keep, dU / (1 - p), 0.0).astype(g.dtype)
        rows = (dA * A).sum(-1)
        dS = A * dA - A * rows[..., None]
        dk = xp.einsum('bhnm,bhnd->bhmd', dS, q) * scale
        return scale * dS @ k, dk, U.swapaxes(2, 3) @ g, None, None"""},
}

LN_GRAD = "d = g * weight\n"
MEAN = "({}).mean(axis=-1, keepdims=True)"
ATTENTION = """
v_grad = U.swapaxes(-1, -2) @ g
U_grad = g @ v.swapaxes(-1, -2)
A_grad = U_grad if keep is None else U_grad * keep / (1 - p)
S_grad = A * (A_grad - (A_grad * A).sum(axis=-1, keepdims=True))
q_grad = scale * (S_grad @ k)
k_grad = scale * (S_grad.swapaxes(-1, -2) @ q)
return q_grad, k_grad, v_grad, None, None
"""


def _attention(old, new):
    assert old in ATTENTION
    return ATTENTION.replace(old, new)


CE = "return g / total * (xp.exp(log_p) * q.sum(axis=-1, keepdims=True) - q)"
MISTAKES = [
    Mistake("mul", "grad_a", "return g * a", "of 'a': (it is the gradient of 'b'|.*stands where b)"),
    Mistake("mul", "grad_a", "return b", "of 'a': .*does not depend on g|its shape"),
    Mistake("mul", "grad_a", "return g", "of 'a': the factor b is missing"),
    Mistake("mul", "grad_b", "return g", "of 'b': the factor a is missing"),
    Mistake("mul", "grad_b", "return -g * a", "of 'b': the sign is wrong"),
    Mistake("mul", "grad_a", "g *= b\nreturn g", "writes in place"),
    Mistake("mul", "grad_a", "g * b", "the `return` of grad_a is missing"),
    Mistake("div", "grad_b", "return g * y / b", "of 'b': the sign is wrong"),
    Mistake("div", "grad_b", "return -g / (b * b)", "of 'b': the factor a is missing"),
    Mistake("div", "grad_b", "return -g * a / b", "of 'b': the factor b is missing|of 'b': .*b"),
    Mistake("tanh", "grad_x", "return g * (1 - x * x)", "g · x · x"),
    Mistake("tanh", "grad_x", "return g * (1 - y)", "g · y"),
    Mistake("tanh", "grad_x", "return g * (1 - y * y) / 2", "of 'x': 1/2 times the right one"),
    Mistake("tanh", "grad_x", "return 1 - y * y", "does not depend on g"),
    Mistake("sigmoid", "grad_x", "return g * y", "yours minus right is g · y · y"),
    Mistake("sigmoid", "grad_x", "return g * (1 - y)", "the factor y is missing"),
    Mistake("relu", "grad_x", "return g * (g > 0)", "not linear in g"),
    Mistake("relu", "grad_x", "return g * y", "wrong only where x > 0: it is g · y"),
    Mistake("relu", "grad_x", "return xp.where(x < 0, g, 0.0)", "the mask is the wrong way round"),
    Mistake("relu", "grad_x", "return g + 0", "wrong only where x < 0|it is g"),
    Mistake("linear", "grad_x", "return g @ weight", "of 'x': it is g @ weight: an operand is transposed"),
    Mistake("linear", "grad_weight", "return g.reshape(-1, g.shape[-1]).T @ x.reshape(-1, x.shape[-1])",
            "of 'weight': its shape .*transposed"),
    Mistake("linear", "grad_weight", "n = x.size // x.shape[-1]\nreturn x.reshape(n, -1).T @ g.reshape(n, -1) / n",
            "of 'weight': 1/2 .*times the right one"),
    Mistake("linear", "grad_bias", "return g.sum()", "of 'bias': .*it is summed over axis 0, which it should keep"),
    Mistake("linear", "grad_bias", "return g + 0", "of 'bias': .*the sum over axis 0 is forgotten"),
    Mistake("linear", "grad_bias", "return g.mean(axis=tuple(range(x.ndim - 1)))",
            "of 'bias': 1/2 \\(the size of axis 0 of 'x' is 2\\) times the right one"),
    Mistake("matmul", "grad_b", "return a @ g.reshape(matrix_shape)", "of 'b': it is a @ g: an operand is transposed"),
    Mistake("softmax", "grad_x", "return g * y * (1 - y)", "sum over|Σ"),
    Mistake("softmax", "grad_x", "return g * y", "is taken as constant|Σ"),
    Mistake("softmax", "grad_x", "return y * (g - (g * y).mean(axis=axis, keepdims=True))", "Σ|mean"),
    Mistake("softmax", "grad_x", "return y * (g - (g * y).sum(axis=0, keepdims=True))", "axis 0|axis 1"),
    Mistake("softmax", "grad_x", "return g - (g * y).sum(axis=axis, keepdims=True)", "the factor y is missing"),
    Mistake("cross_entropy", "grad_logits", "return g * (xp.exp(log_p) * q.sum(axis=-1, keepdims=True) - q)",
            "the division by total is missing"),
    Mistake("cross_entropy", "grad_logits", "return g / total * (xp.exp(log_p) - q)", "the factor counted is missing"),
    Mistake("cross_entropy", "grad_logits", "return g / total * (q - xp.exp(log_p) * q.sum(axis=-1, keepdims=True))",
            "the sign is wrong"),
    Mistake("cross_entropy", "grad_logits", "return g / len(targets) * (xp.exp(log_p) - q)",
            "not 0 in rows where targets is -100, which do not count"),
    Mistake("cross_entropy", "grad_logits", "return -g / total * q", "is taken as constant"),
    Mistake("cross_entropy", "grad_logits", "return g / len(targets) * (xp.exp(log_p) * q.sum(-1, keepdims=True) - q)",
            r"it is divided by 4 \(the size of axis 0 of 'logits'\), not by total"),
    Mistake("embedding", "grad_weight", "grad = xp.zeros_like(weight)\ngrad[ids] = g\nreturn grad",
            "more than once: add, do not assign"),
    Mistake("embedding", "grad_weight", "return g", "of 'weight': its shape"),
    Mistake("layer_norm", "grad_x", LN_GRAD + f"return rstd * (d - x_hat * {MEAN.format('d * x_hat')})",
            r"`x.mean\(.*is taken as constant|Σ"),
    Mistake("layer_norm", "grad_x", LN_GRAD + f"return rstd * (d - {MEAN.format('d')})",
            "`.*centred.*` is taken as constant"),
    Mistake("layer_norm", "grad_x", LN_GRAD + "return rstd * d", "yours minus right|taken as constant|is g"),
    Mistake("layer_norm", "grad_x", f"return rstd * (g - {MEAN.format('g')} - x_hat * {MEAN.format('g * x_hat')})",
            "'weight' is forgotten"),
    Mistake("layer_norm", "grad_x", LN_GRAD + f"return d - {MEAN.format('d')} - x_hat * {MEAN.format('d * x_hat')}",
            "the factor rstd is missing"),
    Mistake("layer_norm", "grad_x", LN_GRAD + f"return rstd * (d - {MEAN.format('d')} + x_hat * "
            f"{MEAN.format('d * x_hat')})",
            "yours minus right is 2 · rstd · x_hat · mean"),
    Mistake("layer_norm", "grad_x", LN_GRAD + "return rstd * (d - d.sum(axis=-1, keepdims=True) - x_hat * "
            "(d * x_hat).sum(axis=-1, keepdims=True))", "through `the means and sums` is multiplied by 5 .*'x'"),
    Mistake("layer_norm", "grad_weight", "return g.sum(axis=tuple(range(x.ndim - 1)))",
            "of 'weight': (it is the gradient of 'bias'|.*x_hat)"),
    Mistake("layer_norm", "grad_bias", "return g.mean(axis=tuple(range(x.ndim - 1)))",
            "1/6 .the product of the sizes of axes 0, 1 of 'x' is 6. times the right one"),
    Mistake("layer_norm", "grad_weight", "return g * x_hat", "of 'weight': .*the sum over axes 0, 1 is forgotten"),
    Mistake("layer_norm", "grad_weight", "return (g * x_hat).sum(axis=0)",
            r"of 'weight': .*where g is \(5,\), it is summed over axis 0"),
    Mistake("gelu", "grad_x", "return g * h", "`.*` is taken as constant"),
    Mistake("gelu", "grad_x", "return g * (h + x * 2 * h * (1 - h) * SQRT_2_OVER_PI)", "taken as constant"),
    Mistake("gelu", "grad_x", "return g * (h + x * 2 * h * (1 - h))", "the derivative of .* by x is forgotten"),
    Mistake("gelu", "grad_x", "u = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)\nreturn g * (x * 2 * h * (1 - h) * u)",
            "only what flows through|yours minus right is −g · h"),
    Mistake("gelu", "grad_x", "u = SQRT_2_OVER_PI * (1 + CUBIC * x * x)\nreturn g * (h + x * 2 * h * (1 - h) * u)",
            "`CUBIC . x . x` is taken as constant"),
    Mistake("gelu", "grad_x", "u = SQRT_2_OVER_PI * (1 + 3 * CUBIC * x * x)\nreturn g * (h + x * h * (1 - h) * u)",
            r"what flows through `x \+ CUBIC \* x \* x \* x` is multiplied by 1/2$"),
    Mistake("gelu", "grad_x", "u = SQRT_2_OVER_PI * (1 + 1.5 * CUBIC * x * x)\n"
            "return g * (h + x * 2 * h * (1 - h) * u)",
            r"what flows through `CUBIC \* x \* x \* x` is multiplied by 1/2$"),
    Mistake("dropout", "grad_x", "return g * keep", "the factor scale is missing"),
    Mistake("dropout", "grad_x", "return g * keep * (1 - p)", r"of 'x': \(1 − p\)² times the right one"),
    Mistake("dropout", "grad_x", "return g * scale", "the mask is forgotten"),
    Mistake("attention", "grads", _attention("scale * (S_grad @ k)", "S_grad @ k"),
            "of 'q': the factor scale is missing"),
    Mistake("attention", "grads", _attention(" - (A_grad * A).sum(axis=-1, keepdims=True)", ""),
            "of 'q': `.*` is taken as constant"),
    Mistake("attention", "grads", _attention("S_grad.swapaxes(-1, -2) @ q", "S_grad @ q"),
            "of 'k': the only one that is wrong"),
    Mistake("attention", "grads", _attention("U.swapaxes(-1, -2) @ g", "A.swapaxes(-1, -2) @ g"),
            "of 'v': it is Aᵀ @ g"),
    Mistake("attention", "grads", _attention(" if keep is None else U_grad * keep / (1 - p)", ""),
            r"of 'q': the derivative of A \* keep .* by A is forgotten"),
    Mistake("attention", "grads", _attention("return q_grad, k_grad", "return k_grad, q_grad"),
            "it is the gradient of '|its shape"),
    Mistake("linear_cross_entropy", "grads", "z_grad = g * (xp.exp(log_p) - one_hot)\nn, m = weight.shape\n"
            "return z_grad @ weight, z_grad.reshape(-1, n).T @ x.reshape(-1, m), None", "share|times the right one|4"),
    Mistake("linear_cross_entropy", "grads", "z_grad = g * share * xp.exp(log_p)\nn, m = weight.shape\n"
            "return z_grad @ weight, z_grad.reshape(-1, n).T @ x.reshape(-1, m), None",
            "of 'x': only what flows through"),
]
