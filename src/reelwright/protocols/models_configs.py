"""What the actions on models may be told; what a command line has in its place is marked so. No torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True, kw_only=True)
class _Folders:
    folder: tuple[Path, ...] = ()
    """Folders to look through for single files, LoRAs and whole models."""
    comfyui: Path | None = None
    """A folder of ComfyUI: its models, and those that its extra_model_paths.yaml names; without one
    REELWRIGHT_COMFYUI, if it is set."""


@dataclass(frozen=True, kw_only=True)
class ListModels(_Folders):
    """Tell of each model which parts are on this machine, and the command that gets what is not; and what the
    files in folders are."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FAMILY]")] = ""
    """The family whose models are looked for; all of them without."""


@dataclass(frozen=True, kw_only=True)
class VerifyModels(_Folders):
    """Read the files of models and tell which are damaged: headers, names and shapes of all tensors, and the
    hash where one is known."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[FAMILY]")] = ""
    """The family whose models are read; all of them without."""
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL]")] = ""
    """A variant's name, a folder or a single file; without one all that is on this machine."""


@dataclass(frozen=True, kw_only=True)
class DownloadModel:
    """Fetch what a model lacks, once its size and license are said; a download that was stopped goes on."""

    family: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FAMILY")]
    """The family of the model."""
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A variant's name."""
    part: tuple[str, ...] = ()
    """Only these parts: transformer, vae, text_encoder, ...; all without."""
    dry_run: bool = False
    """Only tell the size and the license."""
    offline: bool = False
    """Never use the network: refused, for that is what this does."""


@dataclass(frozen=True, kw_only=True)
class ConvertModel:
    """Write a network of a model in another form: a single file or a released folder, another number format,
    names of original files as released ones."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A single file, the folder of a part or of a whole model, or with --family a variant's name."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]
    """A file that ends in .safetensors, or a folder, which then has config.json too."""
    family: str = ""
    """Whose network it is; empty tries all."""
    part: str = ""
    """Which part it is, such as vae; of a whole model the transformer, if none is named."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format; auto keeps that of each tensor."""
    weights: Literal["auto", "full", "fp8", "fp8_scaled"] = "auto"
    """Weights of the transformer's blocks: auto leaves them as they are, full undoes 8 bits, fp8 and
    fp8_scaled round as --execution.weights does."""


ModelsLine = ListModels | VerifyModels | DownloadModel | ConvertModel
MODELS_ACTIONS: dict[str, type[ModelsLine]] = {
    "list": ListModels,
    "verify": VerifyModels,
    "download": DownloadModel,
    "convert": ConvertModel,
}
