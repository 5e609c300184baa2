"""Disks that do not keep what they are given."""

import os

from tinygrad_gpt import files


def flip_what_is_written(monkeypatch):
    """Change one bit of everything that goes to the disk."""
    write = os.write

    def flipping(file, data):
        image = bytearray(data)
        image[len(image) // 2] ^= 1
        return write(file, image)

    monkeypatch.setattr(files.system, "write", flipping)
