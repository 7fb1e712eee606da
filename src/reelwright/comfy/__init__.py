"""Nodes of ComfyUI, drawn from the same configuration as the command line."""
