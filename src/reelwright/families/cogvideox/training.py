"""What this family does to be trained."""

from dataclasses import replace
from typing import Literal

from reelwright.families.cogvideox.config import CogVideoXCacheLatents, CogVideoXCacheText, CogVideoXTrain
from reelwright.families.cogvideox.execution_facts import EXECUTION_FACTS
from reelwright.families.cogvideox.packing import num_tokens
from reelwright.families.cogvideox.training_model import locate_training
from reelwright.families.cogvideox.training_samples import SAMPLING
from reelwright.protocols.training import Training


def caches_of(
    config: CogVideoXTrain, latents: CogVideoXCacheLatents, texts: CogVideoXCacheText
) -> tuple[CogVideoXCacheLatents, CogVideoXCacheText]:
    """The caches that the parts of the trained model would make, where training runs."""
    device = config.execution.device
    model, dit, offline = config.model, config.init_config or config.dit, config.offline
    return (
        replace(
            latents,
            model=model,
            dit=dit,
            offline=offline,
            vae=config.vae,
            execution=replace(latents.execution, device=device),
        ),
        replace(
            texts,
            model=model,
            dit=dit,
            offline=offline,
            text_encoder=config.text_encoder,
            tokenizer=config.tokenizer,
            execution=replace(texts.execution, device=device),
        ),
    )


def at_positions(config: CogVideoXTrain, wanted: Literal["extrapolated", "interpolated"]) -> CogVideoXTrain:
    """Counted on, or spread over the grid of the model's own size (specs: CogVideoX 2.4, 6.3)."""
    return replace(config, rope_grid="integer" if wanted == "extrapolated" else "fitted")


TRAINING = Training(
    locate=locate_training,
    caches=caches_of,
    sampling=SAMPLING,
    at_positions=at_positions,
    quantized=EXECUTION_FACTS.is_quantized,
    num_tokens=num_tokens,
)
