"""Adapters that learn beside the frozen weights of a network."""
