"""Whether clips of synthetic scenes show what their prompts say: found in the pixels, by classical vision."""
