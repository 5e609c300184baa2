"""What reproduces the printed numbers of Raschka's book: PyTorch's random numbers, the book's splits and batches."""
