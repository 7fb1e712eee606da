"""The parts of `workflows.train`: what learns, how, what is told of it, and what is kept."""

import logging

# Accelerate and some optimizers import it. On processors it then complains of a kernel for 4-bit matrices,
# which nothing here uses.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
