"""Many parameters in one launch of a kernel."""

import cuda_on_cpu
import numpy as np
import pytest

from tinygrad_gpt import Tensor
from tinygrad_gpt.backend import get_backend
from tinygrad_gpt.nn.utils import clip_grad_norm_
from tinygrad_gpt.ops.cuda.many_arrays import SPAN, one_launch, spans
from tinygrad_gpt.optim import AdamW


def test_spans_cover_every_element_once():
    sizes = (5, 0, SPAN, 2 * SPAN + 1)
    table = spans(get_backend("numpy"), sizes)
    assert table.tolist() == [[0, 0, 5], [2, 0, SPAN], [3, 0, SPAN], [3, SPAN, 2 * SPAN], [3, 2 * SPAN, 2 * SPAN + 1]]
    assert table.dtype == np.int64


def test_kernels_go_through_contiguous_arrays_only(emulated):
    x = emulated.from_numpy(np.ones((2, 3), np.float32))
    assert one_launch([x, x[0]])
    assert not one_launch([x, x.T])
    assert not one_launch([np.ones(3)])  # NumPy launches nothing


def test_an_optimiser_takes_a_few_launches(emulated):
    shapes = [(30, 4), (4,), (), (5, 7, 3), (1, 1), (0, 4), (6000,)]
    parameters = [Tensor(np.ones(shape, np.float32), requires_grad=True, backend="emulated") for shape in shapes]
    for p in parameters:
        p.grad = Tensor(np.full(p.shape, 0.5, np.float32), backend="emulated")
    optimizer, before = AdamW(parameters, weight_decay=0.1, decayed_axes=2), cuda_on_cpu.launches
    optimizer.step()
    assert cuda_on_cpu.launches - before == 2, "with and without decay"
    norm = clip_grad_norm_(parameters, 1.0).item()
    assert norm == pytest.approx(0.5 * sum(p.size for p in parameters) ** 0.5, rel=1e-6)
    assert cuda_on_cpu.launches - before == 4, "the norm, and what it is scaled by"
