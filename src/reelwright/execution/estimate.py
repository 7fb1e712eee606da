"""What making clips or caches takes: stages with their terms, from sizes and readings of imagined runs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Literal

import torch
from torch import nn

from reelwright.execution.allowances import (
    BITS_OF_VIDEO,
    FRAMES_ON_PROCESSOR,
    GPU,
    TOKENS_ON_PROCESSOR,
    VIDEO_ENCODER_FIXED,
    VIDEO_ENCODER_FRAMES,
    Allowance,
)
from reelwright.execution.guidance_passes import passes_are_together
from reelwright.execution.metering import Meter, Reading, imagine, imagining, metered_at
from reelwright.execution.metering_once import run_once
from reelwright.execution.reading_store import stored
from reelwright.execution.weight_counts import HeldWeights, WeightCounts, count_weights, held_weights
from reelwright.protocols.configs import AutoencodingConfig, ExecutionConfig
from reelwright.protocols.estimates import (
    ClipShape,
    DiskUse,
    EncoderSize,
    Estimate,
    GenerationWork,
    Machine,
    Place,
    SizedModel,
    Stage,
    Term,
)

_TEXT_BITS = {"full": 0, "fp8": 8, "int8": 8.1}
_RGB = 3


class Readings:
    """Imagined runs of one model in one number format, each made once."""

    def __init__(self, model: SizedModel, machine: Machine, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
        """dtypes: of the denoiser, and of autoencoder and encoders."""
        self.model = model
        self.machine = machine
        self.dtype, self.encoding_dtype = dtypes
        self.device = torch.device("cpu" if machine.is_processor else "cuda")
        self._asked = (model, str(self.device), dtypes)
        self.call = cache(self._call)
        self.decoding = cache(self._decoding)
        self.encoding = cache(self._encoding)

    def remember(self, asked: Sequence[object], measure: Callable[[], Reading]) -> Reading:
        """A reading of this model, from disk where it was made before."""
        return stored((*self._asked, *asked), measure)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def released_itemsize(self) -> int:
        """Of files."""
        dtype: torch.dtype = getattr(torch, self.model.released_dtype)
        return dtype.itemsize

    @cached_property
    def weights(self) -> WeightCounts:
        with torch.device("meta"):
            network = self.model.denoiser(self.model.depths)
        return count_weights(network, self.model.is_quantized)

    @cached_property
    def num_pixel_weights(self) -> int:
        with torch.device("meta"):
            return sum(each.numel() for each in self.model.autoencoder().parameters())

    def _call(self, shape: ClipShape) -> Reading:
        """Of one forward pass of the denoiser without gradients."""

        def measure(depths: tuple[int, ...]) -> Reading:
            with imagining(self.device) as device, torch.no_grad():
                network = self.imagined(depths, device)
                with Meter([network]) as meter:
                    self.model.ask(network, shape, device, self.dtype)
                return meter.reading

        return self.remember(("call", shape), lambda: metered_at(measure, self.model.depths))

    def imagined(self, depths: tuple[int, ...], device: torch.device) -> nn.Module:
        """The denoiser with so many blocks."""
        keep = self.model.keeps_float32
        return imagine(lambda: self.model.denoiser(depths), device, self.dtype, keep)

    def _decoding(self, shape: ClipShape, execution: AutoencodingConfig) -> Reading:
        """Of the whole clip, of which only as much is looked at as can differ."""

        def decode(network: nn.Module) -> None:
            for chunk in self.model.decode(network, shape, execution):
                del chunk

        reading = self.remember(("decode", shape, execution), lambda: self._of_autoencoder(decode))
        return replace(reading, flops=reading.flops / self.model.share_decoded(shape))

    def _encoding(self, shape: ClipShape, execution: AutoencodingConfig) -> Reading:
        def encode(network: nn.Module) -> None:
            self.model.encode(network, shape, execution)

        return self.remember(("encode", shape, execution), lambda: self._of_autoencoder(encode))

    def _of_autoencoder(self, work: Callable[[nn.Module], None]) -> Reading:
        with imagining(self.device) as device, torch.no_grad():
            network = imagine(self.model.autoencoder, device, self.encoding_dtype)
            with Meter([network]) as meter:
                run_once(network, meter)
                work(network)
            return meter.reading


def estimate_generation(
    readings: Readings, work: GenerationWork, execution: ExecutionConfig, *, num_clips: int = 1
) -> Estimate:
    """One clip after the other, in the stages of `generate`."""
    plain = AutoencodingConfig(
        tiling=execution.tiling, tile_size=execution.tile_size, vae_chunk=execution.vae_chunk
    )
    stages = [encoder_stage(each, readings, execution) for each in readings.model.encoders]
    if work.encoded_frames:
        seen = replace(work.shape, num_frames=work.encoded_frames)
        own = readings.encoding(seen, plain)
        stages.append(
            make_stage(
                "encode pictures",
                readings,
                [_pixel_weights(readings), *activation_terms(own, readings, FRAMES_ON_PROCESSOR)],
                own,
            )
        )
    stages.append(_denoising(readings, work, execution, num_clips))
    decoding = readings.decoding(work.shape, plain)
    stages.append(
        make_stage(
            "decode",
            readings,
            [
                *_resident(readings, work, execution, "pixels"),
                *activation_terms(decoding, readings, FRAMES_ON_PROCESSOR),
                _video_encoder(work.shape),
            ],
            replace(decoding, flops=decoding.flops * num_clips),
        )
    )
    return Estimate(
        stages=tuple(stages),
        disk=(*_read(readings), *_written(work, num_clips, readings.model.num_latent_values(work.shape))),
    )


def encoder_stage(size: EncoderSize, readings: Readings, execution: ExecutionConfig) -> Stage:
    """One encoder alone, which is gone before the next one comes."""
    machine, itemsize = readings.machine, readings.encoding_dtype.itemsize
    bits = _TEXT_BITS[execution.text_weights] if size.is_large else 0
    held = round(size.num_parameters * bits / 8) if bits else size.num_parameters * itemsize
    terms = [
        Term(name=f"{size.name}: activations", num_bytes=size.activations * itemsize, place=machine.device)
    ]
    if execution.stream_encoders:
        # Two layers: one at work, one on its way.
        share = 2 * size.largest_layer / size.num_parameters
        waiting = 0 if machine.is_processor else held
        terms.append(Term(name=f"{size.name}: layers", num_bytes=round(held * share), place=machine.device))
        terms.append(Term(name=f"{size.name}: weights", num_bytes=waiting, place="host"))
    else:
        terms.append(Term(name=f"{size.name}: weights", num_bytes=held, place=machine.device))
    reading = Reading(peak=0, flops=size.flops)
    return make_stage(f"encode with {size.name}", readings, terms, reading, read_bytes=held)


def estimate_latents(
    readings: Readings, shape: ClipShape, execution: AutoencodingConfig, encoders: Sequence[EncoderSize] = ()
) -> Estimate:
    """The autoencoder, and image encoders beside it, at work on a batch of clips."""
    own = readings.encoding(shape, execution)
    pixels = shape.batch_size * shape.num_frames * shape.height * shape.width * _RGB
    beside = [
        Term(
            name=f"{each.name}: weights",
            num_bytes=each.num_parameters * readings.encoding_dtype.itemsize,
            place=readings.machine.device,
        )
        for each in encoders
    ]
    terms = [
        _pixel_weights(readings),
        *beside,
        *activation_terms(own, readings, FRAMES_ON_PROCESSOR),
        Term(name="clips read ahead", num_bytes=3 * pixels, place="host"),
    ]
    batches = -(-shape.count // shape.batch_size)
    stage = make_stage("encode clips", readings, terms, replace(own, flops=own.flops * batches))
    latents = readings.model.num_latent_values(shape) * readings.released_itemsize * shape.count
    return Estimate(
        stages=(stage,),
        disk=(
            DiskUse(
                name="autoencoder",
                num_bytes=readings.num_pixel_weights * readings.released_itemsize,
                kind="read",
            ),
            DiskUse(name="cached latents", num_bytes=latents, kind="written"),
        ),
    )


def _denoising(
    readings: Readings,
    work: GenerationWork,
    execution: ExecutionConfig,
    num_clips: int,
) -> Stage:
    is_one = passes_are_together(execution, lambda: True, usually=work.is_one_batch)
    together = is_one and work.branches > 1
    batch = work.branches if together else 1
    reading = readings.call(replace(work.shape, batch_size=batch))
    resident = _resident(readings, work, execution, "denoiser")
    terms = [*resident, *activation_terms(reading, readings, TOKENS_ON_PROCESSOR)]
    if execution.attention == "math":
        terms.append(
            Term(name="attention scores", num_bytes=reading.attention, place=readings.machine.device)
        )
    calls = work.num_calls * num_clips / batch
    moved = _held(readings, work, execution).moved
    total = replace(reading, flops=reading.flops * calls)
    return make_stage("denoise", readings, terms, total, read_bytes=round(moved * calls))


def _resident(
    readings: Readings,
    work: GenerationWork,
    execution: ExecutionConfig,
    at_work: Literal["denoiser", "pixels"],
) -> list[Term]:
    """Denoiser and autoencoder, which stay until the last clip is decoded, on the device or beside it."""
    held = _held(readings, work, execution)
    device = readings.machine.device
    aside: Place = "host" if execution.offload else device
    terms = [
        Term(
            name="denoiser: weights",
            num_bytes=held.on_device,
            place=device if at_work == "denoiser" else aside,
        ),
        Term(name="denoiser: weights that wait", num_bytes=held.waiting, place="host"),
        Term(name="modulation tables", num_bytes=held.tables, place=device),
        replace(_pixel_weights(readings), place=device if at_work == "pixels" else aside),
    ]
    return [term for term in terms if term.num_bytes]


def _held(readings: Readings, work: GenerationWork, execution: ExecutionConfig) -> HeldWeights:
    return held_weights(
        readings.weights,
        execution,
        itemsize=readings.itemsize,
        num_signals=work.num_steps * work.branches,
        has_host=not readings.machine.is_processor,
    )


def make_stage(
    name: str, readings: Readings, terms: Sequence[Term], reading: Reading, *, read_bytes: int = 0
) -> Stage:
    """With what the program itself takes."""
    machine = readings.machine
    own = [Term(name="program", num_bytes=machine.program, place="host")]
    if machine.context:
        own.append(Term(name="program on the GPU", num_bytes=machine.context, place="device"))
    held = tuple(term for term in (*own, *terms) if term.num_bytes)
    return Stage(name=name, terms=held, flops=reading.flops, read_bytes=read_bytes)


def activation_terms(
    reading: Reading, readings: Readings, on_processor: Allowance, name: str = "activations"
) -> list[Term]:
    """And what allocators and libraries take beside them, by calibration."""
    machine = readings.machine
    allowance = on_processor if machine.is_processor else GPU
    extra = allowance.fixed + allowance.by_thread * (machine.num_threads - 1)
    extra += round(allowance.share * reading.peak + allowance.heap * reading.small)
    terms = [
        Term(name=name, num_bytes=reading.peak, place=machine.device),
        Term(name="workspace", num_bytes=extra, place=machine.device),
    ]
    if machine.is_processor and reading.holes:
        terms.append(Term(name="holes in the heap", num_bytes=reading.holes, place="host"))
    return terms


def _video_encoder(shape: ClipShape) -> Term:
    frames = min(shape.num_frames, VIDEO_ENCODER_FRAMES)
    held = VIDEO_ENCODER_FIXED + frames * shape.height * shape.width * 3 // 2
    return Term(name="video encoder", num_bytes=held, place="host")


def _pixel_weights(readings: Readings) -> Term:
    return Term(
        name="autoencoder: weights",
        num_bytes=readings.num_pixel_weights * readings.encoding_dtype.itemsize,
        place=readings.machine.device,
    )


def _read(readings: Readings) -> list[DiskUse]:
    """Files of weights, in the format they were released in."""
    released = readings.released_itemsize
    counts = {each.name: each.num_parameters for each in readings.model.encoders}
    counts |= {"autoencoder": readings.num_pixel_weights, "denoiser": readings.weights.total}
    return [DiskUse(name=name, num_bytes=count * released, kind="read") for name, count in counts.items()]


def _written(work: GenerationWork, num_clips: int, latent_values: int) -> list[DiskUse]:
    """Latents are float32; how large a video becomes depends on what it shows."""
    shape = work.shape
    pixels = shape.num_frames * shape.height * shape.width
    return [
        DiskUse(name="latents", num_bytes=latent_values * 4 * num_clips, kind="written"),
        DiskUse(name="video", num_bytes=round(pixels * BITS_OF_VIDEO / 8) * num_clips, kind="written"),
    ]
