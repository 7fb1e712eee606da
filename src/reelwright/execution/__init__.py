"""How a model runs, applied from outside."""
