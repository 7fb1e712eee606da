"""The data sets of a file, with what each family knows of them and the folder of each one's cache."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from reelwright import families
from reelwright.core.config import validate
from reelwright.core.errors import ConfigError
from reelwright.core.locations import is_url, join
from reelwright.core.paths import cache_folder
from reelwright.data.clips import check_settings
from reelwright.data.dataset_file import read_dataset_file
from reelwright.data.media_facts import MediaLedger
from reelwright.protocols.cache_configs import ClipsConfig
from reelwright.protocols.caching import Caching, LatentCache
from reelwright.protocols.datasets import DatasetConfig, DatasetFile

_OWN_FOLDER = "reelwright-cache"


def caching_of(family: str) -> Caching:
    """How a family makes caches. Raises ConfigError if it makes none."""
    caching = families.load(family).caching
    if caching is None:
        raise ConfigError(f"{family}: this family has no caches. Its models are for generation alone.")
    return caching


def latents_of_clips(family: str, clips: ClipsConfig) -> LatentCache:
    """How the clips would be encoded, by a family's defaults where `clips` says no more. Raises UserError."""
    schema = families.configs(family).CACHE_LATENTS
    config = clips if isinstance(clips, schema) else schema(**vars(clips))
    return caching_of(family).locate_latents(validate(config, "clips"))


def open_datasets(path: Path | None, overrides: Mapping[str, object] | None = None) -> DatasetFile:
    """Read a file of data sets, or one folder of data. Raises ConfigError, also for shared cache folders."""
    if path is None:
        raise ConfigError("dataset: is missing. Give a file of data sets, or a folder: --dataset data.toml")
    known = {name: getattr(families.configs(name), "DATASET_KEYS", None) for name in families.names()}
    keys = {name: schema for name, schema in known.items() if schema is not None}
    datasets = read_dataset_file(path, keys, overrides or {})
    _check_folders(datasets)
    return datasets


def check_datasets(latents: LatentCache, datasets: Iterable[DatasetConfig]) -> None:
    """Raise ConfigError for settings of data sets that the family cannot follow, before media are read."""
    for dataset in datasets:
        check_settings(dataset, latents.rule(dataset))


def folder_of(dataset: DatasetConfig) -> str:
    """Where the cache of a data set goes: what it says, else beside its media."""
    if dataset.cache_directory is not None:
        return dataset.cache_directory
    own = dataset.image_directory or dataset.video_directory
    if own is not None:
        return own
    origin = dataset.origin
    if is_url(origin):
        return join(origin, _OWN_FOLDER)
    path = Path(origin)
    return str(path / _OWN_FOLDER if path.is_dir() else path.with_name(f"{path.stem}-cache"))


def open_ledger() -> MediaLedger:
    """What is known of media files that were looked at before."""
    return MediaLedger(cache_folder() / "media.sqlite")


def absolute(location: str) -> str:
    """A location that means the same in any process on any machine with the same disks."""
    return location if is_url(location) else str(Path(location).absolute())


def _check_folders(datasets: DatasetFile) -> None:
    owners: dict[str, DatasetConfig] = {}
    for dataset in datasets.datasets:
        folder = absolute(folder_of(dataset))
        if folder in owners:
            raise ConfigError(
                f"{datasets.path}: {owners[folder].origin} and {dataset.origin} have the same cache folder,"
                f" {folder}, where their files would be mixed. Give each its own cache_directory."
            )
        owners[folder] = dataset
