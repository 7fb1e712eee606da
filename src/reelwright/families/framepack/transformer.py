"""The packed transformer of FramePack (arXiv 2504.12626) on HunyuanVideo's blocks (arXiv 2412.03603).

History in three sizes and the noisy frames are one sequence of video tokens, in the order 4x, 2x, 1x, noisy.
Parameter names are ours; key_maps.py translates the released files. specs: FramePack 1.3.
"""

from collections.abc import Sequence
from itertools import chain
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.framepack.conditions import Conditions, rotary_positions
from reelwright.families.framepack.config import TransformerConfig
from reelwright.nn.attention import FullAttention, Kernel
from reelwright.nn.embeddings import ScalarEmbedding
from reelwright.nn.feed_forward import FeedForward, InPieces, gelu_tanh
from reelwright.nn.packing import Packing, over_tokens
from reelwright.nn.packing import attend as attend_packed
from reelwright.nn.patches import unpatchify
from reelwright.nn.rope import append_unturned, rotate

_EPSILON = 1e-6
_SINUSOID_WIDTH = 256
_VIDEO, _TEXT = 0, 1
"""Streams, in the order of the sequence."""


def keeps_float32(our_name: str) -> bool:
    """Whether a parameter stays in single precision whatever the model runs in: the last projection does."""
    return our_name.startswith("output_projection.")


class FramePackTransformer(nn.Module):
    """Predicts the flow velocity, noise minus clean latents, of the noisy frames."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.patch_embedding = PatchEmbedding(config)
        self.image_projection = FeedForward(config.image_proj_dim, 3 * width, width, F.silu)
        self.text_refiner = TextRefiner(config)
        self.time_embedding = ScalarEmbedding(_SINUSOID_WIDTH, width)
        self.guidance_embedding = ScalarEmbedding(_SINUSOID_WIDTH, width)
        self.pooled_embedding = FeedForward(config.pooled_projection_dim, width, width, F.silu)
        self.double_blocks = nn.ModuleList(DoubleBlock(config) for _ in range(config.num_layers))
        self.single_blocks = nn.ModuleList(SingleBlock(config) for _ in range(config.num_single_layers))
        self.output_norm = OutputNorm(width)
        self.output_projection = nn.Linear(width, config.out_channels * 4)

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        return (self.double_blocks, self.single_blocks)

    @overload
    def forward(self, latents: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor: ...

    @overload
    def forward(
        self, latents: Sequence[Tensor], timestep_B: Tensor, conditions: Sequence[Conditions]
    ) -> list[Tensor]: ...

    def forward(
        self,
        latents: Tensor | Sequence[Tensor],
        timestep_B: Tensor,
        conditions: Conditions | Sequence[Conditions],
    ) -> Tensor | list[Tensor]:
        """Of a batch [B, C, T, H, W], or of samples [1, C, T, H, W] of any size, packed into one sequence.

        timestep: 0 to 1000. Height and width must be even.
        """
        if isinstance(latents, Tensor):
            assert isinstance(conditions, Conditions)
            return self._predict(latents, timestep_B, conditions)
        assert not isinstance(conditions, Conditions)
        return self._predict_packed(latents, timestep_B, conditions)

    def _predict(self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        video_BLD, text_BLD, rotary = self._embed(latents_BCTHW, timestep_B, conditions)
        signal_BD = self.signal(timestep_B, conditions)
        num_before = video_BLD.shape[1] + conditions.image_BLD.shape[1]
        lengths = [num_before + length for length in conditions.text_lengths]
        video_BLD = self.trunk(video_BLD, text_BLD, signal_BD, rotary, lengths)
        return self._project(video_BLD, signal_BD, latents_BCTHW.shape[2:])

    def _predict_packed(
        self, samples: Sequence[Tensor], timestep_B: Tensor, conditions: Sequence[Conditions]
    ) -> list[Tensor]:
        """Videos of all samples come before all texts, without padding; positions start anew in each."""
        each = list(zip(samples, timestep_B.split(1), conditions, strict=True))
        videos, texts, rotary = zip(*(self._embed(*sample) for sample in each), strict=True)
        signals = [self.signal(time_B, own) for _, time_B, own in each]
        packing = Packing.of(videos, texts)
        video_BLD = self.trunk(
            torch.cat(videos, 1),
            torch.cat(texts, 1),
            torch.cat(signals),
            torch.cat(rotary),
            packing.lengths,
            packing,
        )
        answers = zip(video_BLD.split(packing.streams[_VIDEO], 1), signals, samples, strict=True)
        return [self._project(own, signal_BD, sample.shape[2:]) for own, signal_BD, sample in answers]

    def _embed(
        self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of video and text, and the rotations of the former."""
        video_BLD = self.patch_embedding(latents_BCTHW, conditions)
        grid_HW = latents_BCTHW.shape[3] // 2, latents_BCTHW.shape[4] // 2
        rotary = rotary_positions(self.config, conditions, grid_HW, latents_BCTHW.device)
        # The image stands before the prompt, so that padding stays at the end.
        image_BLD = self.image_projection(conditions.image_BLD)
        refined_BLD = self.text_refiner(conditions.text_BLD, conditions.text_lengths, timestep_B)
        return video_BLD, torch.cat([image_BLD, refined_BLD], dim=1), rotary

    def _project(self, video_BLD: Tensor, signal_BD: Tensor, size_THW: Sequence[int]) -> Tensor:
        """The prediction, from the tokens of all frames; the noisy ones are the last."""
        frames, height, width = size_THW
        grid = (frames, height // 2, width // 2)
        noisy_BLD = self.output_norm(video_BLD[:, -frames * grid[1] * grid[2] :], signal_BD)
        patches_BLD = self.output_projection(noisy_BLD.to(self.output_projection.weight.dtype))
        return unpatchify(patches_BLD, grid, (1, 2, 2))

    @property
    def modulations(self) -> Sequence[nn.Module]:
        parts = (*self.stacks, self.output_norm)
        modules = chain.from_iterable(part.named_modules() for part in parts)
        return [module for name, module in modules if name.endswith("modulation")]

    def signal(self, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        return (
            self.time_embedding(timestep_B)
            + self.guidance_embedding(conditions.guidance_B)
            + self.pooled_embedding(conditions.pooled_BD)
        )

    def trunk(
        self,
        video_BLD: Tensor,
        text_BLD: Tensor,
        signal_BD: Tensor,
        rotary: Tensor,
        lengths: Sequence[int],
        packing: Packing | None = None,
    ) -> Tensor:
        """Return all video tokens. lengths: of [video, text] in each sample, without the padding behind."""
        for block in self.double_blocks:
            video_BLD, text_BLD = block(video_BLD, text_BLD, signal_BD, rotary, lengths, packing)
        num_video, num_text = video_BLD.shape[1], text_BLD.shape[1]
        joint_BLD = torch.cat([video_BLD, text_BLD], dim=1)
        rotary = append_unturned(rotary, num_text)
        for block in self.single_blocks:
            joint_BLD = block(joint_BLD, signal_BD, rotary, lengths, packing)
        return joint_BLD[:, :num_video]


class PatchEmbedding(nn.Module):
    """Noisy and clean latents as video tokens in the order 4x, 2x, 1x, noisy."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.noisy = _patch_convolution(config, 1)
        self.clean_1x = _patch_convolution(config, 1)
        self.clean_2x = _patch_convolution(config, 2)
        self.clean_4x = _patch_convolution(config, 4)

    def forward(self, latents_BCTHW: Tensor, conditions: Conditions) -> Tensor:
        height, width = latents_BCTHW.shape[3:]
        if height % 2 or width % 2:
            raise ValueError(f"latents of {height} x {width}: both must be even")
        convolutions = {1: self.clean_1x, 2: self.clean_2x, 4: self.clean_4x}
        tokens = [
            _convolve(convolutions[reduced], clean.latents_BCTHW) for reduced, clean in conditions.history
        ]
        return torch.cat([*tokens, _convolve(self.noisy, latents_BCTHW)], dim=1)


def _patch_convolution(config: TransformerConfig, reduced: int) -> nn.Conv3d:
    patch = (reduced, 2 * reduced, 2 * reduced)
    return nn.Conv3d(config.in_channels, config.width, patch, stride=patch)


def _convolve(convolution: nn.Conv3d, latents_BCTHW: Tensor) -> Tensor:
    """Tokens in the order (t, y, x). The last values are repeated to fill the last patches."""
    sizes = zip(reversed(latents_BCTHW.shape[2:]), reversed(convolution.kernel_size), strict=True)
    padding = [side for size, patch in sizes for side in (0, -size % patch)]
    padded = F.pad(latents_BCTHW, padding, mode="replicate") if any(padding) else latents_BCTHW
    return convolution(padded).flatten(2).transpose(1, 2)


class TextRefiner(nn.Module):
    """Lets the tokens of a prompt see each other, modulated by the timestep and by their mean."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.time_embedding = ScalarEmbedding(_SINUSOID_WIDTH, width)
        self.mean_embedding = FeedForward(config.text_embed_dim, width, width, F.silu)
        self.projection = nn.Linear(config.text_embed_dim, width)
        self.blocks = nn.ModuleList(RefinerBlock(config) for _ in range(config.num_refiner_layers))

    def forward(self, text_BLD: Tensor, lengths: Sequence[int], timestep_B: Tensor) -> Tensor:
        """Return tokens up to the longest prompt; those behind a shorter one are of no use.

        The released code runs over the padding too and opens the first column of the mask, for rows that
        would otherwise see nothing. All such rows are padding, whose results nobody reads.
        """
        text_BLD = text_BLD[:, : max(lengths)]
        exact = torch.promote_types(text_BLD.dtype, torch.float32)
        means = [text[:length].mean(0, dtype=exact) for text, length in zip(text_BLD, lengths, strict=True)]
        mean_BD = self.mean_embedding(torch.stack(means).to(text_BLD.dtype))
        signal_BD = self.time_embedding(timestep_B) + mean_BD
        tokens_BLD = self.projection(text_BLD)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD, signal_BD, lengths)
        return tokens_BLD


class RefinerBlock(nn.Module):
    """Attention and feed-forward whose results, not inputs, are modulated."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.norm1 = nn.LayerNorm(width, _EPSILON)
        self.heads = Heads(config, normalized=False)
        self.attend = FullAttention(config.attention_head_dim)
        self.output = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, _EPSILON)
        self.feed_forward = FeedForward(width, config.inner_width, width, F.silu)
        self.modulation = nn.Linear(width, 2 * width)

    def forward(self, tokens_BLD: Tensor, signal_BD: Tensor, lengths: Sequence[int]) -> Tensor:
        gate, inner_gate = self.modulation(F.silu(signal_BD))[:, None].chunk(2, dim=-1)
        attended = attend(self.attend, self.heads(self.norm1(tokens_BLD)), lengths)
        tokens_BLD = torch.addcmul(tokens_BLD, self.output(attended), gate)
        return torch.addcmul(tokens_BLD, self.feed_forward(self.norm2(tokens_BLD)), inner_gate)


class DoubleBlock(nn.Module):
    """Video and text, each with weights of its own, see each other in one attention."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.video = Stream(config)
        self.text = Stream(config)
        self.attend = FullAttention(config.attention_head_dim)

    def forward(
        self,
        video_BLD: Tensor,
        text_BLD: Tensor,
        signal_BD: Tensor,
        rotary: Tensor,
        lengths: Sequence[int],
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor]:
        signal_BD = F.silu(signal_BD)
        video_modulation = over_tokens(self.video.modulation(signal_BD), packing, _VIDEO).chunk(6, dim=-1)
        text_modulation = over_tokens(self.text.modulation(signal_BD), packing, _TEXT).chunk(6, dim=-1)
        video_heads = self.video.begin(video_BLD, video_modulation, rotary)
        text_heads = self.text.begin(text_BLD, text_modulation)
        query, key, value = (torch.cat(pair, dim=2) for pair in zip(video_heads, text_heads, strict=True))
        attended = attend(self.attend, (query, key, value), lengths, packing)
        num_video = video_BLD.shape[1]
        video_BLD = self.video.finish(video_BLD, attended[:, :num_video], video_modulation)
        return video_BLD, self.text.finish(text_BLD, attended[:, num_video:], text_modulation)


class Stream(nn.Module):
    """All of a double block that one of its two streams has for itself.

    The six parts of a modulation are shift, scale and gate of the attention, then of the feed-forward.
    """

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.modulation = nn.Linear(width, 6 * width)
        self.heads = Heads(config)
        self.output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, config.inner_width, width)

    def begin(
        self, tokens_BLD: Tensor, modulation: Sequence[Tensor], rotary: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        return self.heads(modulate(tokens_BLD, *modulation[:2]), rotary)

    def finish(self, tokens_BLD: Tensor, attended_BLD: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        gate, shift, scale, inner_gate = modulation[2:]
        tokens_BLD = torch.addcmul(tokens_BLD, self.output(attended_BLD), gate)
        transformed = self.feed_forward(modulate(tokens_BLD, shift, scale))
        return torch.addcmul(tokens_BLD, transformed, inner_gate)


class SingleBlock(InPieces):
    """Attention and feed-forward side by side, over the joint sequence of video and text."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, inner = config.width, config.inner_width
        self.modulation = nn.Linear(width, 3 * width)
        self.heads = Heads(config)
        self.attend = FullAttention(config.attention_head_dim)
        self.expand = nn.Linear(width, inner)
        self.output = nn.Linear(width + inner, width)

    def forward(
        self,
        joint_BLD: Tensor,
        signal_BD: Tensor,
        rotary: Tensor,
        lengths: Sequence[int],
        packing: Packing | None = None,
    ) -> Tensor:
        modulation_BD = self.modulation(F.silu(signal_BD))
        shift, scale, gate = over_tokens(modulation_BD, packing, _VIDEO, _TEXT).chunk(3, dim=-1)
        tokens_BLD = modulate(joint_BLD, shift, scale)
        attended_BLD = attend(self.attend, self.heads(tokens_BLD, rotary), lengths, packing)
        results_BLD = self.in_pieces(self._transform, tokens_BLD, attended_BLD)
        return torch.addcmul(joint_BLD, results_BLD, gate)

    def _transform(self, tokens_BLD: Tensor, attended_BLD: Tensor) -> Tensor:
        return self.output(torch.cat([attended_BLD, gelu_tanh(self.expand(tokens_BLD))], dim=-1))


class Heads(nn.Module):
    """Queries, keys and values, head by head."""

    def __init__(self, config: TransformerConfig, *, normalized: bool = True) -> None:
        super().__init__()
        width, self.head_size = config.width, config.attention_head_dim
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.normalized = normalized
        if normalized:
            self.query_norm = RMSNorm(self.head_size)
            self.key_norm = RMSNorm(self.head_size)

    def forward(self, tokens_BLD: Tensor, rotary: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B, N, L, K]; queries and keys are turned by `rotary` if there is one."""
        # In memory too head by head: attention on CPUs loses a twentieth on rows that lie apart.
        query, key, value = (
            projection(tokens_BLD).unflatten(-1, (-1, self.head_size)).transpose(1, 2).contiguous()
            for projection in (self.query, self.key, self.value)
        )
        if self.normalized:
            query, key = self.query_norm(query), self.key_norm(key)
        if rotary is not None:
            query, key = rotate(query, rotary), rotate(key, rotary)
        return query, key, value


class RMSNorm(nn.Module):
    """Divides by the root mean square, taken in float32, and rounds before it scales."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        exact = torch.promote_types(values.dtype, torch.float32)
        length = torch.linalg.vector_norm(values, dim=-1, keepdim=True, dtype=exact)
        rate = torch.rsqrt(length.square() / values.shape[-1] + _EPSILON)
        return (values * rate).to(values.dtype) * self.weight


class OutputNorm(nn.Module):
    """The last adaptive LayerNorm; here the scale comes before the shift."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.modulation = nn.Linear(width, 2 * width)

    def forward(self, tokens_BLD: Tensor, signal_BD: Tensor) -> Tensor:
        scale, shift = self.modulation(F.silu(signal_BD))[:, None].chunk(2, dim=-1)
        return modulate(tokens_BLD, shift, scale)


def modulate(tokens_BLD: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Adaptive LayerNorm; shift and scale are [B, 1, D], or of each token."""
    normalized = F.layer_norm(tokens_BLD, tokens_BLD.shape[-1:], eps=_EPSILON)
    return torch.addcmul(shift, normalized, 1 + scale)


def attend(
    kernel: Kernel,
    heads: tuple[Tensor, Tensor, Tensor],
    lengths: Sequence[int],
    packing: Packing | None = None,
) -> Tensor:
    """Full attention of each sample over its first `lengths` tokens; rows behind them are zero.

    heads: query, key and value, each [B, N, L, K]. Samples of different lengths run one after the other,
    which needs no mask. Returns [B, L, D].
    """
    if packing is not None:
        return attend_packed(kernel, *heads, packing).transpose(1, 2).flatten(2)
    num_tokens = heads[0].shape[2]
    if all(length == num_tokens for length in lengths):
        return kernel(*heads).transpose(1, 2).flatten(2)
    samples: list[Tensor] = []
    for index, length in enumerate(lengths):
        query, key, value = (tensor[index : index + 1, :, :length] for tensor in heads)
        attended = kernel(query, key, value).transpose(1, 2).flatten(2)
        samples.append(F.pad(attended, (0, 0, 0, num_tokens - length)))
    return torch.cat(samples)
