"""The book author's experiments on finetuning."""
