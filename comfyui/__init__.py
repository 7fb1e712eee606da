"""Reelwright's nodes: put this folder into custom_nodes, or have `reelwright comfy install` do it."""

try:
    from reelwright.comfy import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error}. ComfyUI runs in a Python without Reelwright: install it there, with the python that starts"
        " ComfyUI: python -m pip install reelwright"
    ) from error

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
