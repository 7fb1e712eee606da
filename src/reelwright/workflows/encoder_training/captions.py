"""The captions that text encoders learn: those of data sets, and those of a file."""

from collections.abc import Iterator
from pathlib import Path

from reelwright.core.errors import ConfigError, FileError
from reelwright.data.sources import list_sources
from reelwright.protocols.encoder_train_configs import EncoderTrainConfig
from reelwright.workflows.caching.datasets import open_datasets


def read_captions(config: EncoderTrainConfig) -> list[str]:
    """In order, as often as they are there. Raises ConfigError where there are none, FileError for what
    cannot be read."""
    if config.dataset is None and config.captions is None:
        raise ConfigError(
            "dataset: is missing. Say whose captions are learned: --dataset data.toml, or --captions FILE."
        )
    found = [*_of_datasets(config.dataset), *_of_file(config.captions)]
    if not found:
        raise ConfigError(f"captions: there are none in {config.dataset or config.captions}. Write some.")
    return found


def _of_datasets(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    for dataset in open_datasets(path).datasets:
        for listed in list_sources(dataset):
            if isinstance(listed, FileError):
                raise listed
            if listed.caption is not None and listed.caption.strip():
                yield listed.caption


def _of_file(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(
            f"{path}: cannot be read ({error}). Give a text file, a caption in each line."
        ) from error
    yield from (line.strip() for line in lines if line.strip())
