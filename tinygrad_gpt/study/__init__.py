"""Looking at derivatives: the gradient check, the table, the tape of a real step."""

from tinygrad_gpt.study.gradcheck import Check, Draw, check_op

__all__ = ["Check", "Draw", "check_op"]
