"""Libraries that transformers brings along say nothing, and are not there before they are needed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import reelwright

ENCODER = Path(reelwright.__file__).parent / "assets" / "cogvideox-tiny" / "text_encoder"
PROGRAM = """
import logging, sys
from pathlib import Path
import torch
from reelwright.encoders.t5 import T5Text
folder = Path(sys.argv[1])
text = T5Text(folder, folder)
text.encoder.check()
assert "transformers.modeling_utils" not in sys.modules
text.encoder.loaded(torch.device("cpu"), torch.float32)
assert "torchao" in sys.modules
assert logging.getLogger("torchao").level == logging.NOTSET
logging.getLogger("another").warning("heard")
"""


@pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
def test_the_first_encoder_of_a_process_is_built_without_a_word_of_torchao():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(ENCODER)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "heard\n")


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_a_family_comes_without_networks_of_transformers_and_without_torchs_compiler(family: str):
    heavy = ("transformers.modeling_utils", "torch._dynamo", "sympy", "scipy", "torchao")
    program = (
        f"import sys, reelwright.families.{family}.family; print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
