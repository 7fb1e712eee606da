"""All that the program knows of CogVideoX."""

from reelwright.families.cogvideox.autoencoder_training import AUTOENCODER_TRAINING
from reelwright.families.cogvideox.caching import CACHING
from reelwright.families.cogvideox.checkpoints import locate
from reelwright.families.cogvideox.encoder_training import ENCODER_TRAINING
from reelwright.families.cogvideox.estimates import ESTIMATING
from reelwright.families.cogvideox.generate import CogVideoXSession
from reelwright.families.cogvideox.lora_layouts import released_targets
from reelwright.families.cogvideox.requests import resolve
from reelwright.families.cogvideox.stored_parts import PARTS
from reelwright.families.cogvideox.training import TRAINING
from reelwright.protocols.family import Family, named_files

FAMILY = Family(
    name="cogvideox",
    locate=locate,
    resolve=resolve,
    start=CogVideoXSession,
    parts=PARTS,
    adapter_targets=released_targets,
    caching=CACHING,
    training=TRAINING,
    encoder_training=ENCODER_TRAINING,
    autoencoder_training=AUTOENCODER_TRAINING,
    estimating=ESTIMATING,
    inputs=lambda config: named_files(config, ("image", "end_image", "video", "control_video")),
)
