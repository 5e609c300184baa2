"""Text and tokens: byte-level BPE to read (`bpe.py`) and the tokenizer of daily use (`tokenizer.py`)."""

from tinygrad_gpt.text.tokenizer import END_OF_TEXT, Tokenizer

__all__ = ["END_OF_TEXT", "Tokenizer"]
