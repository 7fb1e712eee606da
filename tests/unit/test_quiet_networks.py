"""Libraries that transformers brings along say nothing to those who did not ask for them."""

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
from reelwright.encoders.t5 import T5Text
folder = Path(sys.argv[1])
T5Text(folder, folder).encoder.check()
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
