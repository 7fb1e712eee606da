"""Which files the clips of a data set become, and what their latents follow from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reelwright.core.errors import ConfigError, FileError
from reelwright.encoders.siglip import SiglipImage
from reelwright.execution.devices import choose_device
from reelwright.families.framepack.buckets import TRAINED_RESOLUTION, TRAINED_SIZES
from reelwright.families.framepack.cache_encoding import FramePackLatentEncoder
from reelwright.families.framepack.cache_items import (
    clean_indices,
    dataset_keys,
    picture_group,
    picture_layout,
    video_group,
)
from reelwright.families.framepack.cache_layout import (
    STORED,
    clip_name,
    is_compact_name,
    is_compatible_name,
    picture_name,
    pictures_name,
    section_name,
)
from reelwright.families.framepack.checkpoints import (
    check_autoencoder,
    describe_autoencoder,
    fingerprint_parts,
    told_resolution,
)
from reelwright.families.framepack.config import AutoencoderConfig, FramePackCacheLatents
from reelwright.families.framepack.parts import Parts
from reelwright.families.framepack.sections import (
    CONTEXT,
    TEMPORAL_STRIDE,
    count_frames,
    count_sections_of_clip,
)
from reelwright.families.framepack.sizes import STEP
from reelwright.families.framepack.story_schema import FRAMES_PER_SECOND
from reelwright.media.geometry import Size
from reelwright.protocols.caching import CacheEntry
from reelwright.protocols.clips import Clip, ClipRule
from reelwright.protocols.datasets import DatasetConfig
from reelwright.protocols.model_folder import weight_notices

_NOT_FOR_PICTURES = ("multiple_target", "no_resize_control", "control_resolution")
_NUM_PATCHES = 729
_HEADER_BYTES = 1500
"""About what names and metadata take of a file."""


@dataclass(frozen=True, kw_only=True)
class FramePackLatentCache:
    """Clips become a file for each section, or one for the clip (compact); pictures become one file."""

    config: FramePackCacheLatents
    autoencoder_path: Path
    autoencoder: AutoencoderConfig
    siglip: SiglipImage
    resolution: int
    fingerprints: Mapping[str, str]
    notices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "framepack-compact" if self.config.form == "compact" else "framepack-latents"

    def rule(self, dataset: DatasetConfig) -> ClipRule:
        """Clips at 30 frames per second that hold a section at least; pictures in one_frame mode.

        Raises ConfigError for data sets of the other kind, and for keys that the mode cannot follow.
        """
        if self.config.mode == "one_frame":
            self._check_pictures(dataset)
        elif dataset.image_directory or dataset.image_jsonl_file:
            raise ConfigError(
                f"{dataset.origin}: pictures are trained on in one-frame mode alone."
                " Use --mode one_frame (fpack_cache_latents: --one_frame), or a data set of clips."
            )
        elif dataset.control_directory is not None:
            raise ConfigError(
                f"{dataset.origin}: control_directory: control pictures go with pictures, in one-frame mode."
                " Leave it out."
            )
        window = dataset_keys(dataset).fp_latent_window_size
        is_picture = self.config.mode == "one_frame"
        return ClipRule(
            fps=FRAMES_PER_SECOND,
            frame_step=TEMPORAL_STRIDE,
            min_frames=1 if is_picture else count_frames(1, window),
            size_step=STEP,
            default_size=(self.resolution, self.resolution),
            trained_sizes=TRAINED_SIZES if self.resolution == TRAINED_RESOLUTION else (),
            kinds=("image",) if is_picture else ("video",),
        )

    def entries(self, clip: Clip, dataset: DatasetConfig) -> Sequence[CacheEntry]:
        """Raises FileError for a clip without a whole section, ConfigError for keys that do not fit it."""
        keys = dataset_keys(dataset)
        if clip.source.kind == "image":
            layout = picture_layout(self.config, keys, len(clip.source.controls))
            num_latents = 1 + len(layout.clean_1x.indices)
            group = picture_group(clip.size, layout)
            return [self._entry(picture_name(clip), group, num_latents, clip.size)]
        window = keys.fp_latent_window_size
        num_sections = count_sections_of_clip(clip.num_frames, window)
        if not num_sections:
            raise FileError(
                f"{clip.source.media}: {clip.num_frames} frames hold no section of {window} latents, which"
                f" takes {count_frames(1, window)} at 30 per second. Give a longer clip, or leave it out."
            )
        group = video_group(clip.size, window)
        if self.config.form == "compact":
            num_latents = (1 + num_sections * window) * (2 if self.config.posterior == "moments" else 1)
            whole = self._entry(clip_name(clip), group, num_latents, clip.size, num_sections)
            if not self.config.pictures:
                return [whole]
            num_pictures = 1 + num_sections
            group = f"{group} pictures"
            return [whole, self._entry(pictures_name(clip), group, num_pictures, clip.size, num_pictures)]
        num_latents = window + 1 + sum(CONTEXT)
        names = [section_name(clip, section) for section in range(num_sections)]
        return [self._entry(name, group, num_latents, clip.size) for name in names]

    def facts(self, dataset: DatasetConfig) -> Mapping[str, object]:
        """The seed counts only where something is drawn, tiles only where they are used, modes only where
        sections are laid out, parts and passes only where there are clips.

        The number format counts as it was asked for, and not which device computes: rounding differs.
        """
        config, execution = self.config, self.config.execution
        keys = dataset_keys(dataset)
        is_compact, is_picture = config.form == "compact", config.mode == "one_frame"
        pictures = {
            "target_index": keys.fp_1f_target_index,
            "clean_indices": list(clean_indices(keys)),
            "no_post": keys.fp_1f_no_post,
            "no_2x": config.one_frame_no_2x,
            "no_4x": config.one_frame_no_4x,
        }
        return {
            "form": config.form,
            "mode": None if is_compact else config.mode,
            "window": keys.fp_latent_window_size,
            "posterior": config.posterior,
            "seed": config.seed if config.posterior == "sample" else None,
            "stream_frames": None if is_picture else config.stream_frames,
            "stream_passes": None if is_picture else config.stream_passes,
            "tile": execution.tile_size if execution.tiling else None,
            "dtype": execution.dtype,
            "one_frame": pictures if is_picture else None,
            **({"pictures": True} if config.pictures else {}),
        }

    def is_own(self, name: str) -> bool:
        return is_compact_name(name) if self.config.form == "compact" else is_compatible_name(name)

    def open(self) -> FramePackLatentEncoder:
        return FramePackLatentEncoder(self.config, self.autoencoder_path, self.autoencoder, self.siglip)

    def _check_pictures(self, dataset: DatasetConfig) -> None:
        if dataset.video_directory or dataset.video_jsonl_file:
            raise ConfigError(
                f"{dataset.origin}: one-frame mode trains on pictures. Leave out --mode one_frame"
                " (fpack_cache_latents: --one_frame) to train on clips."
            )
        if named := [key for key in _NOT_FOR_PICTURES if getattr(dataset, key)]:
            raise ConfigError(
                f"{dataset.origin}: {', '.join(named)}: control pictures must be as large as their target,"
                " of which there is one. Leave it out."
            )
        keys = dataset_keys(dataset)
        picture_layout(self.config, keys, len(clean_indices(keys)))

    def _entry(self, name: str, group: str, num_latents: int, size: Size, num_items: int = 1) -> CacheEntry:
        cells = size[0] * size[1] // self.autoencoder.spatial_stride**2
        values = num_latents * cells * self.autoencoder.latent_channels + _NUM_PATCHES * self.siglip.width
        return CacheEntry(
            name=name, group=group, num_items=num_items, num_bytes=values * STORED.itemsize + _HEADER_BYTES
        )


def locate_latents(config: FramePackCacheLatents) -> FramePackLatentCache:
    """Find the autoencoder and the image encoder. Raises UserError."""
    choose_device(config.execution.device)  # raises for a device that is not there
    _check_options(config)
    parts = Parts(config, wanted=("vae", "image_encoder"))
    autoencoder = describe_autoencoder(parts.autoencoder)
    check_autoencoder(parts, autoencoder)
    siglip = SiglipImage(parts.image_encoder)
    siglip.check()
    folder = None if parts.is_released else parts.root
    is_models_own = folder is not None and config.vae is None
    return FramePackLatentCache(
        config=config,
        autoencoder_path=parts.autoencoder,
        autoencoder=autoencoder,
        siglip=siglip,
        resolution=told_resolution(folder),
        fingerprints=fingerprint_parts(parts),
        notices=(
            *(weight_notices(config.model, folder) if is_models_own and folder else ()),
            *((_CLEAN_DEFAULT,) if config.mode == "one_frame" else ()),
        ),
    )


_CLEAN_DEFAULT = "fp_1f_clean_indices: a data set that does not name them has one control picture, at time 0."


def _check_options(config: FramePackCacheLatents) -> None:
    if config.form == "compact" and config.mode == "one_frame":
        raise ConfigError(
            "form: compact keeps the latents of clips once for all their sections; a picture has no sections."
            " Leave out --form compact."
        )
    if config.pictures and config.form != "compact":
        raise ConfigError(
            "pictures: are kept beside whole clips, in the compact form. Add --form compact, or leave it out."
        )
    if config.posterior == "moments" and config.form != "compact":
        raise ConfigError(
            "posterior: moments are kept by the compact form alone; files that other programs read hold"
            " latents. Add --form compact, or use sample or mean."
        )
    if config.mode != "one_frame" and (config.one_frame_no_2x or config.one_frame_no_4x):
        raise ConfigError(
            "one_frame_no_2x, one_frame_no_4x: are of one-frame mode. Add --mode one_frame"
            " (fpack_cache_latents: --one_frame), or leave them out."
        )
    if config.mode == "one_frame" and config.stream_frames:
        raise ConfigError("stream_frames: a picture is one frame. Leave it out.")
