"""The matrix products of a processor that OpenBLAS does not know."""

import os
from collections.abc import MutableMapping

__all__ = ["CORE", "choose_kernels"]

CPUINFO = "/proc/cpuinfo"
CORE = "OPENBLAS_CORETYPE"


def choose_kernels(environment: MutableMapping[str, str] = os.environ, cpuinfo: str = CPUINFO) -> None:
    """Let OpenBLAS compute with AVX-512 on AMD's Zen 5 and later; call it before NumPy is imported.

    The OpenBLAS of NumPy's wheels (0.3.31 and before) takes these processors for older ones and computes with AVX2,
    at half of the speed. A choice that the user has made, by the variable ``OPENBLAS_CORETYPE``, is kept. On Linux
    only, where the processor can be asked without a library.

    Args:
        environment: where the variable is set.
        cpuinfo: the file that describes the processor.

    Source: https://github.com/OpenMathLib/OpenBLAS/issues/6029.
    """
    try:
        with open(cpuinfo, encoding="utf-8", errors="replace") as file:
            first = file.read(4096)  # one core is enough
    except OSError:
        return
    lines = [line.partition(":") for line in first.splitlines()]
    fields = {name.strip(): value.strip() for name, _, value in lines}
    family = fields.get("cpu family", "")
    if fields.get("vendor_id") == "AuthenticAMD" and family.isdecimal() and int(family) >= 26 \
            and {"avx512f", "avx512dq", "avx512bw", "avx512vl"} <= set(fields.get("flags", "").split()):
        environment.setdefault(CORE, "SkylakeX")
