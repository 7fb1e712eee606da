"""Control clips: the same stretch of time as the clips they belong to, at the same size."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from reelwright.core.errors import FileError
from reelwright.data.clips import frame_rate, resampled_length
from reelwright.data.sources.media_names import Kind, kind_of
from reelwright.protocols.clips import Clip, ClipRule, MediaFacts, Source
from reelwright.protocols.datasets import DatasetConfig

_RATES_AGREE, _SHAPES_AGREE = 0.01, 0.03
"""Largest difference, as a share: rates are told with few digits, sizes rounded to even numbers."""


def kind_of_control(source: Source) -> Kind | None:
    """Whether a source has a control clip or control pictures; a folder is a clip of pictures."""
    if not source.controls:
        return None
    return kind_of(source.controls[0]) or source.kind


def has_own_kind_of_control(source: Source) -> bool:
    """Whether its control can be read frame for frame: a clip beside a clip, a picture beside a picture."""
    return kind_of_control(source) == source.kind


def with_controls(
    clips: Sequence[Clip], controls: Sequence[MediaFacts], dataset: DatasetConfig, rule: ClipRule
) -> Iterator[Clip]:
    """The clips of a source, each knowing what its controls are.

    Raises FileError with the control's name for a control clip that ends before its clip, is shot at another
    rate or has another shape: its frames would not be those of the clip.
    """
    for clip in clips:
        if clip.source.kind == "video" and kind_of_control(clip.source) == "video":
            _check(clip, controls[0], dataset, rule)
        yield replace(clip, control_facts=tuple(controls))


def control_of(clip: Clip) -> Clip:
    """The control of a clip as a clip to be read."""
    (control,), (facts,) = clip.source.controls, clip.control_facts
    return replace(
        clip, source=replace(clip.source, media=control, controls=()), facts=facts, control_facts=()
    )


def _check(clip: Clip, control: MediaFacts, dataset: DatasetConfig, rule: ClipRule) -> None:
    name, media = clip.source.controls[0], clip.source.media
    rate, expected = (frame_rate(facts, dataset, rule) for facts in (control, clip.facts))
    if abs(rate - expected) > _RATES_AGREE * expected:
        raise FileError(
            f"{name}: has {rate:g} frames per second, and {media}, which it controls, {expected:g}."
            " Export both at one rate."
        )
    there, end = resampled_length(control, dataset, rule), clip.start + clip.num_frames
    if there < end:
        raise FileError(
            f"{name}: has {there} frames at {clip.fps:g} per second, and {media}, which it controls, is"
            f" trained on up to frame {end}. Export all of it, or shorten the clip."
        )
    (width, height), (clip_width, clip_height) = control.size, clip.facts.size
    if abs(width * clip_height / (height * clip_width) - 1.0) > _SHAPES_AGREE:
        raise FileError(
            f"{name}: is {width} x {height}, and {media}, which it controls, {clip_width} x {clip_height}:"
            " what is cut off would differ. Export both in one shape."
        )
