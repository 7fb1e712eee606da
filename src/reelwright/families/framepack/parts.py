"""Where each part of a model lies; released models are spread over three repositories (FramePack 3)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from reelwright.checkpoint.hub import find_model
from reelwright.encoders.pretrained import part_of
from reelwright.families.framepack.config import (
    ENCODER_REPOSITORIES,
    IMAGE_ENCODER_REPOSITORIES,
    VARIANTS,
    FramePackGenerate,
)
from reelwright.protocols.model_folder import find_root, find_variant
from reelwright.protocols.variant import Variant

_MODEL_PATTERNS = ("*.json", "*.safetensors")
_ENCODER_PATTERNS = ("vae/*", "text_encoder/*", "text_encoder_2/*", "tokenizer/*", "tokenizer_2/*")
_IMAGE_ENCODER_PATTERNS = ("image_encoder/*",)


@dataclass(frozen=True)
class Parts:
    """The files of every part; a repository is looked for only if something in it is needed.

    A path that a user gives for one part may be that of a whole model, whose folder for the part is meant.
    """

    config: FramePackGenerate

    @cached_property
    def variant(self) -> Variant | None:
        return find_variant(self.config.model, VARIANTS)

    @cached_property
    def root(self) -> Path:
        """The folder of the model: one in the diffusers layout, or the transformer's alone."""
        return find_root(self.config.model, self.variant, _MODEL_PATTERNS, offline=self.config.offline)

    @property
    def transformer(self) -> Path:
        return part_of(self.config.dit or self.root, "transformer")

    @property
    def autoencoder(self) -> Path:
        return self._part(self.config.vae, "vae")

    @property
    def text_encoder(self) -> Path:
        return self._part(self.config.text_encoder, "text_encoder")

    @property
    def text_encoder_2(self) -> Path:
        return self._part(self.config.text_encoder_2, "text_encoder_2")

    @property
    def image_encoder(self) -> Path:
        return self._part(self.config.image_encoder, "image_encoder")

    @property
    def tokenizer(self) -> Path:
        return self._tokenizer(self.config.tokenizer, self.config.text_encoder, "tokenizer")

    @property
    def tokenizer_2(self) -> Path:
        return self._tokenizer(self.config.tokenizer_2, self.config.text_encoder_2, "tokenizer_2")

    def _part(self, given: Path | None, folder: str) -> Path:
        if given is not None:
            return part_of(given, folder)
        # A transformer that was given alone says nothing of a model that nobody named.
        if (self.config.dit is None or self.variant is None or not self.variant.repositories) and (
            self.root / folder
        ).is_dir():
            return self.root / folder
        return (self._image_encoder_root if folder == "image_encoder" else self._encoder_root) / folder

    def _tokenizer(self, given: Path | None, encoder: Path | None, folder: str) -> Path:
        """The one that was given, the one beside an encoder that was given, or the released one."""
        if given is not None:
            return part_of(given, folder)
        if encoder is not None:
            for parent in (encoder, *encoder.parents[:2]):
                if (parent / folder).is_dir():
                    return parent / folder
        return self._part(None, folder)

    @cached_property
    def _encoder_root(self) -> Path:
        return find_model(
            ENCODER_REPOSITORIES[0],
            repositories=ENCODER_REPOSITORIES,
            patterns=_ENCODER_PATTERNS,
            offline=self.config.offline,
        )

    @cached_property
    def _image_encoder_root(self) -> Path:
        return find_model(
            IMAGE_ENCODER_REPOSITORIES[0],
            repositories=IMAGE_ENCODER_REPOSITORIES,
            patterns=_IMAGE_ENCODER_PATTERNS,
            offline=self.config.offline,
        )
