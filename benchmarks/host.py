"""The machine of a measurement: its kind, the versions that matter, and how busy it was with other work."""

import datetime
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

__all__ = ["AVX2_ONLY", "Watch", "kind", "machine"]

CPUINFO = Path("/proc/cpuinfo")
STAT = Path("/proc/stat")
LEVELS = {"avx512f": "AVX-512", "avx2": "AVX2", "avx": "AVX"}  # flag of a processor -> name
AVX2_ONLY = {  # environment in which OpenBLAS, NumPy, numba, torch, oneDNN and MKL use no AVX-512
    "OPENBLAS_CORETYPE": "Haswell", "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma", "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def kind() -> str:
    """Name and vector instructions of the processor, such as "AMD EPYC, AVX2": figures of one kind are comparable."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    named = re.search(r"model name\s*: (.+)", text)
    flags = re.search(r"flags\s*: (.+)", text)
    known = flags[1].split() if flags else []
    level = next((level for flag, level in LEVELS.items() if flag in known), platform.machine())
    if level == "AVX-512" and AVX2_ONLY.items() <= os.environ.items():
        level = "AVX-512 held to AVX2"
    name = re.sub(r"\((R|TM)\)|\b(CPU|Processor)\b|@.*", " ", named[1] if named else platform.processor())
    return f"{' '.join(name.split()) or 'processor'}, {level}"


def blas() -> str:
    """NumPy's BLAS and the kernels that it chose for this processor, such as "OpenBLAS 0.3.31 (Haswell)"."""
    import numpy  # noqa: F401 - which loads it

    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return "unknown BLAS (threadpoolctl is not installed)"
    libraries = [library for library in threadpool_info() if library["user_api"] == "blas"]
    names = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS"}
    return ", ".join(dict.fromkeys(
        f"{names.get(each['internal_api'], each['internal_api'])} {'.'.join((each['version'] or '?').split('.')[:3])} "
        f"({each.get('architecture', 'unknown kernels')})" for each in libraries)) or "unknown BLAS"


class Watch:
    """What other programs take of the processor, from the making of this object on; on Linux."""

    def __init__(self):
        self.load, self.used, self.possible, self.own = _figures()

    def told(self) -> str:
        """Such as "load 0.4 before and 2.1 after, 12 % of the processor taken by others"."""
        load, used, possible, own = _figures()
        if not possible or possible == self.possible:
            return "load unknown"
        others = max(0.0, (used - self.used) - (own - self.own)) / (possible - self.possible)
        return f"load {self.load:.1f} before and {load:.1f} after, {others:.0%} of the processor taken by others"


def _figures() -> tuple[float, float, float, float]:
    """Load; seconds that the cores have worked, for a host of this virtual machine too, and could have; our own."""
    if not STAT.exists():
        return 0.0, 0.0, 0.0, 0.0
    user, nice, system, idle, waiting, *more = (
        int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in STAT.read_text().split("\n")[0].split()[1:9])
    used = user + nice + system + sum(more)  # interrupts, and what the host took away
    return os.getloadavg()[0], used, used + idle + waiting, sum(os.times()[:4])


WATCH = Watch()  # from the start of the script


def machine() -> str:
    """The machine, the versions that matter, the date, and how busy the machine was since the start, in one line."""
    return (f"{kind()}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
            f"NumPy {version('numpy')}, {blas()}; {datetime.date.today().isoformat()}; {WATCH.told()}")
