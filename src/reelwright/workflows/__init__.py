"""Use cases: each is a function `run` that yields events."""
