"""Clips drawn by rule, with captions and all that is known of them: for tests, benchmarks, tiny models."""
