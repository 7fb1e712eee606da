"""The expert transformer (arXiv 2408.06072): text and video tokens in one sequence, modulated apart.

Parameter names are ours; key_maps.py translates the released files.
"""

from collections.abc import Sequence
from itertools import chain
from typing import overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.cogvideox.conditions import Conditions
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.nn.attention import FullAttention
from reelwright.nn.embeddings import ScalarEmbedding
from reelwright.nn.feed_forward import FeedForward
from reelwright.nn.packing import Packing, attend, over_tokens
from reelwright.nn.patches import unpatchify
from reelwright.nn.rope import prepend_unturned, rotate

_TEXT, _VIDEO = 0, 1
"""Streams, in the order of the sequence."""


class CogVideoXTransformer(nn.Module):
    """Predicts the velocity v of noisy latents."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width = config.width
        self.config = config
        self.patch_embedding = PatchEmbedding(config)
        self.time_embedding = ScalarEmbedding(width, config.time_embed_dim)
        if config.ofs_embed_dim is not None:
            self.ofs_embedding = ScalarEmbedding(config.ofs_embed_dim, config.time_embed_dim)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width, config.norm_eps)
        self.output_norm = OutputNorm(config)
        self.output_projection = nn.Linear(width, config.out_channels * config.patch_volume)

    @property
    def stacks(self) -> Sequence[nn.ModuleList]:
        return (self.blocks,)

    @property
    def modulations(self) -> Sequence[nn.Module]:
        modules = chain(self.blocks.named_modules(), self.output_norm.named_modules())
        return [module for name, module in modules if name.endswith("modulation")]

    def signal(self, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        return self._embed_time(timestep_B, conditions.ofs_B)

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
        """Of a batch [B, C, T, H, W], or of clips [1, C, T, H, W] of any size, packed into one sequence."""
        if isinstance(latents, Tensor):
            assert isinstance(conditions, Conditions)
            return self._predict(latents, timestep_B, conditions)
        assert not isinstance(conditions, Conditions)
        return self._predict_packed(latents, timestep_B, conditions)

    def _predict(self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        text_BLD, video_BLD = self._embed(latents_BCTHW, conditions)
        time_BD = self.signal(timestep_B, conditions)
        rotary_LK = conditions.rotary_LK
        if rotary_LK is not None:
            rotary_LK = prepend_unturned(rotary_LK, text_BLD.shape[1])
        video_BLD = self.trunk(video_BLD, text_BLD, time_BD, rotary_LK)
        video_BLD = self.output_norm(self.norm(video_BLD), time_BD)
        return self._unpatchify(self.output_projection(video_BLD), latents_BCTHW.shape[2:])

    def _predict_packed(
        self, clips: Sequence[Tensor], timestep_B: Tensor, conditions: Sequence[Conditions]
    ) -> list[Tensor]:
        """Texts of all clips come before all videos; positions start anew in each."""
        embedded = [self._embed(*clip) for clip in zip(clips, conditions, strict=True)]
        texts, videos = zip(*embedded, strict=True)
        packing = Packing.of(texts, videos)
        time_BD = self._embed_time(timestep_B, _join([each.ofs_B for each in conditions]))
        text_BLD, video_BLD = torch.cat(texts, 1), torch.cat(videos, 1)
        rotary_LK = _join([each.rotary_LK for each in conditions])
        if rotary_LK is not None:
            rotary_LK = prepend_unturned(rotary_LK, text_BLD.shape[1])
        video_BLD = self.trunk(video_BLD, text_BLD, time_BD, rotary_LK, packing)
        video_BLD = self.output_norm(self.norm(video_BLD), time_BD, packing)
        answers = self.output_projection(video_BLD).split(packing.streams[_VIDEO], 1)
        return [self._unpatchify(own, clip.shape[2:]) for own, clip in zip(answers, clips, strict=True)]

    def _embed(self, latents_BCTHW: Tensor, conditions: Conditions) -> tuple[Tensor, Tensor]:
        if conditions.image_BCTHW is not None:
            latents_BCTHW = torch.cat([latents_BCTHW, conditions.image_BCTHW], dim=1)
        return self.patch_embedding(latents_BCTHW, conditions.text_BLD, conditions.positions_LD)

    def _embed_time(self, timestep_B: Tensor, ofs_B: Tensor | None) -> Tensor:
        time_BD = self.time_embedding(timestep_B)
        return time_BD if ofs_B is None else time_BD + self.ofs_embedding(ofs_B)

    def trunk(
        self,
        video_BLD: Tensor,
        text_BLD: Tensor,
        time_BD: Tensor,
        rotary_LK: Tensor | None,
        packing: Packing | None = None,
    ) -> Tensor:
        for block in self.blocks:
            video_BLD, text_BLD = block(video_BLD, text_BLD, time_BD, rotary_LK, packing)
        return video_BLD

    def _unpatchify(self, patches_BLD: Tensor, latent_grid_THW: Sequence[int]) -> Tensor:
        frames, height, width = latent_grid_THW
        size, size_t = self.config.patch_size, self.config.patch_size_t or 1
        grid = (frames // size_t, height // size, width // size)
        return unpatchify(patches_BLD, grid, (size_t, size, size))


class PatchEmbedding(nn.Module):
    """Latent patches and text features as tokens of one width, with absolute positions if there are any."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        size, width = config.patch_size, config.width
        self.patch_size, self.patch_size_t = size, config.patch_size_t
        if config.patch_size_t is None:
            self.projection = nn.Conv2d(config.in_channels, width, size, stride=size, bias=config.patch_bias)
        else:
            # The released linear patcher has a bias whatever `patch_bias` says.
            self.projection = nn.Linear(config.in_channels * config.patch_volume, width)
        self.text_projection = nn.Linear(config.text_embed_dim, width)
        if config.use_learned_positional_embeddings:
            self.register_buffer("positions", torch.zeros(1, config.num_positions, width))
        self.learned = config.use_learned_positional_embeddings

    def forward(
        self, latents_BCTHW: Tensor, text_BLD: Tensor, positions_LD: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        text = self.text_projection(text_BLD)
        video = self._patchify(latents_BCTHW)
        if self.learned:
            # The table covers text too; a shorter clip uses its first frames.
            positions = self.get_buffer("positions")
            num_text = text.shape[1]
            text = text + positions[:, :num_text]
            video = video + positions[:, num_text : num_text + video.shape[1]]
        elif positions_LD is not None:
            video = video + positions_LD
        return text, video

    def _patchify(self, latents_BCTHW: Tensor) -> Tensor:
        """Tokens in the order (t, y, x); features of a temporal patch in the order (channel, dt, dy, dx)."""
        if self.patch_size_t is None:
            frames = latents_BCTHW.transpose(1, 2)
            tokens = self.projection(frames.flatten(0, 1)).flatten(2).transpose(1, 2)
            return tokens.unflatten(0, frames.shape[:2]).flatten(1, 2)
        size, size_t = self.patch_size, self.patch_size_t
        patches = latents_BCTHW.unflatten(4, (-1, size)).unflatten(3, (-1, size)).unflatten(2, (-1, size_t))
        # B C t dt y dy x dx -> B (t y x) (C dt dy dx)
        return self.projection(patches.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4).flatten(1, 3))


class Block(nn.Module):
    """Joint attention and a joint feed-forward; only the modulations know text from video."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.norm1 = ExpertNorm(config)
        self.attention = Attention(config)
        self.norm2 = ExpertNorm(config)
        self.feed_forward = FeedForward(config.width, 4 * config.width, config.width)

    def forward(
        self,
        video_BLD: Tensor,
        text_BLD: Tensor,
        time_BD: Tensor,
        rotary_LK: Tensor | None,
        packing: Packing | None = None,
    ) -> tuple[Tensor, Tensor]:
        num_text = text_BLD.shape[1]
        joint, text_gate, gate = self.norm1(text_BLD, video_BLD, time_BD, packing)
        attended = self.attention(joint, rotary_LK, packing)
        text_BLD = torch.addcmul(text_BLD, text_gate, attended[:, :num_text])
        video_BLD = torch.addcmul(video_BLD, gate, attended[:, num_text:])

        joint, text_gate, gate = self.norm2(text_BLD, video_BLD, time_BD, packing)
        transformed = self.feed_forward(joint)
        text_BLD = torch.addcmul(text_BLD, text_gate, transformed[:, :num_text])
        return torch.addcmul(video_BLD, gate, transformed[:, num_text:]), text_BLD


class ExpertNorm(nn.Module):
    """Expert adaptive LayerNorm: one normalization for both streams, a shift, scale and gate for each."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.modulation = nn.Linear(config.time_embed_dim, 6 * config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(
        self, text_BLD: Tensor, video_BLD: Tensor, time_BD: Tensor, packing: Packing | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the modulated joint sequence [text, video] and the gates of text and video.

        Gates are [B, 1, D]; of packed samples they are [1, L, D].
        """
        of_video, of_text = self.modulation(F.silu(time_BD)).chunk(2, dim=-1)
        shift, scale, gate = over_tokens(of_video, packing, _VIDEO).chunk(3, dim=-1)
        text_shift, text_scale, text_gate = over_tokens(of_text, packing, _TEXT).chunk(3, dim=-1)
        text = torch.addcmul(text_shift, self.norm(text_BLD), 1 + text_scale)
        video = torch.addcmul(shift, self.norm(video_BLD), 1 + scale)
        return torch.cat([text, video], dim=1), text_gate, gate


class Attention(nn.Module):
    """Full attention over text and video, with normalized queries and keys."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, head = config.width, config.attention_head_dim
        self.head_size = head
        self.query = nn.Linear(width, width, bias=config.attention_bias)
        self.key = nn.Linear(width, width, bias=config.attention_bias)
        self.value = nn.Linear(width, width, bias=config.attention_bias)
        self.query_norm = nn.LayerNorm(head, eps=1e-6)
        self.key_norm = nn.LayerNorm(head, eps=1e-6)
        self.attend = FullAttention(config.attention_head_dim)
        self.output = nn.Linear(width, width)

    def forward(self, joint_BLD: Tensor, rotary_LK: Tensor | None, packing: Packing | None = None) -> Tensor:
        query = self.query_norm(self._split_heads(self.query(joint_BLD)))
        key = self.key_norm(self._split_heads(self.key(joint_BLD)))
        value = self._split_heads(self.value(joint_BLD))
        if rotary_LK is not None:
            query, key = rotate(query, rotary_LK), rotate(key, rotary_LK)
        # No mask: the released models attend to the padding of the prompt too.
        attended = attend(self.attend, query, key, value, packing)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, tokens_BLD: Tensor) -> Tensor:
        return tokens_BLD.unflatten(-1, (-1, self.head_size)).transpose(1, 2)


class OutputNorm(nn.Module):
    """The last adaptive LayerNorm, of video tokens only."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.modulation = nn.Linear(config.time_embed_dim, 2 * config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, video_BLD: Tensor, time_BD: Tensor, packing: Packing | None = None) -> Tensor:
        shift, scale = over_tokens(self.modulation(F.silu(time_BD)), packing, _VIDEO).chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(video_BLD), 1 + scale)


def _join(parts: Sequence[Tensor | None]) -> Tensor | None:
    """One after the other; None where models have none."""
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None
