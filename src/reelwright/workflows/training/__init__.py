"""The parts of `workflows.train`: what learns, how, what is told of it, and what is kept."""
