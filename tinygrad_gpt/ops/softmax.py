"""Softmax, log-softmax and the cross-entropy loss."""

import warnings

from tinygrad_gpt.engine import op, values_are_checked
from tinygrad_gpt.errors import DTypeError, ShapeError

__all__ = ["check_targets", "cross_entropy", "log_softmax", "softmax"]


def _samples(r):
    return [(r.normal(2, 3),), (r.normal(2, 3, 4), {"axis": 1})]


def _bad_axis(r):
    return [((r.normal(2, 3), {"axis": 2}), "axis 2 is out of bounds")]


@op(samples=_samples, errors=_bad_axis)
def softmax(xp, x, *, axis=-1):
    """Exponentials along an axis, scaled to sum to one.

    Forward:  y = e^(x − max x) / Σ e^(x − max x)
    Gradient: x̄ = y ⊙ (ȳ − Σ ȳ ⊙ y)
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   Jacobian diag(y) − y yᵀ
    """
    e = xp.exp(x - x.max(axis=axis, keepdims=True))
    y = e / e.sum(axis=axis, keepdims=True)

    def grad_x(g):
        return y * (g - (g * y).sum(axis=axis, keepdims=True))  # y = eˣ / Σ eˣ

    return y, (grad_x,)


@op(samples=_samples, errors=_bad_axis)
def log_softmax(xp, x, *, axis=-1):
    """Logarithm of the softmax, without overflow.

    Forward:  y = x − ln Σ eˣ
    Gradient: x̄ = ȳ − eʸ ⊙ Σ ȳ
    Shapes:   x (...) -> y (...)
    Saves:    y
    Source:   Jacobian 1 − softmax
    """
    shifted = x - x.max(axis=axis, keepdims=True)
    y = shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

    def grad_x(g):
        return g - xp.exp(y) * g.sum(axis=axis, keepdims=True)  # y = x − ln Σ eˣ

    return y, (grad_x,)


def _cross_entropy_samples(r):
    logits, targets = r.normal(4, 5), r.integers(5, 4)
    ignored = targets.copy()
    ignored[1] = -100
    return [(logits, targets), (logits, ignored, r.positive(5)), (r.normal(2, 3, 5), r.integers(5, 2, 3)),
            (logits, ignored, r.positive(5), {"label_smoothing": 0.1}), (logits, ignored, {"label_smoothing": 0.2}),
            (logits, r.integers(5, 4), {"ignore_index": 2})]


def _check(logits, targets, class_weight=None, ignore_index=-100, **_):
    check_targets("cross_entropy", "logits are", logits, targets, logits.shape[-1:], ignore_index)
    if class_weight is not None and class_weight.shape != logits.shape[-1:]:
        raise ShapeError(f"op 'cross_entropy': class_weight is {class_weight.shape} but there are {logits.shape[-1]} "
                         "classes")


@op(samples=_cross_entropy_samples,
    errors=lambda r: [((r.normal(2, 3), r.integers(3, 4)), "logits are (2, 3) but targets are (4,)"),
                      ((r.normal(2, 3), r.integers(3, 2) + 3), "outside 0 … 2"),
                      ((r.normal(2, 3), r.normal(2)), "targets are float64, expected integers"),
                      ((r.normal(2, 3), r.integers(3, 2), r.normal(2)), "class_weight is (2,) but there are 3")],
    check=_check)
def cross_entropy(xp, logits, targets, class_weight=None, *, ignore_index=-100, label_smoothing=0.0):
    """Mean negative log-likelihood of the targets, weighted by class; rows with ``ignore_index`` do not count.

    Forward:  y = −Σ_nv q_nv ln p_nv / W,  p = softmax(logits),  q_nv = c_v ((1−s) [v = t_n] + s/V), 0 where ignored,
              W = Σ_n c[t_n] over the rows that count, c = class_weight or 1, s = label_smoothing
    Gradient: logits̅_nv = ȳ (p_nv Σ_v q_nv − q_nv) / W
    Shapes:   logits (..., V), targets (...) integers, class_weight (V) or None -> y ()
    Saves:    log_p, q, total
    Source:   Szegedy et al. 2016, arXiv:1512.00567, section 7; torch.nn.functional.cross_entropy
    """
    n_classes = logits.shape[-1]
    counted = (targets != ignore_index)[..., None]  # (..., 1)
    one_hot = counted & (targets[..., None] == xp.arange(n_classes))
    q = one_hot.astype(logits.dtype)
    if class_weight is not None:
        q = q * class_weight
    total = q.sum()
    total = total + (total == 0)  # all ignored: 0 / 1
    if label_smoothing:
        uniform = counted * xp.ones(n_classes, dtype=q.dtype) * (1.0 if class_weight is None else class_weight)
        q = (1 - label_smoothing) * q + label_smoothing / n_classes * uniform
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_p = shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True))
    in_sum = xp.where(counted if label_smoothing else one_hot, log_p, 0.0)  # 0 · ∞ would be NaN

    def grad_logits(g):
        return g / total * (xp.exp(log_p) * q.sum(axis=-1, keepdims=True) - q)  # y = −Σ q ln softmax(logits) / total

    return -(q * in_sum).sum() / total, (grad_logits, None, None)


def check_targets(name, scored, x, targets, classes, ignore_index):
    """Refuse targets that do not belong to the rows of x (..., C), or that name no class.

    ``scored`` names x in the error, as "x is"; ``classes`` is a shape that begins with their number.
    """
    if targets.dtype.kind not in "iu":
        raise DTypeError(f"op '{name}': targets are {targets.dtype}, expected integers (class ids)")
    if x.shape[:-1] != targets.shape or not x.ndim:
        raise ShapeError(f"op '{name}': {scored} {x.shape} but targets are {targets.shape}; "
                         f"targets must be {x.shape[:-1]}")
    if values_are_checked(targets):
        counted = targets[targets != ignore_index]
        if counted.size and not (counted.min() >= 0 and counted.max() < classes[0]):
            raise ShapeError(f"op '{name}': targets hold {counted.min()} … {counted.max()}, "
                             f"outside 0 … {classes[0] - 1} and not ignore_index={ignore_index}")
        if not counted.size:
            warnings.warn(f"op '{name}': all {targets.size} targets are ignored; the loss is 0", stacklevel=4)
