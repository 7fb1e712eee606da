"""Workflows started by name, so that front ends need not import what they run."""
