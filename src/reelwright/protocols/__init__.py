"""What a family fulfils and what the rest of the program may ask of it."""
