"""Exercises that differ by student: a constant and a form of the forward pass, so that no gradient of another fits.

Grading needs no change: the differences of the student's own forward pass are the answer.
"""

import csv
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from tinygrad_gpt.course.exercises import VERSION, Exercise
from tinygrad_gpt.errors import DataError

__all__ = ["VARIATIONS", "personal_text", "roster"]


class Variation(NamedTuple):
    """A change of a forward pass.

    Args:
        old, new: code of the exercise, and what stands in its place; {c} is the student's constant, 1.05 to 1.94.
        says: the change in a formula.
    """

    old: str
    new: str
    says: str


VARIATIONS: dict[str, tuple[Variation, ...]] = {
    "mul": (Variation("return a * b, (", "return {c} * a * b, (", "y = {c} a b"),
            Variation("return a * b, (", "return a * b + {c} * a, (", "y = a b + {c} a")),
    "div": (Variation("\n    y = a / b\n", "\n    y = {c} * a / b\n", "y = {c} a / b"),
            Variation("\n    y = a / b\n", "\n    y = a / b + {c} * b\n", "y = a / b + {c} b")),
    "tanh": (Variation("y = xp.tanh(x)", "y = xp.tanh({c} * x)", "y = tanh({c} x)"),
             Variation("y = xp.tanh(x)", "y = {c} * xp.tanh(x)", "y = {c} tanh(x)")),
    "sigmoid": (Variation("e = xp.exp(-xp.abs(x))", "e = xp.exp(-{c} * xp.abs(x))", "y = 1 / (1 + e^(−{c} x))"),
                Variation("y = xp.where(", "y = {c} * xp.where(", "y = {c} / (1 + e⁻ˣ)")),
    "relu": (Variation("xp.maximum(x, 0)", "{c} * xp.maximum(x, 0)", "y = {c} max(x, 0)"),
             Variation("xp.maximum(x, 0)", "xp.maximum(x, 0) + {c} * x", "y = max(x, 0) + {c} x")),
    "matmul": (Variation("y = a @ b", "y = {c} * (a @ b)", "y = {c} a b"),
               Variation("y = a @ b", "y = a @ b / {c}", "y = a b / {c}")),
    "linear": (Variation("y = x @ weight", "y = {c} * (x @ weight)", "y = {c} x W + b"),
               Variation("y = x @ weight", "y = x @ weight / {c}", "y = x W / {c} + b")),
    "softmax": (Variation("xp.exp(x - x.max(axis=axis, keepdims=True))",
                          "xp.exp({c} * (x - x.max(axis=axis, keepdims=True)))", "e^({c} x) in place of e^x"),
                Variation("return y, (", "return {c} * y, (", "{c} times the softmax")),
    "cross_entropy": (Variation("return -(q * in_sum)", "return -{c} * (q * in_sum)", "{c} times the loss"),
                      Variation("return -(q * in_sum).sum() / total", "return -(q * in_sum).sum() / ({c} * total)",
                                "the loss divided by {c}")),
    "embedding": (Variation("return weight[ids], (", "return {c} * weight[ids], (", "y = {c} W[ids]"),
                  Variation("return weight[ids], (", "return weight[ids] / {c}, (", "y = W[ids] / {c}")),
    "layer_norm": (Variation("return weight * x_hat + bias", "return {c} * weight * x_hat + bias", "y = {c} γ x̂ + β"),
                   Variation("centred = x - x.mean(axis=-1, keepdims=True)",
                             "centred = x - x.mean(axis=-1, keepdims=True) / {c}", "x − μ / {c} in place of x − μ")),
    "gelu": (Variation("return x * h, (", "return {c} * x * h, (", "y = {c} x h"),
             Variation("return x * h, (", "return x * h + {c} * x, (", "y = x h + {c} x")),
    "dropout": (Variation("return x * keep * scale", "return {c} * x * keep * scale", "y = {c} x keep / (1 − p)"),
                Variation("return x * keep * scale", "return x * keep * scale + {c} * x",
                          "y = x keep / (1 − p) + {c} x")),
    "attention": (Variation("q @ k.swapaxes(-1, -2) * scale", "{c} * q @ k.swapaxes(-1, -2) * scale",
                            "S = {c} q kᵀ / √D"),
                  Variation("return U @ v, ", "return U @ v / {c}, ", "y = U v / {c}")),
    "linear_cross_entropy": (Variation("z = x @ weight.T", "z = {c} * (x @ weight.T)", "z = {c} x Wᵀ"),
                             Variation("return -(share * in_sum)", "return -{c} * (share * in_sum)",
                                       "{c} times the loss")),
}


def personal_text(each: Exercise, text: str, student: str) -> str:
    """The text of an exercise with the forward pass of one student; a layer's stays as it is."""
    if each.name not in VARIATIONS:
        return text
    digest = hashlib.blake2b(f"{VERSION}/{each.name}/{student}".encode(), digest_size=8).digest()
    forms = VARIATIONS[each.name]
    old, new, says = forms[digest[0] % len(forms)]
    constant = f"{1.05 + int.from_bytes(digest[1:], 'big') % 90 / 100:.2f}"
    assert text.count(old) == 1, each.name
    text = text.replace(old, new.replace("{c}", constant))
    return re.sub(r"^(    Shapes: )", f"    Yours:    {says.replace('{c}', constant)}\n\\1", text, count=1,
                  flags=re.MULTILINE)


def roster(path: Path) -> list[str]:
    """The students of a CSV file: its column "student", or else its first.

    Raises:
        DataError: "cannot read (roster.csv, line 3): …": no student, one twice, or a name that cannot name a folder:
            it has letters, digits and . @ + - _, no spaces, and begins with a letter, a digit or _.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read ({path}): {error}; save it as CSV in UTF-8") from error
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = heads.index("student") if "student" in heads else 0
    students: list[str] = []
    for number, row in enumerate(rows, 1):
        if (number == 1 and "student" in heads) or not any(map(str.strip, row)):
            continue
        name = row[column].strip() if column < len(row) else ""
        if name in students:
            raise DataError(f"cannot read ({path}, line {number}): {name!r} is there twice; give each student a name "
                            "of their own")
        if not re.fullmatch(r"\w[\w.@+-]*", name):
            raise DataError(f"cannot read ({path}, line {number}): {name!r} cannot name a folder; write letters, "
                            f"digits and . @ + - _, no spaces, first a letter, a digit or _{_such_as(name)}")
        students.append(name)
    if not students:
        raise DataError(f"cannot read ({path}): it names no student; write one a line")
    return students


def _such_as(name: str) -> str:
    """An example of a name that can name a folder, made of one that cannot."""
    allowed = re.sub(r"[^\w.@+-]+", "_", name).strip(".@+-_")
    return f", such as {allowed}" if allowed else ""
