"""The clips of data sets, as encoding cuts them, one after the other."""

from collections.abc import Iterator, Sequence
from contextlib import closing

from reelwright.core.errors import FileError, UserError
from reelwright.data.clips import cut_clips
from reelwright.data.sources import list_sources
from reelwright.protocols.caching import LatentCache
from reelwright.protocols.clips import Clip
from reelwright.protocols.datasets import DatasetConfig
from reelwright.workflows.caching.datasets import open_ledger


def clips_of(
    datasets: Sequence[DatasetConfig], latents: LatentCache
) -> Iterator[tuple[DatasetConfig, Clip | UserError]]:
    """Clip by clip; in the place of those of a source that cannot be used, what is wrong with it."""
    with closing(open_ledger()) as ledger:
        for dataset in datasets:
            rule = latents.rule(dataset)
            for listed in list_sources(dataset):
                if isinstance(listed, FileError):
                    yield dataset, listed
                    continue
                try:
                    for clip in cut_clips(listed, ledger.facts(listed), dataset, rule):
                        yield dataset, clip
                except UserError as error:
                    yield dataset, error
