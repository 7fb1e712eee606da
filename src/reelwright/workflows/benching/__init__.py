"""Runs beside an exact run, and what they came to."""
