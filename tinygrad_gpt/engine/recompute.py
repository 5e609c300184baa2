"""Recompute: keep the input of a function instead of all that its ops save, and run it again in backward.

Also called gradient checkpointing. A model of n blocks then keeps n inputs and, for a moment, what one block
saves; it costs a second forward pass.

Source: Chen et al. 2016, arXiv:1604.06174
"""

from collections.abc import Callable

from tinygrad_gpt.backend import backend_of
from tinygrad_gpt.engine.mode import current_mode, no_grad, switched
from tinygrad_gpt.engine.pending import Pending
from tinygrad_gpt.engine.registry import Op
from tinygrad_gpt.engine.tape import Node, walk
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import TapeError

__all__ = ["recompute"]


def recompute(function: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor,
              again: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """``function(x)``, with the same gradients, but of what it computes only ``x`` is kept for backward.

    Args:
        function: it must give the same result when it is called a second time.
        x: its input.
        parameters: all other tensors with a gradient that it uses.
        again: called in place of ``function`` the second time, by one that has to turn something back before.

    Raises:
        TapeError: in backward, "recompute: the function uses 1 tensor with a gradient that was not given…", or a
            parameter was changed in between.
    """
    mode, nodes = current_mode(), [tensor._node for tensor in (x, *parameters)]
    if not mode.recording or not any(nodes):
        return function(x)

    def recompute_(xp, *arrays):
        with no_grad():
            y = function(Tensor(arrays[0]))

        def grads(g):
            same_x = Tensor(arrays[0])
            same_x._node = nodes[0]  # what is recorded now hangs on the tape where the first run did
            begin = Node().order
            with switched(recording=True, ops=mode.ops):
                root = (again or function)(same_x)._node
            found = _gradients_at(root, g, begin) if root else {}
            result = [node and found.pop(node, None) for node in nodes]
            if found:
                raise TapeError(f"recompute: the function uses {len(found)} tensor(s) with a gradient that were not "
                                "given; pass them as parameters")
            return result

        return y._data, grads

    return Op(recompute_)(x, *parameters)


def _gradients_at(root, g, since):
    """The gradients of the nodes below the root that are older than number ``since``; the arrays are nobody else's."""
    return {node: grad if own else backend_of(grad).xp.array(grad)
            for node, grad, own in walk(Pending([(root, g)]), since=since)}
