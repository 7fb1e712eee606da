"""The expert transformer (arXiv 2408.06072): text and video tokens in one sequence, modulated apart.

Parameter names are ours; key_maps.py translates the released files.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reelwright.families.cogvideox.conditions import Conditions
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.nn.embeddings import ScalarEmbedding
from reelwright.nn.feed_forward import FeedForward
from reelwright.nn.patches import unpatchify
from reelwright.nn.rope import prepend_unturned, rotate


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

    def forward(self, latents_BCTHW: Tensor, timestep_B: Tensor, conditions: Conditions) -> Tensor:
        if conditions.image_BCTHW is not None:
            latents_BCTHW = torch.cat([latents_BCTHW, conditions.image_BCTHW], dim=1)
        time_BD = self.time_embedding(timestep_B)
        if conditions.ofs_B is not None:
            time_BD = time_BD + self.ofs_embedding(conditions.ofs_B)
        text_BLD, video_BLD = self.patch_embedding(
            latents_BCTHW, conditions.text_BLD, conditions.positions_LD
        )
        rotary_LK = conditions.rotary_LK
        if rotary_LK is not None:
            rotary_LK = prepend_unturned(rotary_LK, text_BLD.shape[1])
        video_BLD = self.trunk(text_BLD, video_BLD, time_BD, rotary_LK)
        video_BLD = self.output_norm(self.norm(video_BLD), time_BD)
        frames, height, width = latents_BCTHW.shape[2:]
        size, size_t = self.config.patch_size, self.config.patch_size_t or 1
        grid = (frames // size_t, height // size, width // size)
        return unpatchify(self.output_projection(video_BLD), grid, (size_t, size, size))

    def trunk(self, text_BLD: Tensor, video_BLD: Tensor, time_BD: Tensor, rotary_LK: Tensor | None) -> Tensor:
        for block in self.blocks:
            text_BLD, video_BLD = block(text_BLD, video_BLD, time_BD, rotary_LK)
        return video_BLD


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
        self, text_BLD: Tensor, video_BLD: Tensor, time_BD: Tensor, rotary_LK: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        num_text = text_BLD.shape[1]
        joint, text_gate, gate = self.norm1(text_BLD, video_BLD, time_BD)
        attended = self.attention(joint, rotary_LK)
        text_BLD = torch.addcmul(text_BLD, text_gate, attended[:, :num_text])
        video_BLD = torch.addcmul(video_BLD, gate, attended[:, num_text:])

        joint, text_gate, gate = self.norm2(text_BLD, video_BLD, time_BD)
        transformed = self.feed_forward(joint)
        text_BLD = torch.addcmul(text_BLD, text_gate, transformed[:, :num_text])
        return text_BLD, torch.addcmul(video_BLD, gate, transformed[:, num_text:])


class ExpertNorm(nn.Module):
    """Expert adaptive LayerNorm: one normalization for both streams, a shift, scale and gate for each."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.modulation = nn.Linear(config.time_embed_dim, 6 * config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, text_BLD: Tensor, video_BLD: Tensor, time_BD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the modulated joint sequence [text, video] and the gates of text and video, [B, 1, D]."""
        modulation = self.modulation(F.silu(time_BD))[:, None]
        shift, scale, gate, text_shift, text_scale, text_gate = modulation.chunk(6, dim=-1)
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
        self.output = nn.Linear(width, width)

    def forward(self, joint_BLD: Tensor, rotary_LK: Tensor | None) -> Tensor:
        query = self.query_norm(self._split_heads(self.query(joint_BLD)))
        key = self.key_norm(self._split_heads(self.key(joint_BLD)))
        value = self._split_heads(self.value(joint_BLD))
        if rotary_LK is not None:
            query, key = rotate(query, rotary_LK), rotate(key, rotary_LK)
        # No mask: the released models attend to the padding of the prompt too.
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.output(attended.transpose(1, 2).flatten(2))

    def _split_heads(self, tokens_BLD: Tensor) -> Tensor:
        return tokens_BLD.unflatten(-1, (-1, self.head_size)).transpose(1, 2)


class OutputNorm(nn.Module):
    """The last adaptive LayerNorm, of video tokens only."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.modulation = nn.Linear(config.time_embed_dim, 2 * config.width)
        self.norm = nn.LayerNorm(config.width, config.norm_eps)

    def forward(self, video_BLD: Tensor, time_BD: Tensor) -> Tensor:
        shift, scale = self.modulation(F.silu(time_BD))[:, None].chunk(2, dim=-1)
        return torch.addcmul(shift, self.norm(video_BLD), 1 + scale)
