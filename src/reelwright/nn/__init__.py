"""Blocks that networks of several families are built from."""
