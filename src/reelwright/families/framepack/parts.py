"""Where each part of a model lies; released models are spread over three repositories (FramePack 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from reelwright.checkpoint.hub import find_model
from reelwright.checkpoint.settings_files import is_loose_file
from reelwright.core.errors import FileError
from reelwright.encoders.pretrained import part_of
from reelwright.families.framepack.config import (
    ENCODER_REPOSITORIES,
    IMAGE_ENCODER_REPOSITORIES,
    VARIANTS,
    Direction,
    FramePackCacheLatents,
    FramePackCacheText,
    FramePackGenerate,
)
from reelwright.protocols.model_folder import find_root, find_variant
from reelwright.protocols.variant import Variant

_MODEL_PATTERNS = ("*.json", "*.safetensors")
_ENCODER_FOLDERS = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
_IMAGE_ENCODER_FOLDERS = ("image_encoder",)
"""Folders of parts, which are also the fields of the configuration."""
_WITHOUT_TRANSFORMER = (
    *("vae", "text_encoder", "text_encoder_2", "image_encoder"),
    *("tokenizer", "tokenizer_2"),
)
_ENCODERS = {"tokenizer": "text_encoder", "tokenizer_2": "text_encoder_2"}


@dataclass(frozen=True)
class Parts:
    """The files of every part; a repository is looked for only if something in it is needed.

    A path that a user gives for one part may be that of a whole model, whose folder for the part is meant.
    """

    config: FramePackGenerate | FramePackCacheLatents | FramePackCacheText
    wanted: tuple[str, ...] = _WITHOUT_TRANSFORMER
    """Which parts the work needs beside the transformer; no others are fetched."""
    drawn_for: Direction | Literal["both", "unknown"] | None = None
    """The sections that a transformer is to learn whose weights are drawn; None where files have them."""
    sizes: Path | None = None
    """The config.json of a transformer whose weights are drawn, or its folder, if it is not the model's."""

    @cached_property
    def variant(self) -> Variant | None:
        return find_variant(self.config.model, VARIANTS)

    @cached_property
    def root(self) -> Path:
        """The folder of the model: one in the diffusers layout, or the transformer's alone."""
        patterns = _MODEL_PATTERNS if self.drawn_for is None else ("*.json",)
        if not isinstance(self.config, FramePackGenerate):
            patterns = ("*.json", *(f"{folder}/*" for folder in self.wanted))
        return find_root(self.config.model, self.variant, patterns, offline=self.config.offline)

    @property
    def is_released(self) -> bool:
        """Whether the model is one whose own repository holds nothing but the transformer."""
        return self.variant is not None and bool(self.variant.repositories)

    @property
    def dit(self) -> Path | None:
        """The transformer that was given instead of the model's own."""
        return self.config.dit if isinstance(self.config, FramePackGenerate) else None

    @property
    def transformer(self) -> Path:
        return part_of(self.sizes or self.dit or self.root, "transformer")

    @property
    def autoencoder(self) -> Path:
        return self.part("vae")

    @property
    def text_encoder(self) -> Path:
        return self.part("text_encoder")

    @property
    def text_encoder_2(self) -> Path:
        return self.part("text_encoder_2")

    @property
    def tokenizer(self) -> Path:
        return self.part("tokenizer")

    @property
    def tokenizer_2(self) -> Path:
        return self.part("tokenizer_2")

    @property
    def image_encoder(self) -> Path:
        return self.part("image_encoder")

    def taken_from_root(self) -> list[str]:
        """The flags of the parts, besides the transformer, that are those of the model in `root`."""
        folders = (*_ENCODER_FOLDERS, *_IMAGE_ENCODER_FOLDERS)
        return [_flag(folder) for folder in folders if self.part(folder).is_relative_to(self.root)]

    def part(self, folder: str) -> Path:
        """The part whose folder in a whole model has that name."""
        here = self._named(folder) or self._of_model(folder)
        if here is not None:
            return here
        return (self._image_encoder_root if folder == "image_encoder" else self._encoder_root) / folder

    def _named(self, folder: str) -> Path | None:
        """What was given for a part; a tokenizer may lie beside the encoder that was given."""
        given: Path | None = getattr(self.config, folder, None)
        if given is not None:
            return part_of(given, folder)
        encoder: Path | None = getattr(self.config, _ENCODERS.get(folder, folder), None)
        around = (encoder, *encoder.absolute().parents[:2]) if encoder is not None else ()
        return next((parent / folder for parent in around if (parent / folder).is_dir()), None)

    def _of_model(self, folder: str) -> Path | None:
        if self.is_released:
            return None
        return self.root / folder if (self.root / folder).is_dir() else None

    @cached_property
    def _encoder_root(self) -> Path:
        folders = [folder for folder in _ENCODER_FOLDERS if folder in self.wanted]
        return self._released(ENCODER_REPOSITORIES, folders)

    @cached_property
    def _image_encoder_root(self) -> Path:
        return self._released(IMAGE_ENCODER_REPOSITORIES, _IMAGE_ENCODER_FOLDERS)

    def _released(self, repositories: Sequence[str], folders: Sequence[str]) -> Path:
        """A repository, with those of its folders that nothing on this machine stands for."""
        wanted = [folder for folder in folders if not (self._named(folder) or self._of_model(folder))]
        try:
            return find_model(
                repositories[0],
                repositories=repositories,
                patterns=[f"{folder}/*" for folder in wanted],
                offline=self.config.offline,
            )
        except FileError as error:
            flags = ", ".join(map(_flag, wanted))
            raise FileError(f"{error} Files of your own are named with {flags}.") from error


def own_folder(transformer: Path) -> Path | None:
    """The folder of the model that a transformer is of; None for a file that may lie in any folder."""
    if is_loose_file(transformer):
        return None
    folder = transformer.absolute()
    folder = folder.parent if folder.is_file() else folder
    return folder.parent if folder.name == "transformer" else folder


def _flag(folder: str) -> str:
    return f"--{folder.replace('_', '-')}"
