"""From a source to the clips that are trained on, and from a clip to its pixels."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reelwright.core.errors import ConfigError, FileError
from reelwright.data.buckets import choose_size
from reelwright.data.extraction import (
    Stretch,
    chunk,
    full,
    head,
    legal_lengths,
    longest,
    slide,
    uniform,
)
from reelwright.data.local_media import local_media
from reelwright.media.geometry import cover_crop_box, neighbor_num_frames
from reelwright.media.image_ops import fit_image, open_image
from reelwright.media.shown_frames import num_resampled_frames
from reelwright.media.video_reader import stream_video
from reelwright.protocols.clips import Clip, ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

_CHUNK_FRAMES = 8


def check_settings(dataset: DatasetConfig, rule: ClipRule) -> None:
    """Raise ConfigError for settings of a data set that no source of it could follow."""
    try:
        choose_size(rule.default_size, dataset, rule)
        if "video" in rule.kinds:
            _check_lengths(dataset, rule)
    except ConfigError as error:
        raise ConfigError(f"{dataset.origin}: {error}") from error


def cut_clips(source: Source, facts: MediaFacts, dataset: DatasetConfig, rule: ClipRule) -> list[Clip]:
    """The clips of a source, by the data set's frame_extraction; of a picture, itself.

    Raises FileError for a source that is too short or not of a kind that the model takes, ConfigError as
    `check_settings`.
    """
    if source.kind not in rule.kinds:
        taken = "clips" if source.kind == "image" else "pictures"
        raise FileError(f"{source.media}: the model is trained on {taken}. Take it out of the data set.")
    size = choose_size(facts.size, dataset, rule)
    if source.kind == "image":
        return [Clip(source=source, facts=facts, start=0, num_frames=1, size=size, fps=0.0)]
    _check_lengths(dataset, rule)
    num_frames = resampled_length(facts, dataset, rule)
    stretches = _stretches(num_frames, dataset, rule)
    if not stretches:
        raise _too_short(source, num_frames, dataset, rule)
    return [
        Clip(
            source=source,
            facts=facts,
            start=start,
            num_frames=length,
            size=size,
            fps=dataset.target_fps or rule.fps,
            source_fps=_frame_rate_given(facts, dataset, rule),
            trim_seconds=dataset.trim_seconds,
        )
        for start, length in stretches
    ]


def resampled_length(facts: MediaFacts, dataset: DatasetConfig, rule: ClipRule) -> int:
    """How many frames a clip has at the rate it is trained at, after trimming; 0 if nothing is left."""
    given = _frame_rate_given(facts, dataset, rule)
    seconds = facts.num_frames / given if given else facts.duration
    left = seconds - 2 * dataset.trim_seconds
    return num_resampled_frames(left, dataset.target_fps or rule.fps) if left > 0 else 0


def frame_rate(facts: MediaFacts, dataset: DatasetConfig, rule: ClipRule) -> float:
    """How many frames of a clip come in a second, as far as its data set trusts it."""
    return _frame_rate_given(facts, dataset, rule) or facts.fps


def read_clip(clip: Clip) -> Iterator[Tensor]:
    """The pixels of a clip as they are decoded: uint8 chunk_FHWC, `clip.num_frames` frames in all.

    Frames are resized until they cover the clip's size, and cut to its middle: never distorted.
    Raises FileError for a file that cannot be read or has fewer frames than the clip.
    """
    with local_media(clip.source.media) as path:
        if clip.source.kind == "image":
            picture = fit_image(open_image(path).rgb, *clip.size, "crop")
            yield torch.from_numpy(np.array(picture)).unsqueeze(0)
        else:
            yield from _video_chunks(path, clip)


def _video_chunks(path: Path, clip: Clip) -> Iterator[Tensor]:
    covering, (left, top, right, bottom) = cover_crop_box(clip.facts.size, clip.size)
    frames = stream_video(
        path,
        fps=clip.fps,
        max_frames=clip.num_frames,
        size=covering,
        start_seconds=clip.trim_seconds + clip.start / clip.fps,
        source_fps=clip.source_fps,
    )
    num_frames = 0
    waiting: list[Tensor] = []
    for frame_HWC in frames:
        num_frames += 1
        waiting.append(frame_HWC[top:bottom, left:right])
        if len(waiting) == _CHUNK_FRAMES:
            yield torch.stack(waiting)
            waiting = []
    if waiting:
        yield torch.stack(waiting)
    if num_frames < clip.num_frames:
        raise FileError(
            f"{path}: {num_frames} frames could be read of the {clip.num_frames} from frame {clip.start} on"
            f" at {clip.fps:g} fps. The file has changed, or tells a wrong length: export it again."
        )


def _frame_rate_given(facts: MediaFacts, dataset: DatasetConfig, rule: ClipRule) -> float | None:
    """The rate that frames follow each other at, where the file's own times do not count."""
    if dataset.source_fps is not None:
        return dataset.source_fps
    # A folder of pictures has no times of its own.
    return None if facts.duration else dataset.target_fps or rule.fps


def _check_lengths(dataset: DatasetConfig, rule: ClipRule) -> None:
    if _extraction(dataset) == "full":
        name, lengths = "max_frames", [neighbor_num_frames(dataset.max_frames, rule.frame_step)[0]]
    else:
        name, lengths = "target_frames", legal_lengths(dataset.target_frames, rule.frame_step)
    if not lengths:
        raise ConfigError(
            f"target_frames: is empty, and frame_extraction = {dataset.frame_extraction} cuts clips of"
            " these lengths. Name some, or use full."
        )
    if lengths[0] < rule.min_frames:
        raise ConfigError(
            f"{name}: {lengths[0]} frames are too few, the model needs {rule.min_frames} at least."
            f" Use {rule.min_frames} or more."
        )


def _extraction(dataset: DatasetConfig) -> str:
    return dataset.frame_extraction or ("head" if dataset.target_frames else "full")


def _stretches(num_frames: int, dataset: DatasetConfig, rule: ClipRule) -> list[Stretch]:
    lengths = legal_lengths(dataset.target_frames, rule.frame_step)
    match _extraction(dataset):
        case "full":
            whole = full(num_frames, dataset.max_frames, rule.frame_step)
            return [each for each in whole if each[1] >= rule.min_frames]
        case "chunk":
            return chunk(num_frames, lengths)
        case "slide":
            return slide(num_frames, lengths, dataset.frame_stride)
        case "uniform":
            return uniform(num_frames, lengths, dataset.frame_sample)
        case "longest":
            return longest(num_frames, lengths)
        case _:
            return head(num_frames, lengths)


def _too_short(source: Source, num_frames: int, dataset: DatasetConfig, rule: ClipRule) -> FileError:
    fps = dataset.target_fps or rule.fps
    lengths = legal_lengths(dataset.target_frames, rule.frame_step)
    needed = rule.min_frames if _extraction(dataset) == "full" else lengths[0]
    trimmed = f" after {dataset.trim_seconds:g} s are trimmed at both ends" if dataset.trim_seconds else ""
    advice = "Take it out of the data set"
    if lengths and _extraction(dataset) != "full" and num_frames >= rule.min_frames:
        advice += f", or add {neighbor_num_frames(num_frames, rule.frame_step)[0]} to target_frames"
    return FileError(
        f"{source.media}: is too short: {num_frames} frames at {fps:g} fps ({num_frames / fps:.2f} s)"
        f"{trimmed}, and {needed} ({needed / fps:.2f} s) are needed. {advice}."
    )
