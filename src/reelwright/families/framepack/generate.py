"""Videos section by section, and single frames: encode, denoise, decode."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from reelwright.adapters.adapted_module import set_multipliers
from reelwright.adapters.merged_model import write_merged
from reelwright.core.errors import FileError
from reelwright.core.events import Event, Notice, StageStarted
from reelwright.diffusion.samplers import DrawNoise
from reelwright.execution.devices import choose_device, choose_dtype, dtype_of, stored_dtype
from reelwright.execution.offload import Turns
from reelwright.execution.policy import PreparedDenoiser
from reelwright.execution.prepare import prepare_to_generate
from reelwright.execution.weights import check_weights, in_memory, round_encoder, tensors_to_save
from reelwright.families.framepack.checkpoints import (
    FramePackModel,
    load_adapted,
    load_autoencoder,
    told_settings,
)
from reelwright.families.framepack.config import FramePackGenerate
from reelwright.families.framepack.decoding import view_latents, view_section
from reelwright.families.framepack.denoise import Progress, denoise, plan_steps
from reelwright.families.framepack.execution_facts import EXECUTION_FACTS
from reelwright.families.framepack.key_maps import RELEASED_TRANSFORMER
from reelwright.families.framepack.latent_space import LatentSpace, open_sparing_space
from reelwright.families.framepack.looks import Features, encode_features, look_of
from reelwright.families.framepack.noise import SectionNoise
from reelwright.families.framepack.requests import FramePackRequest
from reelwright.families.framepack.scene import KnownLatents, Scene, encode_scene
from reelwright.families.framepack.section_keys import SectionKeys
from reelwright.families.framepack.sections import (
    SectionLayout,
    Timeline,
    one_frame_layout,
    section_layouts,
)
from reelwright.families.framepack.transformer import FramePackTransformer
from reelwright.media.latent_preview import fit_latent_colors
from reelwright.protocols.configs import ExecutionConfig
from reelwright.protocols.family import FindSection, Made, Section, Segment


class FramePackSession:
    """A model in use: its networks are loaded for the first video and stay."""

    def __init__(
        self,
        model: FramePackModel,
        execution: ExecutionConfig,
        transformer: FramePackTransformer | None = None,
    ) -> None:
        """`transformer` is used as it is, instead of loading the model's own with its LoRAs."""
        self.model = model
        self.device = choose_device(execution.device)
        self.dtype = choose_dtype(execution.dtype, self.device, model.released_dtype)
        if transformer is not None:
            self.dtype = dtype_of(transformer)
        # Of the autoencoder and the encoders, which were released in it and lose more in bfloat16.
        self.encoding_dtype = choose_dtype(execution.dtype, self.device, "float16")
        check_weights(execution.weights)
        self._execution = execution
        self._denoiser = None if transformer is None else PreparedDenoiser(transformer, dtype=self.dtype)
        self._is_merged = model.adapters.is_merged
        self._turns = Turns(self.device, is_on=execution.offload)
        for part in (model.llama, model.clip, model.siglip):
            part.encoder.is_kept = execution.keep_encoders
            part.encoder.is_streamed = execution.stream_encoders
        round_encoder(model.llama.encoder, execution.text_weights, self.device)

    @property
    def latent_scale(self) -> float:
        return self.model.autoencoder.scaling_factor

    def generate(self, requests: Sequence[FramePackRequest], find_section: FindSection) -> Iterator[Made]:
        """Make the videos in order; the encoders are gone before the networks load."""
        yield StageStarted("encode prompts")
        features = self.encode(requests)
        yield StageStarted("load networks")
        for request in requests:
            yield from _Making(self, request, features).run(find_section)

    def encode(self, requests: Sequence[FramePackRequest]) -> Features:
        """The prompts and pictures of requests, from the cache on disk, into which the others go."""
        return encode_features(self.model, requests, self.device, self.encoding_dtype)

    def open_latents(self, latents_BCTHW: Tensor, config: FramePackGenerate) -> Segment:
        """See latents that were saved before. Raises FileError if they are not of this kind of model."""
        channels, expected = latents_BCTHW.shape[1], self.model.autoencoder.latent_channels
        if channels != expected:
            raise FileError(
                f"from_latent: the latents have {channels} channels; {self.model.autoencoder_path} decodes"
                f" {expected}. Name the --model that made them."
            )
        return view_latents(self.space, latents_BCTHW, config, self.model.direction)

    def write_merged(self, path: Path) -> Iterator[Event]:
        """Write the transformer with its LoRAs merged; in the released number format unless one is set."""
        model = self.model
        dtype = stored_dtype(self._execution.dtype, model.released_dtype)
        transformer, changes = load_adapted(model, model.adapters, in_memory(self._execution), dtype)
        yield from map(Notice, changes)
        settings, facts = told_settings(model)
        tensors = tensors_to_save(transformer)
        yield from write_merged(tensors, model.adapters, RELEASED_TRANSFORMER, path, settings, facts)

    @property
    def denoiser(self) -> PreparedDenoiser:
        assert self._denoiser is not None, "loaded before anything is made"
        return self._denoiser

    @property
    def has_adapters_beside(self) -> bool:
        """Whether LoRAs run beside the transformer's weights, so that their strengths can be changed."""
        return bool(self.model.adapters.chosen) and not self._is_merged

    @cached_property
    def space(self) -> LatentSpace:
        self._turns.rest()
        autoencoder = load_autoencoder(
            self.model.autoencoder_path, self.model.autoencoder, self.device, self.encoding_dtype
        )
        self._turns.note(autoencoder)
        space = open_sparing_space(autoencoder, self._execution)
        return replace(space, arrive=partial(self._turns.take, autoencoder))

    @cached_property
    def colors(self) -> Tensor:
        """The color of a latent cell, fitted when the first preview is painted."""
        return fit_latent_colors(lambda pixels: self.space.encode(pixels).mean * self.space.scale)

    def load_transformer_for(self, request: FramePackRequest) -> Iterator[Made]:
        """Have the denoiser with its LoRAs merged, or beside it where a request changes their strengths."""
        is_merged = self.model.adapters.is_merged and not request.has_own_multipliers
        if self._denoiser is not None and self._is_merged == is_merged:
            return
        self._denoiser = None  # so that the old one is gone before the new one comes
        adapters = replace(self.model.adapters, is_merged=is_merged)
        self._turns.rest()
        transformer, changes = load_adapted(self.model, adapters, self._execution, self.dtype)
        yield from map(Notice, changes)
        self._denoiser, notices = prepare_to_generate(
            transformer,
            self._execution,
            device=self.device,
            dtype=self.dtype,
            facts=EXECUTION_FACTS,
            turns=self._turns,
        )
        yield from map(Notice, notices)
        self._is_merged = is_merged


@dataclass(frozen=True)
class _Making:
    """One video on its way."""

    session: FramePackSession
    request: FramePackRequest
    features: Features

    def run(self, find_section: FindSection) -> Iterator[Made]:
        """Yield each section when it is final, and the Segment at the end."""
        session, request = self.session, self.request
        noise = SectionNoise(request.config.seed, self._noise_shape)
        # The released order of draws: posteriors of images and clips, then the noise of each section.
        scene = encode_scene(request, session.space, noise.generator)
        yield from map(Notice, session.space.tiles.take_notices())
        timeline = self._timeline(scene)
        layouts = self._layouts(timeline)
        known = KnownLatents(timeline, scene, layouts)
        keys = SectionKeys(session.model, request, session.dtype, session.device.type)
        made: dict[int, Tensor] = {}
        yield StageStarted("denoise", self._num_steps * len(layouts))
        for number, layout in enumerate(layouts):
            section = request.sections[layout.section]
            key = keys.next(layout, section)
            start = noise.draw(section.plan.seed)
            latents, shortcuts = find_section(key), ()
            if latents is None:
                progress = self._progress(number, len(layouts))
                latents = yield from self._denoise(layout, scene, known, start, progress)
                shortcuts = session.denoiser.shortcuts
            made[layout.section] = latents
            if not torch.isfinite(latents).all():
                yield self._flawed(latents, layout)
                return
            known.add(layout, latents)
            yield replace(self._section(key, layout, latents, number), shortcuts=shortcuts)
        yield self._finished(scene, made)

    def _denoise(
        self,
        layout: SectionLayout,
        scene: Scene,
        known: KnownLatents,
        start: tuple[Tensor, DrawNoise],
        progress: Progress,
    ) -> Generator[Made, None, Tensor]:
        """The latents of a section that was not made before."""
        session, request = self.session, self.request
        yield from session.load_transformer_for(request)
        if session.has_adapters_beside:
            own = request.sections[layout.section].plan.lora_multipliers
            set_multipliers(session.denoiser.network, own or session.model.adapters.multipliers)
        look = look_of(self.features, request, layout, known, session.device, session.dtype)
        initial = None if scene.initial is None else scene.initial[:, :, _span(layout.positions)]
        noise, draw_noise = start
        latents = yield from denoise(
            session.denoiser, request.config, look, noise, initial, draw_noise, progress
        )
        return latents.float().cpu()

    def _progress(self, number: int, count: int) -> Progress:
        return Progress(
            done=number * self._num_steps,
            total=count * self._num_steps,
            colors=self.session.colors if self.request.config.preview_every else None,
        )

    @property
    def _num_steps(self) -> int:
        return len(plan_steps(self.request.config, torch.Size(self._noise_shape)))

    @property
    def _noise_shape(self) -> tuple[int, ...]:
        config, channels = self.request.config, self.session.model.transformer.in_channels
        options = self.request.one_frame
        frames = config.latent_window_size if options is None else max(len(options.target_index), 1)
        return (1, channels, frames, *self.request.latent_size)

    def _timeline(self, scene: Scene) -> Timeline:
        config = self.request.config
        return Timeline(
            num_sections=config.video_sections,
            window=config.latent_window_size,
            num_before=scene.before.shape[2],
            num_after=0 if scene.after is None else scene.after.shape[2],
        )

    def _layouts(self, timeline: Timeline) -> tuple[SectionLayout, ...]:
        request, config = self.request, self.request.config
        if request.one_frame is not None:
            window = config.latent_window_size
            return (one_frame_layout(request.one_frame, len(request.controls), window=window),)
        layouts = section_layouts(timeline, request.direction, paddings=config.latent_paddings)
        if config.compatibility.end_image == "history" or request.end_image is None:
            return layouts
        without_end = section_layouts(
            replace(timeline, num_after=0), request.direction, paddings=config.latent_paddings
        )
        return (layouts[0], *without_end[1:])

    def _section(self, key: str, layout: SectionLayout, latents: Tensor, number: int) -> Section:
        config, space = self.request.config, self.session.space
        plan = self.request.sections[layout.section].plan
        own_frames = layout.positions
        return Section(
            key=key,
            index=layout.section,
            total=config.video_sections,
            latents_BCTHW=latents,
            facts={
                "prompt": plan.prompt,
                "image": "" if plan.image is None else str(plan.image),
                "seed": config.seed if plan.seed is None else plan.seed,
                "made": number,
                "latents": [own_frames.start, own_frames.stop],
            },
            fps=config.fps,
            decode=(lambda: view_section(space, latents)) if self._wants_preview else None,
            lessen=lambda: space.tiles.lessen(*latents.shape[3:]),
        )

    @property
    def _wants_preview(self) -> bool:
        return self.request.config.preview_sections and self.request.one_frame is None

    def _finished(self, scene: Scene, made: dict[int, Tensor]) -> Segment:
        """The whole video: what it began with, its sections in time, and a clip that it arrives at."""
        request = self.request
        parts = [made[index] for index in sorted(made)]
        if request.one_frame is None:
            parts = [scene.before, *parts]
        if request.bridged is not None and scene.after is not None:
            parts.append(scene.after)
        return view_latents(self.session.space, torch.cat(parts, dim=2), request.config, request.direction)

    def _flawed(self, latents: Tensor, layout: SectionLayout) -> Segment:
        flaw = f"denoise: the latents of section {layout.section} hold NaN or infinity."
        session, request = self.session, self.request
        return view_latents(session.space, latents, request.config, request.direction, flaw)


def _span(positions: range) -> slice:
    return slice(positions.start, positions.stop)
