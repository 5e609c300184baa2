"""What reproduces the numbers printed in Raschka's book: PyTorch's random numbers, the book's splits and batches.

"The book" is S. Raschka, *Build a Large Language Model (From Scratch)*, Manning 2024, and its repository
github.com/rasbt/LLMs-from-scratch, with the appendices and additional experiments.
"""

__all__ = ["SPLITS"]

SPLITS = ("by-text", "book", "book-experiments", "book-imdb")  # the ways to divide labelled texts; see `splits.py`
