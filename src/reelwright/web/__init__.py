"""The studio: pages in the browser and REST, one application."""
