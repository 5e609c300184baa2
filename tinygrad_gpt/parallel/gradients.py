"""The mean gradient of a group: sent in buckets, each as soon as it is full, while the backward pass goes on.

The gradients of all parameters are neighbours in one array, the last parameter first, which is about the order in which
the backward pass makes them. A bucket is a part of this array. It is summed over the ranks when its last gradient has
come and the buckets before it are on their way, so that all ranks send the same buckets in the same order. The last
bucket ends with the loss and with a number for each parameter that says on how many ranks it has a gradient.

Source: Li et al. 2020, arXiv:2006.15704, section 3.2 (PyTorch's DistributedDataParallel).
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

import numpy as np

from tinygrad_gpt.backend import Array, backend_of
from tinygrad_gpt.engine.leaves import backward_by_leaf
from tinygrad_gpt.engine.tape import Node
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.parallel.group import Group

__all__ = ["Gradients", "MeanGradients", "gradients_of"]

BUCKET = 25 * 2**20  # bytes, as in PyTorch
ALIGNED = 16  # elements: a gradient begins where 64 bytes begin, as arrays of their own do


class Gradients:
    """The gradients of one process.

    Attributes:
        group: of this process alone.
    """

    group = Group()

    def __init__(self) -> None:
        self.losses: list[Array] = []

    def begin(self) -> None:
        """Forget the losses of an earlier step."""
        self.losses = []

    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of a loss () to those of the parameters.

        Args:
            last: whether it is the last loss of the step.
        """
        loss.backward()
        self.losses.append(loss.data)

    def finish(self) -> list[Array]:
        """Have the whole gradients in the parameters.

        Returns:
            Losses (), whose sum is that of the step.
        """
        return self.losses


class MeanGradients(Gradients):
    """The sum of the gradients of all ranks; with losses divided by their number, the mean.

    Args:
        group: the ranks.
        parameters: in the same order on each.
        bucket: bytes that are sent together, at least.
    """

    def __init__(self, group: Group, parameters: Sequence[Tensor], bucket: int = BUCKET):
        super().__init__()
        self.group, self.parameters = group, list(reversed(parameters))
        xp = backend_of(self.parameters[0].data).xp
        dtype = xp.result_type(*(p.dtype for p in self.parameters))
        ends = list(accumulate(-(-p.size // ALIGNED) * ALIGNED for p in self.parameters))
        starts = [0, *ends[:-1]]
        self.flat = xp.zeros(ends[-1] + 1 + len(ends), dtype=dtype)  # the gaps between gradients stay 0
        self.places = [self.flat[i:i + p.size].reshape(p.shape) for i, p in zip(starts, self.parameters, strict=True)]
        self.tail = self.flat[ends[-1]:]  # the loss, and for each parameter whether it has a gradient
        self.numbers = {p.node: i for i, p in enumerate(self.parameters)}
        self.bucket_of = _buckets(self.parameters, bucket)
        firsts = [self.bucket_of.index(b) for b in range(self.bucket_of[-1] + 1)]
        bounds = [*(starts[i] for i in firsts), len(self.flat)]
        self.buckets = [self.flat[i:j] for i, j in pairwise(bounds)]
        self.begin()

    def begin(self) -> None:
        self.tail[:] = 0
        self.missing = [self.bucket_of.count(b) for b in range(len(self.buckets))]  # gradients, in each bucket
        self.has = [False] * len(self.parameters)  # a gradient, in this step, on this rank
        self.sums: list[Callable[[], None]] = []  # waits for the sum of each bucket that is on its way

    def backward(self, loss: Tensor, last: bool) -> None:
        """As in `Gradients`; a loss that no parameter has a part in, as that of no rows, adds nothing."""
        self.tail[0] += loss.data
        if not loss.requires_grad:
            return
        if not last:
            loss.backward()
            return
        backward_by_leaf(loss, self._arrived)

    def _arrived(self, node: Node, g: Array) -> None:
        """Put the gradient of a leaf, with that of earlier losses, into its place, and send the buckets that are full.

        The last bucket waits for `finish`.
        """
        i = self.numbers.get(node)
        if i is None:  # it is no parameter of the optimiser
            return
        earlier = self.parameters[i].grad
        if earlier is None:
            self.places[i][...] = g
        else:
            backend_of(g).xp.add(earlier.data, g, out=self.places[i])
        self.has[i] = True
        self.missing[self.bucket_of[i]] -= 1
        while len(self.sums) < len(self.buckets) - 1 and not self.missing[len(self.sums)]:
            self._send()

    def _send(self) -> None:
        self.sums.append(self.group.start_total(self.buckets[len(self.sums)]))

    def finish(self) -> list[Array]:
        for i, p in enumerate(self.parameters):
            if not self.has[i]:  # no gradient in the last loss
                self.has[i] = p.grad is not None
                self.places[i][...] = 0 if p.grad is None else p.grad.data
        backend = backend_of(self.flat)
        self.tail[1:] = backend.from_numpy(np.array(self.has, str(self.flat.dtype)))
        while len(self.sums) < len(self.buckets):
            self._send()
        for arrived in self.sums:
            arrived()
        has = self.has if all(self.has) else backend.to_numpy(self.tail)[1:]  # there is one on some rank
        for i, p in enumerate(self.parameters):
            assert p.node is not None  # it is a leaf
            p.node.grad = Tensor(self.places[i]) if has[i] else None
        return [self.tail[0]]


def _buckets(parameters: Sequence[Tensor], least: int) -> list[int]:
    """The number of the bucket of each parameter: a bucket is full with ``least`` bytes."""
    numbers, size, bucket = [], 0, 0
    for p in parameters:
        numbers.append(bucket)
        size += p.size * p.dtype.itemsize
        if size >= least:
            size, bucket = 0, bucket + 1
    return numbers


def gradients_of(group: Group, parameters: Sequence[Tensor]) -> Gradients:
    """What makes the gradients of the parameters of a run, in each of its steps."""
    return Gradients() if group.size == 1 else MeanGradients(group, parameters)
