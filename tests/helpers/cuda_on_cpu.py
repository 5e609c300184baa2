"""CUDA kernels on a machine without a GPU: the backend "emulated", strict arrays and a `launch` on the CPU.

The text of the kernels is compiled by g++ with cuda_on_cpu.h before it, and run with the threads of a block as fibers.
A launch fails where CUDA would misbehave silently: arrays of another type than the parameter, or neither C-ordered nor
told with their steps, or read-only and written to; memory written outside an array or behind the shared memory asked
for; a barrier that some threads never reach; more shared memory, or newer instructions, than the GPU in use has, which
`fake_cublas.card` sets. Between barriers the threads run forward, backward or shuffled, another way at each launch.
"""

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import importlib.util
import itertools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import fake_cublas
import numpy as np
import strict

from tinygrad_gpt.backend import register_backend
from tinygrad_gpt.backend.cards import card_of
from tinygrad_gpt.backend.cupy import kernel_text
from tinygrad_gpt.backend.index_add import ordered_index_add
from tinygrad_gpt.errors import BackendError
from tinygrad_gpt.ops.cuda.launch import SCALARS

EMULATOR = Path(__file__).with_suffix(".h")
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++17", "-O1", "-w", "-shared", "-fPIC", "-ffp-contract=off", "-fno-extern-tls-init",
         "-U_FORTIFY_SOURCE")
GUARD = 64  # bytes before and behind each array that nobody may touch
NAN = 0xFF  # they are filled with; a NaN in every floating type

launches = 0
_orders = itertools.cycle(range(5))  # forward, backward, three times shuffled


class _Launch(ctypes.Structure):  # as in cuda_on_cpu.h
    _fields_ = (("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_longlong),
                ("order", ctypes.c_longlong), ("capability", ctypes.c_longlong), ("count", ctypes.c_longlong),
                ("types", ctypes.POINTER(ctypes.c_char_p)), ("values", ctypes.POINTER(ctypes.c_uint64)))


@contextlib.contextmanager
def in_order(order):
    """In this block every launch runs its threads forward (0), backward (1) or shuffled with that seed (2 …)."""
    global _orders
    before, _orders = _orders, itertools.repeat(order)
    try:
        yield
    finally:
        _orders = before


@functools.cache
def _folder():
    """Of the compiled kernels; it goes with the process. With the headers, cuda_on_cpu.h compiled beforehand."""
    if COMPILER is None:
        raise BackendError("backend 'emulated': g++ is not installed; it compiles the CUDA kernels for the CPU")
    folder = tempfile.TemporaryDirectory(prefix="cuda_on_cpu_", ignore_cleanup_errors=True)
    for header in (EMULATOR, EMULATOR.with_name("tensor_cores_on_cpu.h")):
        shutil.copy(header, folder.name)
    for header in ("cuda_fp16.h", "cuda_bf16.h"):  # what a kernel includes is in cuda_on_cpu.h
        Path(folder.name, header).touch()
    _compile(Path(folder.name, EMULATOR.name), ".h.gch", "-x", "c++-header")
    return folder


def _compile(source, suffix, *flags):
    made = source.with_suffix(suffix)
    command = [COMPILER, *FLAGS, *flags, f"-I{source.parent}", source, "-o", made]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"g++:\n{done.stderr[:4000]}"
    return made


_TEMPLATE = re.compile(r"^(template <.*>)\n__global__ void\s+(?:__launch_bounds__\(.*\)\s+)?(\w+)", re.MULTILINE)


def _siblings(text, kernel):
    """The kernels to compile along with this one: of one type, for every type; else those with the same parameters."""
    name, _, parameters = kernel.partition("<")
    template = {found: template for template, found in _TEMPLATE.findall(text)}
    others = [other for other in template if template[other] == template.get(name)]
    if template.get(name) == "template <typename T>":
        return [f"{other}<{scalar}>" for other in others for scalar in SCALARS.values()]
    return [f"{other}<{parameters}" for other in others] or [kernel]


@functools.cache
def _library(text, kernels, capability):
    """The compiled kernels as a dict of functions."""
    wrappers = [f'extern "C" const char* run_{i}(const cuda_on_cpu::Launch* launch) '
                f"{{ return cuda_on_cpu::run(&{kernel}, *launch); }}" for i, kernel in enumerate(kernels)]
    code = "\n".join([f'#include "{EMULATOR.name}"', f"#define __CUDA_ARCH__ {capability}0", text, *wrappers])
    source = Path(_folder().name, hashlib.sha256(code.encode()).hexdigest()[:16] + ".cpp")
    source.write_text(code, encoding="utf-8")
    library = ctypes.CDLL(str(_compile(source, ".so")))
    functions = {kernel: library[f"run_{i}"] for i, kernel in enumerate(kernels)}
    for function in functions.values():
        function.restype = ctypes.c_char_p
    return functions


class _Guarded:
    """Copies of the arrays of a launch, each with a zone before and behind it; views of one array share its copy."""

    def __init__(self, arrays):
        self.copies = {}  # id of an owner of memory -> (owner, bytes with zones)
        for array in arrays:
            owner = self._owner(array)
            if id(owner) not in self.copies:
                zoned = np.full(GUARD + owner.nbytes + GUARD, NAN, np.uint8)
                zoned[GUARD:GUARD + owner.nbytes] = self._bytes(owner)
                self.copies[id(owner)] = owner, zoned

    @staticmethod
    def _owner(array):
        """The array that has the memory, or the view itself where that one is not C-ordered."""
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        return owner if owner.flags.c_contiguous else array

    @staticmethod
    def _bytes(owner):
        return owner.reshape(-1).view(np.uint8)

    def address(self, array):
        owner, zoned = self.copies[id(self._owner(array))]
        return zoned.ctypes.data + GUARD + array.ctypes.data - owner.ctypes.data

    def copy_back(self, kernel):
        for owner, zoned in self.copies.values():
            inside, own = zoned[GUARD:GUARD + owner.nbytes], self._bytes(owner)
            zones = np.concatenate([zoned[:GUARD], zoned[GUARD + owner.nbytes:]])
            assert (zones == NAN).all(), f"{kernel}: written outside an array of {owner.shape} {owner.dtype}"
            if owner.flags.writeable:
                own[:] = inside
            else:
                assert np.array_equal(inside, own), f"{kernel}: written to a read-only array"


def _argument(kernel, value, guarded):
    """Type and bits of an argument, as cuda_on_cpu.h wants them."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}*", guarded.address(value)
    if value is None:
        return "None", 0
    assert isinstance(value, int | float), f"{kernel}: {type(value).__name__} as an argument"
    if isinstance(value, float):
        return "double", int(np.float64(value).view(np.uint64))
    return "long long", int(value) % 2**64


def launch(source, kernel, grid, block, args, shared=0):
    """`Backend.launch` on the CPU; arrays are those of the backend "emulated"."""
    global launches
    launches += 1
    text, card = kernel_text(source), card_of(fake_cublas.capability)
    branch = 75 if "TensorCores" in kernel and card.capability < 80 else 80  # of the text, which has no other ones
    function = _library(text, tuple(_siblings(text, kernel)), branch)[kernel]
    grid, block = ((*size, 1, 1)[:3] for size in (grid, block))
    assert all(0 < n < limit for n, limit in zip(grid, (2**31, 2**16, 2**16), strict=True)), f"{kernel}: grid {grid}"
    assert 0 < np.prod(block) <= 1024, f"{kernel}: block {block}"
    assert 0 <= shared <= card.shared_memory, f"{kernel}: {shared} bytes of shared memory on sm_{card.capability}"
    args = [[getattr(a, "memory", a) for a in arg] if isinstance(arg, list) else getattr(arg, "memory", arg)
            for arg in args]
    arrays = [a for arg in args for a in (arg if isinstance(arg, list) else [arg]) if isinstance(a, np.ndarray)]
    numbers = {arg for arg in args if isinstance(arg, int)}
    for array in arrays:
        steps = {stride // array.itemsize for stride in array.strides[:-1]}
        assert array.flags.c_contiguous or (array.strides[-1] == array.itemsize and steps <= numbers), (
            f"{kernel}: an array is not C-ordered")
    guarded = _Guarded(arrays)
    tables = [np.array([guarded.address(a) for a in arg], np.uint64) if isinstance(arg, list) else None for arg in args]
    types, values = zip(*(_argument(kernel, arg, guarded) if table is None else
                          (f"{arg[0].dtype.name}**", table.ctypes.data)
                          for arg, table in zip(args, tables, strict=True)), strict=True)
    failure = function(ctypes.byref(_Launch(
        grid, block, shared, next(_orders), card.capability, len(args),
        (ctypes.c_char_p * len(args))(*(t.encode() for t in types)), (ctypes.c_uint64 * len(args))(*values))))
    assert not failure, f"{kernel}: {failure.decode()}"
    guarded.copy_back(kernel)


def _strict_copy():
    """The module of the strict arrays once more: its arrays are of a type of their own, by which backends are found."""
    spec = importlib.util.spec_from_file_location("emulated", strict.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    register_backend("strict", strict.load)
    return module


arrays = _strict_copy()
register_backend("emulated", lambda: dataclasses.replace(
    arrays.load(), name="emulated", launch=launch, index_add=ordered_index_add(arrays.xp, launch)))
