"""Small files that change a large model: read in any layout, applied at load, written in any layout."""
