"""Texts from files, splits that share nothing, and batches."""

from tinygrad_gpt.data.loader import DataLoader, Dataset, default_collate

__all__ = ["DataLoader", "Dataset", "default_collate"]
