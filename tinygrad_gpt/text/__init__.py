"""Text and tokens: byte-level BPE to read (`bpe.py`) and the tokenizer of daily use (`tokenizer.py`)."""

from tinygrad_gpt.text.tokenizer import Tokenizer

__all__ = ["Tokenizer"]
