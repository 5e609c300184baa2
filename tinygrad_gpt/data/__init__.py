"""Texts from files, splits that share nothing, and batches."""
