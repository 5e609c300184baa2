"""Recompute: keep the input of a function instead of all that its ops save, and run it again in backward.

Also called gradient checkpointing. A model of n blocks then keeps n inputs and, for a moment, what one block
saves; it costs a second forward pass.

Source: Chen et al. 2016, arXiv:1604.06174
"""

from collections.abc import Callable

from tinygrad_gpt.engine import Op
from tinygrad_gpt.engine.tape import Node, current_mode, gradients, no_grad, switched
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
            with switched(recording=True, composed=mode.composed):
                root = (again or function)(same_x)._node
            found = gradients(root, g, since=begin) if root else {}
            result = [node and found.pop(node, None) for node in nodes]
            if found:
                raise TapeError(f"recompute: the function uses {len(found)} tensor(s) with a gradient that were not "
                                "given; pass them as parameters")
            return result

        return y._data, grads

    return Op(recompute_, samples=None, errors=None, composed=None, broadcasts=False)(x, *parameters)
