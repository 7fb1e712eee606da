"""The clips of a run: which ones, and where their files go."""
