"""The clips that a plan is made for: as --clip says, the largest of the data set, or the model's own."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from reelwright import families
from reelwright.core.errors import FileError, UserError
from reelwright.protocols.cache_configs import CacheLatentsConfig, CacheTextConfig
from reelwright.protocols.caching import LatentCache
from reelwright.protocols.estimates import ClipShape
from reelwright.protocols.plan_config import PlanConfig
from reelwright.workflows.caching.cutting import clips_of
from reelwright.workflows.caching.datasets import caching_of, check_datasets, open_datasets
from reelwright.workflows.planning.beginning import Planning

_SAME = ("model", "dataset", "dit", "vae", "mode")
"""What training is told as encoding is, where a family has it."""


@dataclass(frozen=True, kw_only=True)
class PlannedClips:
    """The largest clips that come together."""

    shape: ClipShape
    said: str
    """Where they are from, in words."""


def clips_of_plan(family: str, planning: Planning, plan: PlanConfig) -> PlannedClips:
    """Raises UserError for a data set that cannot be read."""
    told = ClipShape(height=0, width=0, num_frames=0, batch_size=plan.batch, count=plan.clips)
    model = planning.readings.model
    reads_clips = not isinstance(planning.config, CacheTextConfig)
    dataset = getattr(planning.config, "dataset", None) if reads_clips else None
    if plan.clip:
        height, width, frames = plan.clip
        told = ClipShape(
            height=height, width=width, num_frames=frames, batch_size=plan.batch, count=plan.clips
        )
        return PlannedClips(shape=model.shape_of(told), said="as --clip says")
    if dataset is None:
        own = "the model's own; say --dataset, or --clip for others"
        return PlannedClips(shape=model.shape_of(told), said=own)
    try:
        latents = _latents(family, planning.config)
    except FileError as error:
        said = f"the model's own; the data set is read where the model is on this machine: {error}"
        return PlannedClips(shape=model.shape_of(told), said=said.splitlines()[0])
    largest, count = _largest(planning.config, latents, plan.batch)
    return PlannedClips(
        shape=model.shape_of(largest), said=f"the largest of {count} in the data set; --clip takes others"
    )


def _latents(family: str, config: Any) -> LatentCache:  # noqa: ANN401 - of any command
    """How the clips are encoded; nothing is downloaded for a plan."""
    schema = families.configs(family).CACHE_LATENTS
    names = {field.name for field in fields(schema)}
    kept = names if isinstance(config, CacheLatentsConfig) else names.intersection(_SAME)
    told = {name: getattr(config, name) for name in kept if hasattr(config, name)}
    return caching_of(family).locate_latents(schema(**{**told, "offline": True}))


def _largest(config: Any, latents: LatentCache, batch: int) -> tuple[ClipShape, int]:  # noqa: ANN401 - as above
    """The clips that take most together, and how many there are in all. Raises UserError if there is none."""
    datasets = open_datasets(config.dataset).datasets
    check_datasets(latents, datasets)
    shapes = list(_shapes(clips_of(datasets, latents), batch))
    if not shapes:
        raise FileError(f"{config.dataset}: no clip in it can be used. `reelwright dataset lint` tells why.")
    most = max(shapes, key=lambda each: each.batch_size * each.height * each.width * each.num_frames)
    return replace(most, count=len(shapes)), len(shapes)


def _shapes(clips: Iterator[tuple[Any, Any]], batch: int) -> Iterator[ClipShape]:
    """Sizes of those that can be used."""
    for dataset, clip in clips:
        if not isinstance(clip, UserError):
            width, height = clip.size
            yield ClipShape(
                height=height,
                width=width,
                num_frames=clip.num_frames,
                batch_size=batch if batch > 1 else dataset.batch_size,
            )
