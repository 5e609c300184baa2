"""Gradients of leaves, each as soon as it is whole, while the backward pass goes on."""

from collections.abc import Callable

from tinygrad_gpt.backend import Array
from tinygrad_gpt.engine.pending import Pending
from tinygrad_gpt.engine.tape import Node, nodes_below, walk
from tinygrad_gpt.engine.tensor import Tensor

__all__ = ["backward_by_leaf"]


def backward_by_leaf(loss: Tensor, arrived: Callable[[Node, Array], None]) -> None:
    """Run the backward pass of a loss (), and give away the gradient of each leaf when its last part has come.

    No ``grad`` changes. The gradient of the last layer comes first; that of a parameter with several uses, such as an
    embedding that is also the head, when the oldest of them has been played.

    Args:
        arrived: called once for each leaf with its node and gradient, which must not be kept or written to.

    Raises:
        TapeError: as `Tensor.backward`.
    """
    one = loss.as_cotangent(None, "backward_by_leaf")
    assert loss.node is not None  # `as_cotangent` looked
    rest = walk(Pending([(loss.node, one.data)]), completes=_leaves_completed(loss.node), arrived=arrived)
    for node, g, _ in rest:
        arrived(node, g)


def _leaves_completed(root: Node) -> dict[Node, list[Node]]:
    """The leaves under the oldest node that uses each: the tape is played from the youngest node to the oldest."""
    oldest: dict[Node, Node] = {}
    for node in nodes_below(root):
        for source in node.inputs:
            if source is not None and source.op is None:
                oldest.setdefault(source, node)
    completed: dict[Node, list[Node]] = {}
    for leaf, node in oldest.items():
        completed.setdefault(node, []).append(leaf)
    return completed
