"""The gradient detective: one wrong line in all gradients of a GPT-2, another one for each student, to be found."""

import hashlib
import json
from pathlib import Path
from typing import NamedTuple

from tinygrad_gpt.errors import DataError, UsageError
from tinygrad_gpt.files import write_atomic
from tinygrad_gpt.study.blackboard import gradients_code

__all__ = ["CODE", "FAULTS", "Fault", "accuse", "fault_of", "plant", "planted_code"]

CODE, ABOUT, CASE = "gpt2_ops.py", "case.json", "CASE.md"
TEXT = """\
# One line is wrong

`{code}` has every gradient of GPT-2 on one page, and one of its lines is wrong. Find the op and the argument whose
gradient it is, by measuring. The commands stand behind `tinygrad-gpt` or `python -m tinygrad_gpt`.

1. `gradcheck --text "Once upon a time" --gradients {code}` is the ledger: what flows into an op must flow out of it.
2. `explain "h.1.attn.c_proj.weight[5,7]" --text "Once upon a time" --gradients {code}` shows where one number
   comes from: its shares add up to 100 % at every cut, or they do not.
3. `tape --text "Once upon a time" --save right.h5`, then
   `compare right.h5 plain --text "Once upon a time" --gradients {code}` shows the first gradient that differs.

Then `course accuse OP ARGUMENT --dir .`
"""


class Fault(NamedTuple):
    """A line that can be planted.

    Args:
        ops, arguments: what a right answer names.
        old, new: a part of the page, and what stands in its place; {c} is the student's constant.
    """

    ops: tuple[str, ...]
    arguments: tuple[str, ...]
    old: str
    new: str


ATTENTION, GELU = ("self_attention", "attention"), ("bias_gelu", "gelu")
FAULTS = (
    Fault(("layer_norm",), ("x",), "keepdims=True) - along)", "keepdims=True) - {c} * along)"),
    Fault(("layer_norm",), ("x",), "(d - d.mean(", "(d - {c} * d.mean("),
    Fault(("layer_norm",), ("weight",), "return (g * x_hat).sum(", "return {c} * (g * x_hat).sum("),
    Fault(("layer_norm",), ("bias",), "return g.sum(axis=rows)  # y = γ", "return {c} * g.sum(axis=rows)  # y = γ"),
    Fault(("linear",), ("x",), "return g @ weight.T", "return {c} * g @ weight.T"),
    Fault(("linear",), ("weight",), "return x.reshape(n, n_in).T", "return {c} * x.reshape(n, n_in).T"),
    Fault(("linear",), ("bias",), "return g.sum(axis=rows)  # y = x", "return {c} * g.sum(axis=rows)  # y = x"),
    Fault(ATTENTION, ("qkv", "v"), "v_grad = U.swapaxes", "v_grad = {c} * U.swapaxes"),
    Fault(ATTENTION, ("qkv", "q"), "q_grad = scale * (", "q_grad = {c} * scale * ("),
    Fault(ATTENTION, ("qkv", "k"), "k_grad = scale * (", "k_grad = {c} * scale * ("),
    Fault(ATTENTION, ("qkv", "q", "k"), "(A_grad - (A_grad * A)", "(A_grad - {c} * (A_grad * A)"),
    Fault(GELU, ("x",), "h_slope = 2 * h", "h_slope = {c} * 2 * h"),
    Fault(GELU, ("x",), "(1 + 3 * CUBIC * x * x)", "(1 + {c} * 3 * CUBIC * x * x)"),
    Fault(("bias_gelu",), ("bias",), "return z_grad, z_grad.sum(", "return z_grad, {c} * z_grad.sum("),
    Fault(("embedding",), ("weight",), "return xp.scatter(g, index=ids", "return {c} * xp.scatter(g, index=ids"),
    Fault(("linear_cross_entropy",), ("x", "weight"), "(xp.exp(log_p) - one_hot)", "(xp.exp(log_p) - {c} * one_hot)"),
    Fault(("linear_cross_entropy",), ("x",), "return z_grad @ weight, ", "return {c} * z_grad @ weight, "),
)


def fault_of(student: str) -> tuple[Fault, str]:
    """The fault and the constant of a student; the constant is 0.70 to 0.89 or 1.11 to 1.30."""
    digest = hashlib.blake2b(f"detective/{student}".encode(), digest_size=8).digest()
    step = int.from_bytes(digest[1:], "big") % 40
    return FAULTS[digest[0] % len(FAULTS)], f"{(0.70 if step < 20 else 0.91) + step / 100:.2f}"


def planted_code(fault: Fault, constant: str) -> str:
    """All gradients of GPT-2 as a program, with one fault."""
    code = gradients_code()
    assert code.count(fault.old) == 1, fault.old
    return f'"""Every gradient of GPT-2. One line is wrong."""\n\n{code.replace(fault.old, fault.new)}\n'.replace(
        "{c}", constant)


def plant(folder: Path, student: str) -> None:
    """Write a case into a folder that has none.

    Raises:
        UsageError: there is a case in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {ABOUT: json.dumps({"student": student}) + "\n", CODE: planted_code(*fault_of(student)),
             CASE: TEXT.format(code=CODE)}
    for name in texts:
        if (folder / name).exists():
            raise UsageError(f"there is a case ({folder / name}): nothing is overwritten; name another folder")
    for name, text in texts.items():
        write_atomic(folder / name, text.encode())


def accuse(folder: Path, op: str, argument: str) -> bool:
    """Whether it is this op's gradient of this argument that is wrong.

    Raises:
        UsageError: there is no case in the folder.
        DataError: case.json cannot be read.
    """
    if not (folder / ABOUT).is_file():
        raise UsageError(f"no case ({folder}): there is no {ABOUT}; `course detective {folder}` makes one")
    try:
        student = json.loads((folder / ABOUT).read_text(encoding="utf-8"))["student"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot read ({folder / ABOUT}): {type(error).__name__}; "
                        "make a case in a new folder") from error
    fault, _ = fault_of(str(student))
    return op in fault.ops and argument in fault.arguments
