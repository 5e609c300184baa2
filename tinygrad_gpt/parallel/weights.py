"""The weights of a group, which are the same bits on every rank."""

import hashlib
from collections.abc import Sequence

import numpy as np

from tinygrad_gpt.backend import to_host
from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ParallelError
from tinygrad_gpt.parallel.group import Group

__all__ = ["check_weights"]


def check_weights(group: Group, parameters: Sequence[Tensor], step: int) -> None:
    """Refuse to go on with ranks whose weights differ, by a fault of the memory, say.

    Args:
        parameters: of this rank.
        step: for the message.

    Raises:
        ParallelError: "ranks differ (step 100): rank 1 has other weights than rank 0; …".
    """
    if group.size == 1:
        return
    digest = hashlib.blake2b(digest_size=16)
    for parameter in parameters:
        digest.update(np.ascontiguousarray(to_host(parameter.data)).tobytes())
    first, *others = group.everyone(digest.hexdigest())
    for rank, other in enumerate(others, start=1):
        if other != first:
            raise ParallelError(f"ranks differ (step {step:,}): rank {rank} has other weights than rank 0; nothing was "
                                "saved since they were compared last: go on with --resume")
