"""Downloads from the model hub: how much they are before they begin, then file by file."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import DryRunFileInfo, constants, hf_hub_download, snapshot_download
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from reelwright.checkpoint.hub import ask_hub


@dataclass(frozen=True, kw_only=True)
class Download:
    """What is to be fetched of one repository."""

    repository: str
    revision: str
    patterns: tuple[str, ...]
    files: tuple[str, ...]
    """Those that are not here yet."""
    num_bytes: int
    """Of those."""
    cache: Path
    """Where downloads are kept."""


def plan_download(repositories: Sequence[str], patterns: Sequence[str]) -> Download:
    """Ask the hub for the first repository that can be had. Raises FileError if none can."""

    def ask(repository: str) -> Download:
        with _without_bars():
            listed = snapshot_download(repository, allow_patterns=list(patterns), dry_run=True)
        assert isinstance(listed, list)
        return _planned(repository, patterns, listed)

    return ask_hub(repositories, patterns, ask)


def fetch_file(planned: Download, file: str) -> None:
    """Fetch one file, going on where the line was cut. Raises FileError."""

    def ask(repository: str) -> str:
        with _without_bars():
            return hf_hub_download(repository, file, revision=planned.revision)

    ask_hub([planned.repository], [file], ask)


def finish_download(planned: Download) -> Path:
    """Give the revision its name in the cache, by which it is found again; returns its folder."""

    def ask(repository: str) -> Path:
        with _without_bars():
            return Path(snapshot_download(repository, allow_patterns=list(planned.patterns)))

    return ask_hub([planned.repository], planned.patterns, ask)


@contextmanager
def _without_bars() -> Generator[None]:
    """Events tell of progress, so the library does not."""
    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()


def _planned(repository: str, patterns: Sequence[str], listed: Sequence[DryRunFileInfo]) -> Download:
    wanted = [each for each in listed if each.will_download]
    return Download(
        repository=repository,
        revision=listed[0].commit_hash if listed else "",
        patterns=tuple(patterns),
        files=tuple(sorted(each.filename for each in wanted)),
        num_bytes=sum(each.file_size or 0 for each in wanted),
        cache=Path(constants.HF_HUB_CACHE),
    )
