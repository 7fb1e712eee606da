"""All that the program knows of CogVideoX."""

from reelwright.families.cogvideox.checkpoints import locate
from reelwright.families.cogvideox.generate import generate, open_latents
from reelwright.families.cogvideox.requests import resolve
from reelwright.protocols.family import Family

FAMILY = Family(
    name="cogvideox",
    locate=locate,
    resolve=resolve,
    generate=generate,
    open_latents=open_latents,
    input_fields=("image", "end_image", "video", "control_video"),
)
