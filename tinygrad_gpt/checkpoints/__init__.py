"""Files with weights: the package's own format, and GPT-2 as others publish it."""
