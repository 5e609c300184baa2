"""Figures that judge a model, and pictures of them."""
