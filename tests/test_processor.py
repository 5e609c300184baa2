import os
import subprocess
import sys

import pytest

from tinygrad_gpt.processor import CORE, choose_kernels

AVX512 = "fpu avx avx2 avx512f avx512dq avx512cd avx512bw avx512vl"


def described(tmp_path, vendor="AuthenticAMD", family="26", flags=AVX512):
    """A file like /proc/cpuinfo, with two processors."""
    processor = f"vendor_id\t: {vendor}\ncpu family\t: {family}\nmodel name\t: A: B\nflags\t\t: {flags}\n\n"
    (tmp_path / "cpuinfo").write_text(processor * 2)
    return str(tmp_path / "cpuinfo")


@pytest.mark.parametrize("family", ["26", "27"])
def test_zen_5_and_later_compute_with_avx_512(tmp_path, family):
    environment = {}
    choose_kernels(environment, described(tmp_path, family=family))
    assert environment == {CORE: "SkylakeX"}


@pytest.mark.parametrize("other", [
    {"family": "25"}, {"vendor": "GenuineIntel"}, {"flags": "fpu avx avx2"}, {"flags": "avx512f"}, {"family": "?"},
])
def test_others_are_left_to_openblas(tmp_path, other):
    environment = {}
    choose_kernels(environment, described(tmp_path, **other))
    assert environment == {}


def test_the_users_choice_is_kept(tmp_path):
    environment = {CORE: "Haswell"}
    choose_kernels(environment, described(tmp_path))
    assert environment == {CORE: "Haswell"}


@pytest.mark.parametrize("text", [None, "", "Hardware : BCM2835\n", "\0\xff"])
def test_a_system_that_does_not_say_is_left_alone(tmp_path, text):
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    environment = {}
    choose_kernels(environment, str(tmp_path / "cpuinfo"))
    assert environment == {}


def test_numpy_takes_the_choice():
    code = ("import tinygrad_gpt, numpy, os, threadpoolctl; "
            f"print(os.environ.get({CORE!r}), [each['architecture'] for each in threadpoolctl.threadpool_info() "
            "if each['internal_api'] == 'openblas'])")
    clean = {name: value for name, value in os.environ.items() if name != CORE}
    printed = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True).stdout
    chosen, _, cores = printed.strip().partition(" ")
    assert chosen == "None" or cores in ("['SkylakeX']", "[]")
