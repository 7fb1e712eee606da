"""The studio in a browser, and the nodes in ComfyUI: a package, so that its fixtures end with it."""
