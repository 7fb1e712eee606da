"""All that the program knows of FramePack."""

from reelwright.families.framepack.autoencoder_training import AUTOENCODER_TRAINING
from reelwright.families.framepack.caching import CACHING
from reelwright.families.framepack.checkpoints import locate
from reelwright.families.framepack.encoder_training import ENCODER_TRAINING
from reelwright.families.framepack.estimates import ESTIMATING
from reelwright.families.framepack.generate import FramePackSession
from reelwright.families.framepack.lora_layouts import released_targets
from reelwright.families.framepack.plans import redo
from reelwright.families.framepack.requests import input_files, resolve
from reelwright.families.framepack.stored_parts import PARTS
from reelwright.families.framepack.training import TRAINING
from reelwright.protocols.family import Family

FAMILY = Family(
    name="framepack",
    locate=locate,
    resolve=resolve,
    start=FramePackSession,
    inputs=input_files,
    parts=PARTS,
    adapter_targets=released_targets,
    caching=CACHING,
    training=TRAINING,
    encoder_training=ENCODER_TRAINING,
    autoencoder_training=AUTOENCODER_TRAINING,
    estimating=ESTIMATING,
    redo=redo,
)
