"""When steps of this family's denoisers may be left out (specs: CogVideoX 8)."""

from torch import Tensor, nn

from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.families.cogvideox.config import TRANSFORMERS, TransformerConfig

_2B = (-31.0658903, 25.4732368, -5.92380459, 1.75769064, -3.61568434e-3)
_5B = (-1538.80483, 843.202495, -134.363087, 7.97131516, -0.0523162339)
_POLYNOMIALS = {
    "2b": _2B,
    "5b": _5B,
    "5b-i2v": _5B,
    "1.5-5b": (250.210439, -165.061612, 35.7804877, -0.781551492, 0.0358559703),
    "1.5-5b-i2v": (122.842302, -104.088754, 26.2981677, -0.306009921, 0.0371213220),
    "fun-2b-inp": _2B,
    "fun-5b-inp": _5B,
    "fun-5b-control": _5B,
}
"""As released with TeaCache (arXiv 2411.19108); Fun models have those of the models they were made from."""
_THRESHOLD = 0.2
"""At which its authors measured 1.8 times the speed without much degradation, with 1.5-5B."""


def step_cache_facts(config: TransformerConfig) -> StepCacheFacts:
    """Of the released model with these sizes, however large its clips are; others have no polynomial."""
    names = (name for name, released in TRANSFORMERS.items() if _is_same(config, released))
    return StepCacheFacts(
        signal=_time_embedding,
        polynomial=_POLYNOMIALS.get(next(names, "")),
        polynomial_threshold=_THRESHOLD,
    )


def _is_same(config: TransformerConfig, released: TransformerConfig) -> bool:
    """Whether the networks have the same layers, whatever size of clips and prompts they are used for."""
    names = ("num_layers", "num_attention_heads", "in_channels", "patch_size_t", "ofs_embed_dim")
    return all(getattr(config, name) == getattr(released, name) for name in names)


def _time_embedding(
    network: nn.Module, video_BLD: Tensor, text_BLD: Tensor, time_BD: Tensor, *_: object
) -> Tensor:
    return time_BD
