"""Clips and pictures to files of latents: each clip is encoded once, whatever its sections see of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import overload

import torch
from PIL import Image
from torch import Tensor

from reelwright.data.clip_batches import chunk_pixels, clip_generator, stack_chunks
from reelwright.data.local_media import local_media
from reelwright.encoders.siglip import SiglipImage
from reelwright.execution.devices import choose_device, choose_dtype
from reelwright.families.framepack.cache_items import (
    OF_BLACK,
    PICTURES,
    dataset_keys,
    draw,
    layouts_of_clip,
    picture_item,
    picture_layout,
    section_item,
)
from reelwright.families.framepack.cache_layout import (
    STORED,
    clip_metadata,
    clip_name,
    named_tensors,
    picture_metadata,
    picture_name,
    pictures_name,
    section_name,
)
from reelwright.families.framepack.checkpoints import load_autoencoder
from reelwright.families.framepack.config import AutoencoderConfig, FramePackCacheLatents
from reelwright.families.framepack.controls import masked, read_control
from reelwright.families.framepack.latent_space import open_space
from reelwright.families.framepack.sections import (
    TEMPORAL_STRIDE,
    count_frames,
    count_sections_of_clip,
)
from reelwright.media.image_ops import to_pixels
from reelwright.nn.posterior import Posterior
from reelwright.protocols.caching import CacheFile, ClipFrames
from reelwright.protocols.clips import Clip

WHOLE_FRAMES = 145
"""Clips of at most so many frames, four sections, are encoded whole unless something else is asked for.

Longer ones are encoded in parts, one in memory at a time, and in several passes (`stream_passes`): the README
has the errors. A part's size does not grow with the clip, what norms remember of it is a few numbers.
"""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What is kept of a clip's posterior, [C, T, H, W] in the stored format, scaled."""

    values: Tensor
    """Latents; or the mean, where there is a deviation."""
    deviation: Tensor | None = None


class _MadeOnDemand(Sequence[CacheFile]):
    """Files that exist one at a time: together they are three times as large as their clip."""

    def __init__(self, make: Callable[[int], CacheFile], length: int) -> None:
        self._make = make
        self._length = length

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> CacheFile: ...
    @overload
    def __getitem__(self, index: slice) -> list[CacheFile]: ...
    def __getitem__(self, index: int | slice) -> CacheFile | list[CacheFile]:
        numbers = range(self._length)[index]
        return self._make(numbers) if isinstance(numbers, int) else [self._make(each) for each in numbers]


class FramePackLatentEncoder:
    """The autoencoder and the image encoder, loaded."""

    def __init__(
        self,
        config: FramePackCacheLatents,
        autoencoder_path: Path,
        autoencoder: AutoencoderConfig,
        siglip: SiglipImage,
    ) -> None:
        self._config = config
        self._siglip = siglip
        self._device = choose_device(config.execution.device)
        self._dtype = choose_dtype(config.execution.dtype, self._device, "float16")
        network = load_autoencoder(autoencoder_path, autoencoder, self._device, self._dtype)
        self._space = open_space(network, config.execution)

    def encode(self, batch: Sequence[ClipFrames]) -> Sequence[Sequence[CacheFile]]:
        """The files of each clip: of its sections, or of all of it; of a picture, one."""
        without_cudnn = torch.backends.cudnn.flags(enabled=False)
        with nullcontext() if self._config.cudnn else without_cudnn:
            if self._config.mode == "one_frame":
                return [[file] for file in self._pictures(batch)]
            return self._clips(batch)

    def _clips(self, batch: Sequence[ClipFrames]) -> Sequence[Sequence[CacheFile]]:
        """Of clips of one size and length."""
        window = dataset_keys(batch[0].dataset).fp_latent_window_size
        num_sections = count_sections_of_clip(batch[0].clip.num_frames, window)
        lengths = part_lengths(count_frames(num_sections, window), self._config.stream_frames)
        num_shown = 1 + num_sections if self._config.pictures else 1
        places = [TEMPORAL_STRIDE * window * k for k in range(num_shown)]
        shown: list[list[Image.Image]] = [[] for _ in batch]

        def pixels() -> Iterator[Tensor]:
            starts = accumulate([0, *lengths[:-1]])
            for start, chunk_BFHWC in zip(starts, stack_chunks(batch, lengths), strict=True):
                for place in places[len(shown[0]) :]:
                    if place < start + chunk_BFHWC.shape[1]:
                        _show(shown, chunk_BFHWC[:, place - start])
                yield chunk_pixels(chunk_BFHWC, self._device)

        kept = self._keep(self._posteriors(pixels, len(lengths)), [each.clip for each in batch])
        features = self._features([pictures[0] for pictures in shown])
        write = self._whole if self._config.form == "compact" else self._sections
        files = [
            write(each.clip, window, found, seen)
            for each, found, seen in zip(batch, kept, features, strict=True)
        ]
        if not self._config.pictures:
            return files
        clips = [each.clip for each in batch]
        beside = self._frames(clips, window, shown, features)
        return [[*own, pictures] for own, pictures in zip(files, beside, strict=True)]

    def _sections(self, clip: Clip, window: int, kept: Kept, features: Tensor) -> Sequence[CacheFile]:
        latents = kept.values
        layouts = layouts_of_clip((latents.shape[1] - 1) // window, window, self._config.mode)
        metadata = clip_metadata(clip, window, self._config.mode)

        def file(section: int) -> CacheFile:
            item = section_item(lambda place: latents[:, place], layouts[section])
            return CacheFile(
                name=section_name(clip, section),
                tensors=named_tensors({**item, "image_embeddings": features}),
                metadata=metadata,
            )

        return _MadeOnDemand(file, len(layouts))

    def _whole(self, clip: Clip, window: int, kept: Kept, features: Tensor) -> Sequence[CacheFile]:
        tensors = {"clip_latents": kept.values}
        if kept.deviation is not None:
            tensors = {"clip_mean": kept.values, "clip_deviation": kept.deviation}
        return [
            CacheFile(
                name=clip_name(clip),
                tensors=named_tensors({**tensors, "image_embeddings": features}),
                metadata=clip_metadata(clip, window),
            )
        ]

    def _frames(
        self,
        clips: Sequence[Clip],
        window: int,
        shown: Sequence[Sequence[Image.Image]],
        features: Sequence[Tensor],
    ) -> Iterator[CacheFile]:
        """Frames of each clip, each encoded for itself, as a picture is in generation."""
        (of_black,) = self._features([Image.new("RGB", shown[0][0].size)])
        for clip, own, seen in zip(clips, self._latents_of(shown, clips), features, strict=True):
            item = {
                PICTURES: torch.stack(own, dim=1).to(STORED),
                "image_embeddings": seen,
                OF_BLACK: of_black,
            }
            yield CacheFile(
                name=pictures_name(clip), tensors=named_tensors(item), metadata=clip_metadata(clip, window)
            )

    def _pictures(self, batch: Sequence[ClipFrames]) -> Iterator[CacheFile]:
        """Each picture is encoded for itself, and so is each of its control pictures."""
        targets = [Image.fromarray(next(each.chunks())[0, ..., :3].numpy()) for each in batch]
        controls = [_read_controls(each.clip) for each in batch]
        shown = [
            [target, *(image for image, _ in pairs)] for target, pairs in zip(targets, controls, strict=True)
        ]
        latents = self._latents_of(shown, [each.clip for each in batch])
        # Where there is nothing to start from the encoder is shown black, as in generation.
        starts = [
            pairs[0][0] if pairs else Image.new("RGB", target.size)
            for target, pairs in zip(targets, controls, strict=True)
        ]
        features = self._features(starts)
        for each, own, pairs, seen in zip(batch, latents, controls, features, strict=True):
            keys = dataset_keys(each.dataset)
            cut = [masked(found, mask).to(STORED) for found, (_, mask) in zip(own[1:], pairs, strict=True)]
            item = picture_item(own[0].to(STORED), cut, picture_layout(self._config, keys, len(pairs)))
            yield CacheFile(
                name=picture_name(each.clip),
                tensors=named_tensors({**item, "image_embeddings": seen}),
                metadata=picture_metadata(each.clip, keys.fp_latent_window_size),
            )

    def _latents_of(
        self, shown: Sequence[Sequence[Image.Image]], clips: Sequence[Clip]
    ) -> list[list[Tensor]]:
        """Latents [C, H, W] in float32 of the pictures of each clip."""
        pixels = [to_pixels(picture)[:, None] for pictures in shown for picture in pictures]
        mean, deviation = (iter(each) for each in _in_float32(self._space.encode(torch.stack(pixels))))
        generators = [clip_generator(self._config.seed, clip) for clip in clips]
        return [
            [self._chosen(next(mean), next(deviation), generator)[:, 0] for _ in pictures]
            for pictures, generator in zip(shown, generators, strict=True)
        ]

    def _posteriors(
        self, pixels_BCFHW: Callable[[], Iterator[Tensor]], num_parts: int
    ) -> Iterator[Posterior]:
        """Of each part of a clip; what parts remember of those before is not kept where there is one."""
        if num_parts == 1:
            yield self._space.encode(next(pixels_BCFHW()))
        else:
            parts = self._space.encode_in_passes(pixels_BCFHW, self._config.stream_passes)
            yield from map(Posterior, parts)

    def _keep(self, posteriors: Iterable[Posterior], clips: Sequence[Clip]) -> list[Kept]:
        generators = [clip_generator(self._config.seed, clip) for clip in clips]
        values: list[list[Tensor]] = [[] for _ in clips]
        deviations: list[list[Tensor]] = [[] for _ in clips]
        for posterior in posteriors:
            mean_BCTHW, deviation_BCTHW = _in_float32(posterior)
            for index, generator in enumerate(generators):
                mean, deviation = mean_BCTHW[index], deviation_BCTHW[index]
                values[index].append(self._chosen(mean, deviation, generator).to(STORED))
                if self._config.posterior == "moments":
                    deviations[index].append((deviation * self._space.scale).to(STORED))
        return [
            Kept(values=torch.cat(parts, dim=1), deviation=torch.cat(spread, dim=1) if spread else None)
            for parts, spread in zip(values, deviations, strict=True)
        ]

    def _chosen(self, mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
        """Scaled latents [C, T, H, W] in float32: the mean, or a draw."""
        latents = draw(mean, deviation, generator) if self._config.posterior == "sample" else mean
        return latents * self._space.scale

    def _features(self, pictures: Sequence[Image.Image]) -> list[Tensor]:
        features_BLD = self._siglip.encode(pictures, device=self._device, dtype=self._dtype)
        return list(features_BLD.to("cpu", STORED))


def _show(shown: Sequence[list[Image.Image]], frames_BHWC: Tensor) -> None:
    """Keep a frame of each clip."""
    for pictures, frame_HWC in zip(shown, frames_BHWC, strict=True):
        pictures.append(Image.fromarray(frame_HWC.numpy()))


def part_lengths(num_frames: int, stream_frames: int) -> list[int]:
    """How a clip of 4k+1 frames is cut to be encoded: whole, or in even parts of 4k+1, 4k, 4k, ... frames."""
    groups = (num_frames - 1) // TEMPORAL_STRIDE
    most = max(((stream_frames or WHOLE_FRAMES) - 1) // TEMPORAL_STRIDE, 1)
    num_parts = max(-(-groups // most), 1)
    stops = [groups * part // num_parts for part in range(num_parts + 1)]
    lengths = [TEMPORAL_STRIDE * (stop - start) for start, stop in pairwise(stops)]
    return [lengths[0] + 1, *lengths[1:]]


def _in_float32(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Mean and deviation [B, C, T, H, W] on the processor, where draws are the same on every machine."""
    mean, log_variance = posterior.mean.float().cpu(), posterior.log_variance.float().cpu()
    return mean, torch.exp(0.5 * log_variance)


def _read_controls(clip: Clip) -> list[tuple[Image.Image, Image.Image | None]]:
    """The control pictures of a picture at its size, each with its mask."""
    found: list[tuple[Image.Image, Image.Image | None]] = []
    for place in clip.source.controls:
        with local_media(place) as path:
            found.append(read_control(path, clip.size))
    return found
