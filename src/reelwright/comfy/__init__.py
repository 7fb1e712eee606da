"""Nodes for ComfyUI, drawn from the configuration of each family.

ComfyUI's own modules are imported only when a node is at work, and torch too.
"""

from reelwright.comfy.nodes import all_nodes

NODE_CLASS_MAPPINGS = {node.id: node.as_class() for node in all_nodes()}
NODE_DISPLAY_NAME_MAPPINGS = {node.id: node.title for node in all_nodes()}
