"""What `cache latents` and `cache text` may be told, whatever the family. No torch here."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from reelwright.protocols.configs import AutoencodingConfig, DeviceConfig
from reelwright.protocols.policy_configs import TextWeights


@dataclass(frozen=True, kw_only=True)
class CacheTask:
    """Tell what is in the caches of data sets: files, items, bytes, groups, and what they were made with."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    dataset: Path | None = None
    """The file of data sets (TOML or JSON), or a folder of clips with captions."""


@dataclass(frozen=True, kw_only=True)
class CacheVerifyConfig(CacheTask):
    """Read every file of the caches of data sets and tell what is damaged, foreign, stale or missing."""

    repair: bool = False
    """Remove the files that are damaged or foreign, so that the next run makes them anew."""
    num_workers: Annotated[int, Ge(1)] = 4
    """Threads that read."""


@dataclass(frozen=True, kw_only=True)
class CachePruneConfig(CacheTask):
    """Remove files of the caches of data sets that belong to no item, or to clips that are gone."""

    dry_run: bool = False
    """Only tell what would be removed."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(CacheTask):
    """Whose model it is for."""

    model: str = "tiny"
    """A variant's name, a folder in the diffusers layout, or a hub id such as owner/name."""
    offline: bool = False
    """Never use the network; models must be on disk."""


@dataclass(frozen=True, kw_only=True)
class ClipsConfig(ModelConfig):
    """What decides which clips there are; families add what they need."""

    vae: Path | None = None
    """A single file with the autoencoder instead of the model's own."""


@dataclass(frozen=True, kw_only=True)
class CacheConfig(ModelConfig):
    """What encoding clips and encoding captions have in common."""

    force: bool = False
    """Encode everything again, also what is there and fits. Not with `import_from`."""
    import_from: Path | None = None
    """A folder of cache files that another program made: what fits the data sets is taken over, as made from
    these very clips, captions and encoders; the rest is encoded. It may be the cache folder itself."""
    prune: bool = False
    """At the end remove files of this kind from the cache folders that belong to no item."""
    batch_size: Annotated[int, Ge(0)] = 0
    """Items to encode together, at most those of the data set's batch; 0 takes the data set's."""
    num_workers: Annotated[int, Ge(0)] = 0
    """Threads that look at the data, and then read clips ahead of the encoder; 0 chooses."""
    processes: Annotated[int, Ge(0)] = 0
    """Processes that encode side by side on each machine; 0 is one for each GPU, or one. Not under torchrun,
    which says it."""
    executor: Literal["local", "ray"] = "local"
    """Who encodes: this machine, or the machines of a Ray cluster (pip install 'reelwright[cluster]')."""
    ray_address: str = ""
    """Of a running Ray cluster, with `executor ray` alone; empty starts one on this machine."""

    execution: DeviceConfig = field(default_factory=DeviceConfig)
    """Where the encoders run."""


@dataclass(frozen=True, kw_only=True)
class CacheLatentsConfig(ClipsConfig, CacheConfig):
    """Encode the clips of data sets to latents."""

    execution: AutoencodingConfig = field(default_factory=AutoencodingConfig)
    """How the autoencoder runs."""
    posterior: Literal["mean", "sample", "moments"] = "sample"
    """What is kept of the autoencoder's answer: the most likely latents, a draw, or mean and variance, from
    which training draws anew in each epoch."""
    seed: Annotated[int, Ge(0)] = 0
    """Where draws start; each clip has its own, which follow from this and the clip."""


@dataclass(frozen=True, kw_only=True)
class TextEncodingConfig(DeviceConfig):
    """How text encoders run."""

    text_weights: TextWeights = "full"
    """How the weights of the large text encoder are held: fp8 (scaled block by block) and int8 need half the
    memory of 16 bits."""
    stream_encoders: bool = False
    """Leave the layers of the text encoders in their files and bring them to the device one by one, anew for
    each caption."""


@dataclass(frozen=True, kw_only=True)
class CacheTextConfig(CacheConfig):
    """Encode the captions of data sets."""

    text_encoder: Path | None = None
    """A single file or folder with the text encoder instead of the model's own."""
    tokenizer: Path | None = None
    """A folder with the tokenizer instead of the model's own."""
    execution: TextEncodingConfig = field(default_factory=TextEncodingConfig)
    """How the text encoders run."""
