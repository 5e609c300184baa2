"""NumPy as a backend."""


import platform
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tinygrad_gpt.backend import (
    get_backend,
)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_index_add_sums_repeated_rows(shape, backend):
    r = np.random.default_rng(0)
    index, values = r.integers(0, 5, 50), r.standard_normal((50, *shape))
    target, expected = backend.from_numpy(np.ones((6, *shape))), np.ones((6, *shape))
    np.add.at(expected, index, values)
    backend.index_add(target, backend.from_numpy(index), backend.from_numpy(values))
    assert np.allclose(backend.to_numpy(target), expected, rtol=1e-13)
    backend.index_add(target, backend.from_numpy(index[:0]), backend.from_numpy(values[:0]))
    assert np.allclose(backend.to_numpy(target), expected, rtol=1e-13)


def test_index_add_is_repeatable():
    r = np.random.default_rng(0)
    index, values = r.integers(0, 5, 5000), r.standard_normal((5000, 3)).astype(np.float32)
    results = []
    for _ in range(2):
        target = np.zeros((5, 3), np.float32)
        get_backend("numpy").index_add(target, index, values)
        results.append(target.tobytes())
    assert results[0] == results[1]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is one of glibc's malloc")
def test_memory_of_freed_arrays_is_used_again():
    code = """
        import resource
        import numpy as np
        import tinygrad_gpt.backend

        def page_faults():
            return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

        np.ones(10_000_000)
        before = page_faults()
        for _ in range(10):
            np.ones(10_000_000)  # 80 MB: 19,500 pages
        print(page_faults() - before)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 100
