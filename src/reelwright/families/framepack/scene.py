"""Latents that are known before anything is denoised: of start and end images, clips, control images."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from PIL import Image
from torch import Tensor

from reelwright.families.framepack.controls import masked
from reelwright.families.framepack.latent_space import LatentSpace
from reelwright.families.framepack.requests import FramePackRequest, KnownClip
from reelwright.families.framepack.sections import SectionLayout, Slots, Source, Timeline
from reelwright.media.image_ops import to_pixels


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All latents are [1, C, T, H, W], scaled, float32, on the processor."""

    starts: Mapping[int, Tensor]
    """Section -> the latent of the image that it starts from."""
    before: Tensor
    """What the video begins with: a start image, or a clip to go on from."""
    after: Tensor | None
    """What it leads to: an end image, or a clip to arrive at."""
    controls: tuple[Tensor, ...] = ()
    """Of single frames."""
    initial: Tensor | None = None
    """Of a clip to change, as long as the timeline."""


def encode_scene(request: FramePackRequest, space: LatentSpace, generator: torch.Generator) -> Scene:
    """Encode every image and clip of a request, in the order in which diffusers draws posteriors."""
    encoder = _Encoder(request, space, generator)
    if request.one_frame is not None:
        controls = tuple(encoder.control(image, mask) for image, mask in request.controls)
        nothing = torch.zeros(1, space.num_channels, 1, *request.latent_size)
        return Scene(starts={0: nothing}, before=nothing, after=None, controls=controls)
    clip = None if request.changed is None else encoder.clip(request.changed)
    extended = None if request.extended is None else encoder.clip(request.extended)
    starts = _starts(request, encoder, clip, extended)
    return Scene(
        starts=starts,
        before=starts[0] if extended is None else extended,
        after=_after(request, encoder, starts[0], extended),
        initial=clip,
    )


class KnownLatents:
    """Single latent frames of the timeline that later sections look at; others are forgotten.

    So memory does not grow with the length of the video.
    """

    def __init__(self, timeline: Timeline, scene: Scene, layouts: tuple[SectionLayout, ...]) -> None:
        self._scene = scene
        self._waiting = [_looked_at(layout) for layout in layouts]
        self._frames: dict[int, Tensor] = {}
        self._add(0, scene.before)
        if scene.after is not None:
            self._add(timeline.num_latents - scene.after.shape[2], scene.after)

    def fill(self, slots: Slots, layout: SectionLayout) -> Tensor:
        """The latents that a group of context asks for."""
        start = self._scene.starts[layout.section]
        return torch.cat([self._frame(source, start) for source in slots.sources], dim=2)

    def add(self, layout: SectionLayout, latents_BCTHW: Tensor) -> None:
        """A section was made: remember of it, and of all before, what others will look at."""
        self._waiting.pop(0)
        self._add(layout.positions.start, latents_BCTHW)

    def _add(self, first: int, latents_BCTHW: Tensor) -> None:
        wanted: set[int] = set().union(*self._waiting)
        added = {first + k: latents_BCTHW[:, :, k : k + 1] for k in range(latents_BCTHW.shape[2])}
        kept = {**self._frames, **{position: frame.clone() for position, frame in added.items()}}
        self._frames = {position: kept[position] for position in kept.keys() & wanted}

    def _frame(self, source: Source, start: Tensor) -> Tensor:
        match source.kind:
            case "start":
                return start
            case "control":
                return self._scene.controls[source.position]
            case "latent":
                return self._frames[source.position]
            case "zero":
                return torch.zeros_like(start)


def _looked_at(layout: SectionLayout) -> set[int]:
    groups = (layout.clean_1x, layout.clean_2x, layout.clean_4x)
    sources = [source for slots in groups if slots is not None for source in slots.sources]
    return {source.position for source in sources if source.kind == "latent"}


def _starts(
    request: FramePackRequest, encoder: "_Encoder", clip: Tensor | None, extended: Tensor | None
) -> dict[int, Tensor]:
    """Section -> where it starts from: its image, or without any image the clip that is known."""
    known = None if clip is None else clip[:, :, :1]
    if extended is not None:
        known = extended[:, :, :1] if request.direction == "forward" else extended[:, :, -1:]
    if known is not None and not request.has_images:
        return dict.fromkeys(range(len(request.sections)), known)
    return {index: encoder.image(section.image) for index, section in enumerate(request.sections)}


def _after(
    request: FramePackRequest, encoder: "_Encoder", start: Tensor, extended: Tensor | None
) -> Tensor | None:
    if request.bridged is not None:
        return encoder.clip(request.bridged)
    if request.config.loop:
        return start if extended is None else extended
    return None if request.end_image is None else encoder.image(request.end_image)


@dataclass
class _Encoder:
    """Encodes each picture once."""

    request: FramePackRequest
    space: LatentSpace
    generator: torch.Generator
    _known: dict[int, Tensor] = field(default_factory=dict[int, Tensor])

    def image(self, image: Image.Image | None) -> Tensor:
        """Without an image, of medium gray, as released."""
        if id(image) not in self._known:
            config = self.request.config
            gray = torch.zeros(3, config.height, config.width)
            self._known[id(image)] = self._encode(
                (gray if image is None else to_pixels(image))[None, :, None]
            )
        return self._known[id(image)]

    def control(self, image: Image.Image, mask: Image.Image | None) -> Tensor:
        return masked(self.image(image), mask)

    def clip(self, clip: KnownClip) -> Tensor:
        return clip.latents_BCTHW if clip.latents_BCTHW is not None else self._encode(clip.read_pixels())

    def _encode(self, pixels_BCFHW: Tensor) -> Tensor:
        posterior = self.space.encode(pixels_BCFHW)
        is_sampled = self.request.config.posterior == "sample"
        latents = posterior.sample(self.generator) if is_sampled else posterior.mean
        return latents.float().cpu() * self.space.scale
