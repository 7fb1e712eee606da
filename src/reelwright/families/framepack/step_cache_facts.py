"""When steps of this family's denoisers may be left out (specs: FramePack 1.4 and 8.6)."""

from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.execution.step_cache.facts import StepCacheFacts
from reelwright.families.framepack.config import TransformerConfig
from reelwright.families.framepack.transformer import DoubleBlock, modulate

_POLYNOMIAL = (733.226126, -401.131952, 67.5869174, -3.149878, 0.0961237896)
_THRESHOLD = 0.15
RATIOS = (
    *(1.0, 1.06971, 1.29073, 1.11245, 1.09596, 1.05233, 1.01415, 1.05672, 1.00848, 1.03632),
    *(1.02974, 1.00984, 1.03028, 1.00681, 1.06614, 1.05022, 1.02592, 1.01776, 1.02985, 1.00726),
    *(1.03727, 1.01502, 1.00992, 1.03371, 0.9976, 1.02742, 1.0093, 1.01869, 1.00815, 1.01461),
    *(1.01152, 1.03082, 1.0061, 1.02162, 1.01999, 0.99063, 1.01186, 1.0217, 0.99947, 1.01711),
    *(0.9904, 1.00258, 1.00878, 0.97039, 0.97686, 0.94315, 0.97728, 0.91154, 0.86139, 0.76592),
)
"""Of HunyuanVideo in 50 steps, as released with MagCache (arXiv 2506.09045)."""


def step_cache_facts(config: TransformerConfig) -> StepCacheFacts:
    """The polynomial is of models of the released size; the ratios are used for all, for want of better."""
    is_released = config == TransformerConfig()
    return StepCacheFacts(
        signal=_modulated_input,
        polynomial=_POLYNOMIAL if is_released else None,
        polynomial_threshold=_THRESHOLD,
        ratios=RATIOS,
        ratios_are_own=is_released,
    )


def _modulated_input(
    network: nn.Module, video_BLD: Tensor, text_BLD: Tensor, signal_BD: Tensor, *_: object
) -> Tensor:
    """What the attention of the first block is given of the video."""
    first = network.get_submodule("double_blocks.0")
    assert isinstance(first, DoubleBlock)
    shift, scale = first.video.modulation(F.silu(signal_BD))[:, None].chunk(6, dim=-1)[:2]
    return modulate(video_BLD, shift, scale)
