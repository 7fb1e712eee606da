"""What a run of training may not ask for: options without effect, caches without what the model reads."""

from collections.abc import Iterator
from typing import Any

from reelwright.core.errors import ConfigError
from reelwright.families.cogvideox.checkpoints import Layout, find_layout, is_image_model
from reelwright.families.cogvideox.config import CogVideoXTrain, FirstFrame, TransformerConfig
from reelwright.families.cogvideox.latent_space import CHUNK_IS_FIXED
from reelwright.protocols.datasets import DatasetConfig


def trained_layout(config: CogVideoXTrain, transformer: TransformerConfig) -> Layout:
    """What the transformer reads beside the noise. Raises ConfigError for a `condition` that cannot be."""
    layout = find_layout(transformer, config.model, wants_image=config.condition == "image")
    is_told = "" if layout is Layout.TEXT else layout.value
    if config.condition not in ("auto", is_told):
        why = "is an image model" if is_image_model(transformer) else "does not read 32 channels"
        raise ConfigError(f"condition: {config.condition}: {config.model} {why}. Leave it out.")
    return layout


def check_training(
    config: CogVideoXTrain,
    transformer: TransformerConfig,
    layout: Layout,
    first_frame: FirstFrame,
    datasets: tuple[DatasetConfig, ...],
) -> None:
    """Raise ConfigError with all that is wrong. `first_frame` is what the caches keep of it."""
    problems = [
        *_options_without_effect(config, transformer, layout, first_frame),
        *_missing_in_caches(config, layout, first_frame),
        *(_missing_controls(datasets) if layout is Layout.CONTROL else ()),
    ]
    if config.noise.explicit_uniform and config.noise.num_timestep_buckets > 1:
        problems.append(
            "noise.num_timestep_buckets: explicit_uniform spreads timesteps already. Leave out one of them."
        )
    if config.execution.vae_chunk:
        problems.append(CHUNK_IS_FIXED)
    if problems:
        raise ConfigError("\n".join(problems))


def noises_images(config: CogVideoXTrain, first_frame: FirstFrame) -> bool:
    """Whether first frames are noised and encoded anew, for a model that reads them."""
    chosen = config.noise.image_noise
    return first_frame in ("both", "pixels") if chosen == "auto" else chosen == "on"


def encodes_images(config: CogVideoXTrain, layout: Layout, first_frame: FirstFrame) -> bool:
    """Whether training needs the autoencoder: latents in caches hold neither new noise nor masked clips."""
    if layout is Layout.IMAGE:
        return noises_images(config, first_frame) or first_frame == "pixels"
    return layout is Layout.INPAINT


def _options_without_effect(
    config: CogVideoXTrain, transformer: TransformerConfig, layout: Layout, first_frame: FirstFrame
) -> Iterator[str]:
    noise, execution = config.noise, config.execution
    is_noised = noises_images(config, first_frame)
    uses_pixels = encodes_images(config, layout, first_frame) or config.samples.prompts is not None
    reads_image = layout in (Layout.IMAGE, Layout.INPAINT)
    is_spread = transformer.use_rotary_positional_embeddings and not transformer.is_second_generation
    has_grids = is_spread or config.rope_grid in ("integer", "fitted")
    is_drawn = noise.timestep_sampling == "logit_normal"
    conditional: list[tuple[object, tuple[str, ...], bool, str]] = [
        (noise, ("logit_mean", "logit_std"), is_drawn, "timestep_sampling logit_normal"),
        (noise, ("min_snr_gamma",), noise.weighting == "min_snr", "weighting min_snr"),
        (noise, ("caption_dropout_to",), noise.caption_dropout > 0, "caption_dropout"),
        (noise, ("condition_dropout",), layout is not Layout.TEXT, "a model that reads more than text"),
        (noise, ("image_noise",), reads_image, "a model that reads an image"),
        (noise, ("image_noise_mean", "image_noise_std"), reads_image and is_noised, "image_noise"),
        (config, ("image_latent_scale",), layout is Layout.IMAGE, "an image-to-video model"),
        (config, ("rope_grid",), has_grids, "a model of 1.0 with rotary positions"),
        (execution, ("tiling",), uses_pixels, "images that are encoded or samples that are decoded"),
        (execution, ("tile_size",), execution.tiling, "tiling"),
    ]
    prefixes = {id(noise): "noise.", id(execution): "execution."}
    for group, names, has_effect, needed in conditional:
        for name in names if not has_effect else ():
            if getattr(group, name) != _default(group, name):
                yield f"{prefixes.get(id(group), '')}{name}: has no effect without {needed}. Leave it out."


def _default(group: Any, name: str) -> object:  # noqa: ANN401
    return getattr(type(group)(), name)


def _missing_in_caches(config: CogVideoXTrain, layout: Layout, first_frame: FirstFrame) -> Iterator[str]:
    has_pixels = first_frame in ("both", "pixels")
    advice = "Run `reelwright cache latents` with --first-frame both"
    if layout is Layout.INPAINT and not has_pixels:
        yield f"dataset: the caches hold no pixels of first frames, which this model reads. {advice}."
    if layout is not Layout.IMAGE:
        return
    if first_frame == "none":
        yield f"dataset: the caches hold no first frames, which this model starts from. {advice}."
    elif config.noise.image_noise == "on" and not has_pixels:
        yield (
            f"noise.image_noise: noise goes on pixels, and the caches hold the latents of first frames alone."
            f" {advice}, or use off."
        )


def _missing_controls(datasets: tuple[DatasetConfig, ...]) -> Iterator[str]:
    for dataset in datasets:
        if dataset.control_directory is None and (dataset.video_directory or dataset.image_directory):
            yield (
                f"{dataset.origin}: this model reads a control clip beside each clip. Name their folder as"
                " control_directory, or take a text-to-video model."
            )
