"""Clips to files of latents, in memory that does not grow with their length."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import prod

import numpy as np
import torch
from torch import Tensor

from reelwright.core.errors import ConfigError, NumericsError
from reelwright.data.clip_batches import chunk_pixels, clip_generator, stack_chunks
from reelwright.data.clips import read_clip
from reelwright.data.control_clips import control_of, has_own_kind_of_control, kind_of_control
from reelwright.data.local_media import local_media
from reelwright.execution.devices import choose_device
from reelwright.families.cogvideox.cache_layout import (
    FIRST_FRAME_PIXELS,
    LatentFileName,
    TensorKind,
    clip_metadata,
    stored,
    tensor_key,
)
from reelwright.families.cogvideox.cache_parts import LatentParts, find_latent_parts, load_latent_space
from reelwright.families.cogvideox.checkpoints import is_image_model
from reelwright.families.cogvideox.config import CogVideoXCacheLatents, FirstFrame, TransformerConfig
from reelwright.families.cogvideox.latent_space import CHUNK_IS_FIXED
from reelwright.media.geometry import FrameRule, Size
from reelwright.media.image_ops import fit_image, open_image
from reelwright.nn.posterior import Posterior
from reelwright.protocols.caching import CacheEntry, CacheFile, ClipFrames
from reelwright.protocols.clips import Clip, ClipRule, Source
from reelwright.protocols.datasets import DatasetConfig

_HEADER_BYTES = 1024
"""About what names and metadata take of a file."""


def kept_first_frame(config: CogVideoXCacheLatents, transformer: TransformerConfig) -> FirstFrame:
    """What is kept of first frames: where nothing is said, all of it for models that may read images."""
    if config.first_frame != "auto":
        return config.first_frame
    return "both" if transformer.condition_channels else "none"


def locate_latents(config: CogVideoXCacheLatents) -> "CogVideoXLatentCache":
    """Find the autoencoder. Raises UserError."""
    if config.execution.vae_chunk:
        raise ConfigError(CHUNK_IS_FIXED)
    return CogVideoXLatentCache(config=config, parts=find_latent_parts(config))


@dataclass(frozen=True, kw_only=True)
class CogVideoXLatentCache:
    """How clips become files of latents: one file for each clip."""

    config: CogVideoXCacheLatents
    parts: LatentParts
    kind: str = "cogvideox-latents"

    @property
    def fingerprints(self) -> Mapping[str, str]:
        return {"vae": self.parts.fingerprint}

    @property
    def notices(self) -> Sequence[str]:
        return self.parts.notices

    @property
    def first_frame(self) -> FirstFrame:
        """What is kept of the first frame."""
        return kept_first_frame(self.config, self.parts.transformer)

    @property
    def reads_controls(self) -> bool:
        """Whether the denoiser may read a control clip."""
        transformer = self.parts.transformer
        has_room = transformer.condition_channels == transformer.out_channels
        return has_room and not is_image_model(transformer)

    def rule(self, dataset: DatasetConfig) -> ClipRule:
        """Clips of 8k+1 frames at 8 per second, of 16k+1 at 16 for 1.5; pictures (specs: CogVideoX 5.5)."""
        refused = ("multiple_target", "no_resize_control", "control_resolution")
        if not self.reads_controls:
            refused = ("control_directory", *refused)
        if named := [key for key in refused if getattr(dataset, key)]:
            trained = "clips of one size with their controls" if self.reads_controls else "clips"
            raise ConfigError(
                f"{dataset.origin}: {', '.join(named)}: this model trains on {trained} and captions alone."
                " Leave it out."
            )
        transformer = self.parts.transformer
        return ClipRule(
            fps=transformer.fps,
            frame_step=transformer.frame_step,
            size_step=self._size_step,
            default_size=self._native_size,
            trained_sizes=(self._native_size,),
            kinds=("image", "video"),
        )

    def entries(self, clip: Clip, _: DatasetConfig) -> Sequence[CacheEntry]:
        """One file. Raises ConfigError for a clip that the denoiser could not read."""
        self._check_controls(clip.source)
        self.check_clip(clip.source.media, clip.size, clip.num_frames)
        return [self.entry(LatentFileName.of(clip), has_control=self.has_control(clip.source))]

    def has_control(self, source: Source) -> bool:
        """Whether a control is encoded beside it."""
        return self.reads_controls and has_own_kind_of_control(source)

    def entry(self, name: LatentFileName, *, has_control: bool = False) -> CacheEntry:
        width, height = name.size
        channels, length, *cells = self.latent_shape(name)
        values = channels * prod(cells) * (2 if self.config.posterior == "moments" else 1)
        num_values = (length + (self.first_frame in ("both", "latents"))) * values
        if has_control:
            num_values += channels * prod((length, *cells))
        num_bytes = num_values * self.parts.stored_dtype.itemsize + _HEADER_BYTES
        if self.first_frame in ("both", "pixels"):
            num_bytes += 3 * width * height
        group = f"{width}x{height}x{name.num_frames}-{self.config.posterior}-{self.first_frame}"
        group += "-control" if has_control else ""
        return CacheEntry(name=str(name), group=group, num_bytes=num_bytes)

    def latent_shape(self, name: LatentFileName) -> tuple[int, int, int, int]:
        """[C, T, H, W] of a clip."""
        autoencoder = self.parts.autoencoder
        length = (name.num_frames - 1) // autoencoder.temporal_compression_ratio + 1
        width, height = (side // autoencoder.spatial_stride for side in name.size)
        return autoencoder.latent_channels, length, height, width

    def check_clip(self, origin: str, size: Size, num_frames: int) -> None:
        """Raise ConfigError for a size or length that the denoiser has no place for."""
        transformer, step = self.parts.transformer, self._size_step
        has_table = transformer.use_learned_positional_embeddings
        longest = transformer.sample_frames if has_table else None
        problem = FrameRule(step=transformer.frame_step, maximum=longest).problem(num_frames)
        if problem:
            raise ConfigError(f"{origin}: frames: {problem}")
        shown = f"{size[0]} x {size[1]}"
        if any(side % step for side in size):
            raise ConfigError(f"{origin}: size: {shown} is no multiple of {step}. Change the resolution.")
        if has_table and size != self._native_size:
            raise ConfigError(
                f"{origin}: size: this model's table of positions is for {self._native_size[0]} x"
                f" {self._native_size[1]}, not {shown}. Leave out resolution and enable_bucket."
            )

    def facts(self, _: DatasetConfig) -> Mapping[str, object]:
        """The seed counts only where something is drawn, tiles only where they are used."""
        config, execution = self.config, self.config.execution
        return {
            "posterior": config.posterior,
            "seed": config.seed if config.posterior == "sample" else None,
            "first_frame": self.first_frame,
            "vae_chunk": config.vae_chunk,
            "tile": execution.tile_size if execution.tiling else None,
            "scale": self.parts.autoencoder.scaling_factor,
            "stored_dtype": str(self.parts.stored_dtype),
            **({"controls": "mean"} if self.reads_controls else {}),
        }

    def is_own(self, name: str) -> bool:
        return LatentFileName.parse(name) is not None

    def open(self) -> "CogVideoXLatentEncoder":
        return CogVideoXLatentEncoder(self)

    def _check_controls(self, source: Source) -> None:
        if self.reads_controls and not source.controls and self.config.first_frame == "auto":
            raise ConfigError(
                f"{source.media}: has no control clip, which this model reads. Name their folder as"
                " control_directory, or one in each line as control_path; add --first-frame both for a model"
                " that starts from an image instead."
            )
        if kind_of_control(source) == "video" and not self.reads_controls:
            raise ConfigError(
                f"{source.media}: has a control clip, {source.controls[0]}, which this model does not read."
                " Leave it out."
            )
        if (num_pictures := len(source.controls)) > 1:
            raise ConfigError(
                f"{source.media}: has {num_pictures} pictures. Give one, which it starts from, or none."
            )

    @property
    def _native_size(self) -> Size:
        height, width = self.parts.transformer.native_size(self.parts.autoencoder.spatial_stride)
        return width, height

    @property
    def _size_step(self) -> int:
        return self.parts.autoencoder.spatial_stride * self.parts.transformer.patch_size


class CogVideoXLatentEncoder:
    """The autoencoder, loaded."""

    def __init__(self, cache: CogVideoXLatentCache) -> None:
        self._cache = cache
        parts, execution = cache.parts, cache.config.execution
        self._device = choose_device(execution.device)
        self.space = load_latent_space(
            parts, execution, self._device, whole_clip=cache.config.vae_chunk == "whole"
        )

    def encode(self, batch: Sequence[ClipFrames]) -> Sequence[Sequence[CacheFile]]:
        """One file for each clip; pixels are held a chunk of frames at a time."""
        lengths = self.space.chunk_lengths(batch[0].clip.num_frames)
        chunks = stack_chunks(batch, lengths)
        start = next(chunks)
        first_BFHWC = torch.stack(
            [self._first_frame(each.clip, own) for each, own in zip(batch, start, strict=True)]
        )
        clips = self._moments(chain([start], chunks))
        del start
        images: list[Tensor | None] = [None] * len(batch)
        if self._cache.first_frame in ("both", "latents"):
            images = list(self._moments([first_BFHWC]))
        controls = self._controls(batch)
        return [
            [self._file(item.clip, clips[index], images[index], first_BFHWC[index, 0], controls.get(index))]
            for index, item in enumerate(batch)
        ]

    def _first_frame(self, clip: Clip, chunk_FHWC: Tensor) -> Tensor:
        """uint8 [1, H, W, 3]: the picture that the clip is said to start from, or its first frame."""
        source = clip.source
        if not source.controls or self._cache.has_control(source) or clip.start:
            return chunk_FHWC[:1].clone()
        with local_media(source.controls[0]) as path:
            picture = fit_image(open_image(path).rgb, *clip.size)
        return torch.from_numpy(np.array(picture))[None]

    def _controls(self, batch: Sequence[ClipFrames]) -> dict[int, Tensor]:
        """Latents of the controls in a batch, by the number of their clip: the mean, as generation has it."""
        numbers = [n for n, item in enumerate(batch) if self._cache.has_control(item.clip.source)]
        if not numbers:
            return {}
        frames = [_frames_of_control(batch[number]) for number in numbers]
        chunks = stack_chunks(frames, self.space.chunk_lengths(batch[0].clip.num_frames))
        latents = Posterior(self._moments(chunks)).mean * self.space.scale
        return dict(zip(numbers, latents, strict=True))

    def _moments(self, chunks_BFHWC: Iterable[Tensor]) -> Tensor:
        """float32 [B, 2C, T, H, W] in CPU memory."""
        pixels = (chunk_pixels(chunk, self._device) for chunk in chunks_BFHWC)
        return torch.cat([moments.float().cpu() for moments in self.space.encode_stream(pixels)], dim=2)

    def _file(
        self,
        clip: Clip,
        moments: Tensor,
        image_moments: Tensor | None,
        first_HWC: Tensor,
        control: Tensor | None,
    ) -> CacheFile:
        cache = self._cache
        generator = clip_generator(cache.config.seed, clip)
        tensors = self._answer(clip, "latents", "moments", moments, generator)
        if image_moments is not None:
            tensors |= self._answer(clip, "image_latents", "image_moments", image_moments, generator)
        if cache.first_frame in ("both", "pixels"):
            tensors[FIRST_FRAME_PIXELS] = first_HWC.permute(2, 0, 1).contiguous()
        if control is not None:
            _check_finite(control, clip.source.controls[0])
            tensors |= self._kept("control_latents", control)
        name = LatentFileName.of(clip)
        return CacheFile(name=str(name), tensors=tensors, metadata=clip_metadata(name, clip.fps))

    def _answer(
        self,
        clip: Clip,
        latents_kind: TensorKind,
        moments_kind: TensorKind,
        moments: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """What is kept of a posterior, under its name. Raises NumericsError for a NaN or an infinity."""
        _check_finite(moments, clip.source.media)
        kind, values = moments_kind, moments
        if self._cache.config.posterior != "moments":
            posterior = Posterior(moments[None])
            is_drawn = self._cache.config.posterior == "sample"
            kind = latents_kind
            values = (posterior.sample(generator) if is_drawn else posterior.mean)[0] * self.space.scale
        return self._kept(kind, values)

    def _kept(self, kind: TensorKind, values: Tensor) -> dict[str, Tensor]:
        values = stored(values, self._cache.parts.stored_dtype)
        return {tensor_key(kind, values): values}


def _check_finite(latents: Tensor, media: str) -> None:
    if not torch.isfinite(latents).all():
        raise NumericsError(f"{media}: its latents hold NaN or infinity. Try --execution.dtype float32.")


def _frames_of_control(frames: ClipFrames) -> ClipFrames:
    control = control_of(frames.clip)
    return ClipFrames(clip=control, dataset=frames.dataset, chunks=partial(read_clip, control))
