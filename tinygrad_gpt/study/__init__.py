"""Looking at derivatives: the gradient check, the table, the tape of a real step."""

import tinygrad_gpt.ops  # noqa: F401  fills the registry that all of this looks at
from tinygrad_gpt.study.gradcheck import Check, Draw, check_forms, check_op
from tinygrad_gpt.study.sweep import Finding, check
from tinygrad_gpt.study.tape_view import TapeView, view_tape

__all__ = ["Check", "Draw", "Finding", "TapeView", "check", "check_forms", "check_op", "view_tape"]
