"""What a Tensor has so that programs written for PyTorch run: methods, creation, dtypes, devices, notebooks.

A reader of gradients can skip this folder: everything in it is made of the ops of the registry, or is on no tape.
"""
