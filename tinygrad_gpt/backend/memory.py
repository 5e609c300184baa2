"""Errors that mean that memory ran out, whichever array package raised them."""

import re

__all__ = ["out_of_memory"]


def out_of_memory(error: BaseException) -> str | None:
    """What an error says about memory that ran out, on the host or on a device; None if it is about something else."""
    said = str(error)
    sizes = re.match(r"Out of memory allocating ([\d,]+) bytes \(allocated so far: ([\d,]+) bytes", said)
    if sizes:  # CuPy's pool
        asked, taken = (int(size.replace(",", "")) / 1e9 for size in sizes.groups())
        return f"{asked:.2f} GB were asked for on the GPU, where arrays take {taken:.2f} GB already"
    if isinstance(error, MemoryError):
        return said or "an allocation failed"
    if re.search("cudaErrorMemoryAllocation|CUDA_ERROR_OUT_OF_MEMORY|CUBLAS_STATUS_ALLOC_FAILED", said):
        return f"the GPU has no more ({said})"
    return None
