"""A server for models: one page for people, a JSON API for programs, one thread that computes."""
