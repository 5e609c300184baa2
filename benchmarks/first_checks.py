"""The checks of first_hour.py that are programs of their own.

    python benchmarks/first_checks.py CHECK [BACKEND [tiny]]
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gpu_ours import training_step  # which also finds the helpers of the tests

from tinygrad_gpt.backend import default_backend, use_backend
from tinygrad_gpt.backend.precision import POLICIES
from tinygrad_gpt.backend.precision import precision as policy
from tinygrad_gpt.engine import OPS
from tinygrad_gpt.errors import TinygradError, UsageError
from tinygrad_gpt.study.gradcheck import Draw

SMALL = {"vocab_size": 1000, "n_layer": 2, "n_head": 4, "n_embd": 256, "length": 256}
TINY = {"vocab_size": 96, "n_layer": 1, "n_head": 2, "n_embd": 32, "length": 16}
LAUNCHES = 2000


def precisions() -> Iterator[str]:
    """Those that the GPU has, each in force while it is the one."""
    for name in POLICIES:
        try:
            with policy(name):
                yield name
        except UsageError as refused:
            print(f"left out: {refused}")


def backend() -> None:
    """The backend works, and what it runs on."""
    here = default_backend()
    print(f"backend {here.name}, {here.card()}, {here.free_memory() / 2**30:.1f} GiB free")


def attention() -> None:
    """Attention forward and backward with heads of 64 and 128 in each precision: small enough for a sanitizer."""
    for name in precisions():
        for size in (64, 128):
            qkv = default_backend().from_numpy(Draw(size).normal(1, 130, 3 * size).astype(POLICIES[name].dtype))
            y, grads = OPS["self_attention"].form(default_backend()).body((qkv,))(
                default_backend().namespace, qkv, n_head=1)
            finite = [np.isfinite(default_backend().to_numpy(a).astype(np.float64)).all() for a in (y, grads(y)[0])]
            print(f"{name}, heads of {size}: {'finite' if all(finite) else 'NOT FINITE'}")
            if not all(finite):
                sys.exit("attention: values are not finite")


def repeated(sizes: dict[str, int] = SMALL) -> None:
    """Two training steps from the same weights give the same bits, in each precision."""
    differ = []
    for name in precisions():
        weights = []
        for _ in range(2):
            step, model = training_step.__wrapped__(2, **sizes)
            step()
            weights.append({name: p.numpy().tobytes() for name, p in model.named_parameters()})
        others = [key for key in weights[0] if weights[0][key] != weights[1][key]]
        print(f"{name}: {len(others)} of {len(weights[0])} weights differ{': ' * bool(others)}{', '.join(others[:9])}")
        differ += others
    if differ:
        sys.exit("repeated: two equal steps gave different bits")


def compiled() -> None:
    """A second process reads the compiled kernels and compiles none: it leaves CuPy's cache as it was."""
    if default_backend().launch is None:
        print(f"backend {default_backend().name} has no kernels to compile")
        return
    with tempfile.TemporaryDirectory() as folder:
        states = []
        for turn in ("first", "second"):
            started = time.monotonic()
            subprocess.run([sys.executable, __file__, "attention", default_backend().name], check=True,
                           env=os.environ | {"CUPY_CACHE_DIR": folder}, stdout=subprocess.DEVNULL)
            states.append({file.name: file.stat().st_mtime_ns for file in Path(folder).rglob("*") if file.is_file()})
            print(f"{turn} process: {time.monotonic() - started:.1f} s, {len(states[-1])} files in the cache")
    new = [name for name, changed in states[1].items() if states[0].get(name) != changed]
    if new or not states[0]:
        sys.exit(f"compiled: the second process wrote {len(new)} of {len(states[1])} files")


def launches() -> None:
    """What a launch costs the host, and the GPU, if its kernel has nothing to do."""
    here = default_backend()
    gelu, x = OPS["gelu"], here.from_numpy(np.zeros(32, np.float32))
    gelu.on_arrays(x)
    here.synchronize()
    started = time.perf_counter()
    for _ in range(LAUNCHES):
        gelu.on_arrays(x)
    host = time.perf_counter() - started
    here.synchronize()
    whole = time.perf_counter() - started
    print(f"GELU of 32 numbers, {LAUNCHES:,} times: {1e6 * host / LAUNCHES:.1f} µs each until it is launched, "
          f"{1e6 * whole / LAUNCHES:.1f} µs until it is done")


def step(sizes: dict[str, int] = SMALL) -> None:
    """Three training steps of a small model, for a profiler to watch, in the last precision that the GPU has."""
    name = [*precisions()][-1]
    one, _ = training_step(2, **sizes)
    with policy(name):
        print(name, [one().item() for _ in range(3)])


CHECKS = {check.__name__: check for check in (backend, attention, repeated, compiled, launches, step)}


def main(name: str, on: str = "cupy", size: str = "") -> None:
    try:
        use_backend(on)
        CHECKS[name](*[TINY] * (size == "tiny" and CHECKS[name] in (repeated, step)))
    except TinygradError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
