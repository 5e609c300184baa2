"""Weights that are not the same bits on every rank are found."""

import numpy as np
import pytest
from thread_group import in_ranks

from tinygrad_gpt.engine.tensor import Tensor
from tinygrad_gpt.errors import ParallelError
from tinygrad_gpt.parallel.group import Group
from tinygrad_gpt.parallel.weights import check_weights


def test_one_bit_is_enough():
    def work(group):
        parameters = [Tensor(np.ones((2, 3), np.float32).T), Tensor(np.zeros(0, np.float32))]
        check_weights(group, parameters, 7)
        if group.rank == 2:
            parameters[0].data[1, 1] = np.nextafter(np.float32(1), np.float32(2))
        with pytest.raises(ParallelError, match=r"^ranks differ \(step 1,000\): rank 2 has other weights than rank 0"):
            check_weights(group, parameters, 1000)
        return True

    assert in_ranks(3, work) == [True] * 3


def test_one_process_has_nothing_to_compare():
    assert check_weights(Group(), [], 1) is None
