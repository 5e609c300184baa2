"""The exercises: which ops of the registry a student writes the gradients of, in the order of the course."""

from dataclasses import dataclass

import tinygrad_gpt.ops  # noqa: F401 - fills the registry
from tinygrad_gpt.course.layers import LAYERS
from tinygrad_gpt.engine import OPS, Op
from tinygrad_gpt.errors import UsageError

__all__ = ["EXERCISES", "VERSION", "WEEKS", "Exercise", "exercise"]

VERSION = 1  # of the course: raised when a text that students have is changed


@dataclass(frozen=True)
class Exercise:
    """One function whose pullbacks a student writes, or a layer whose forward pass.

    Args:
        number: its place in the course, from 1.
        name: of the op.
        points: for a gradient that passes everything.
        task: what there is to learn, in one or two sentences.
    """

    number: int
    name: str
    points: int
    task: str

    @property
    def op(self) -> Op:
        """The op of the registry, or the layer as an op that is in none."""
        return OPS[self.name] if self.name in OPS else LAYERS[self.name]

    @property
    def is_layer(self) -> bool:
        """Whether the forward pass is to be written, with the ops on Tensors."""
        return self.name in LAYERS

    @property
    def file(self) -> str:
        """Name of the student's file."""
        return f"{self.number:02}_{self.name}.py"


_TASKS = (
    ("mul", 5, "The product rule. The engine sums a gradient down to the shape of an argument that was broadcast."),
    ("div", 5, "The quotient rule."),
    ("tanh", 5, "A function whose derivative is written with its own result."),
    ("sigmoid", 5, "The same for the logistic function."),
    ("relu", 5, "A mask made of the argument. At 0 the derivative is taken as 0."),
    ("matmul", 10, "Matrix products of stacks of matrices; a vector is a matrix with one row or column."),
    ("linear", 10, "A layer: its input, its weight and its bias, of which all rows share the last two."),
    ("softmax", 10, "Each result depends on every value along the axis."),
    ("cross_entropy", 10, "The loss: of the logits only. Rows that are ignored do not count."),
    ("embedding", 10, "Rows picked by number. A row that is picked twice gets both gradients."),
    ("layer_norm", 15, "Mean and variance depend on every value of the row, too."),
    ("gelu", 10, "The product rule and the chain rule, one inside the other."),
    ("dropout", 5, "A mask that is given, and a scale."),
    ("attention", 25, "Three arguments, a softmax, masks and dropout: step by step back from y = U v."),
    ("linear_cross_entropy", 15, "The head of GPT-2 and its loss together."),
    ("mlp", 5, "A layer of two products."),
    ("causal_attention", 10, "Attention from products and a softmax; `ops.where(mask, a, b)` chooses."),
    ("block", 10, "Two branches and two residual connections."),
)
WEEKS = {  # of the plan in course/README.md, in which each exercise is set
    "mul": 1, "div": 1, "tanh": 2, "sigmoid": 2, "relu": 2, "matmul": 3, "linear": 3, "softmax": 4, "cross_entropy": 4,
    "embedding": 5, "layer_norm": 6, "gelu": 7, "mlp": 7, "dropout": 7, "attention": 8, "causal_attention": 8,
    "block": 9, "linear_cross_entropy": 9,
}
EXERCISES = tuple(Exercise(number, *task) for number, task in enumerate(_TASKS, 1))


def exercise(name: str) -> Exercise:
    """The exercise of this name.

    Raises:
        UsageError: "no such exercise (glu): choose from …".
    """
    for each in EXERCISES:
        if name in (each.name, each.file):
            return each
    raise UsageError(f"no such exercise ({name}): choose from {', '.join(each.name for each in EXERCISES)}")
