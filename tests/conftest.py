"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import cuda_on_cpu  # registers the backend "emulated", which runs CUDA kernels
import pytest
import strict  # noqa: F401 - registers the stand-in for CuPy as backend "strict"
from hypothesis import HealthCheck, settings
from soak import times

from tinygrad_gpt.backend import default_backend, use_backend
from tinygrad_gpt.errors import UsageError
from tinygrad_gpt.ops import load_compiled

load_compiled()  # the sweeps see these forms, too

# A shell without job control ignores SIGINT in what it starts in the background, nohup SIGHUP; the programs that tests
# start would inherit it.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

REPOSITORY = Path(__file__).resolve().parents[1]

settings.register_profile("here", max_examples=times(200, 2000), derandomize=True, deadline=None, database=None,
                          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
settings.load_profile("here")


def pytest_addoption(parser):
    parser.addoption("--backend", action="append", default=[], metavar="NAME",
                     help="run the tests that touch arrays on this backend, too (cupy, on a machine with a GPU)")


def pytest_configure(config):
    config.addinivalue_line("markers", "kernels: what runs on each backend runs with the CUDA kernels on the CPU, too")


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        emulated = ["emulated"] * (metafunc.definition.get_closest_marker("kernels") is not None)
        metafunc.parametrize("backend", ["numpy", "strict", *emulated, *metafunc.config.getoption("--backend")],
                             indirect=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """A test of a precision that the GPU lacks, such as bfloat16 before Ampere, is skipped."""
    try:
        return (yield)
    except UsageError as refusal:
        if "GPU of compute capability" not in str(refusal):
            raise
        pytest.skip(str(refusal))


@pytest.fixture
def backend(request):
    """Each backend in turn, as the default of the test."""
    if request.param == "emulated" and cuda_on_cpu.COMPILER is None:
        pytest.skip("g++, which compiles the kernels for the CPU, is not installed")
    before = default_backend().name
    yield use_backend(request.param)
    use_backend(before)


@pytest.fixture
def emulated():
    """The backend that runs the CUDA kernels on the CPU, as the default of the test."""
    if cuda_on_cpu.COMPILER is None:
        pytest.skip("g++, which compiles the kernels for the CPU, is not installed")
    yield use_backend("emulated")
    use_backend("numpy")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data sets (`TINYGRAD_GPT_DATA`, or `../shared/data` beside the checkout)."""
    folder = Path(os.environ.get("TINYGRAD_GPT_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the data sets are not here: {folder} (set TINYGRAD_GPT_DATA)")
    return folder
