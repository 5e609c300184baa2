"""Runs: their folder, their log, and the models that they save."""
