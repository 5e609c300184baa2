"""Sampling and decoding: from logits to text."""
