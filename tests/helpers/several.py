"""Processes that a real `mpiexec` starts, where one is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
_loads = MPIEXEC and subprocess.run([sys.executable, "-c", "from mpi4py import MPI"], capture_output=True,
                                    check=False).returncode == 0
needs_mpi = pytest.mark.skipif(not _loads, reason="mpi4py and an MPI are not installed (extra 'parallel')")
ENVIRONMENT = {**{name: value for name, value in os.environ.items() if not name.startswith(("PMI_", "MPI_"))},
               "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}


def mpiexec(*groups, **settings):
    """Run ``mpiexec -n N COMMAND : -n N COMMAND …``, each from a pair of a number and words."""
    words = [word for n, command in groups for word in (":", "-n", str(n), *command)][1:]
    return subprocess.run([MPIEXEC, *words], env=ENVIRONMENT, capture_output=True, text=True, timeout=120,
                          check=False, **settings)
