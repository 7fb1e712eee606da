"""Saved weights and states to the model hub, and states from it. What fails there stops no training."""

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download

# The hub's HTTP library is another one from version to version; this is its error, whichever it is.
from huggingface_hub.errors import HTTPError  # pyright: ignore[reportPrivateImportUsage]
from huggingface_hub.utils import validate_repo_id

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Event, Notice
from reelwright.protocols.train_configs import HubConfig

_FAILURES = (HTTPError, OSError, ValueError, RuntimeError)
"""What the hub's library raises for names, permissions, the network and files that are gone."""
_ON_HUB = re.compile(
    r"(?P<repository>[\w.-]+/[\w.-]+)(?:/(?P<path>[^:]+))?"
    r"(?::(?P<revision>[^:]*))?(?::(?P<kind>model|dataset|space))?"
)


def check_hub(config: HubConfig) -> None:
    """Raise ConfigError for a repository that cannot be, before anything is trained for it."""
    if not config.repository:
        return
    try:
        validate_repo_id(config.repository)
    except ValueError as error:
        raise ConfigError(
            f"hub.repository: {config.repository!r} is no name: {_first_line(error)} Write owner/name."
        ) from error


class Uploads:
    """Sends files one after the other; the repository is made with the first. Without one, does nothing."""

    def __init__(self, config: HubConfig, api: HfApi | None = None) -> None:
        self._config = config
        self._api = api or HfApi(token=config.token or None)
        self._queue: ThreadPoolExecutor | None = None
        self._sent: list[tuple[str, Future[None]]] = []
        self._is_made = False

    def send(self, path: Path, name: str, *, is_waited_for: bool = False) -> Iterator[Event]:
        """Send a file or a folder, to be called `name` there. A notice for each one that failed by now."""
        if not self._config.repository:
            return
        if self._queue is None:
            self._queue = ThreadPoolExecutor(max_workers=1, thread_name_prefix="upload")
        self._sent.append((name, self._queue.submit(self._upload, path, name)))
        if is_waited_for or not self._config.in_background:
            self.wait()
        yield from self._failures()

    def wait(self) -> None:
        """Until nothing is on its way."""
        for _, upload in self._sent:
            upload.exception()

    def finish(self) -> Iterator[Event]:
        """Wait for all, and tell which failed."""
        self.wait()
        yield from self._failures()

    def _failures(self) -> Iterator[Event]:
        """Of uploads that came to an end since this was asked last."""
        done = [each for each in self._sent if each[1].done()]
        self._sent = [each for each in self._sent if each not in done]
        for name, upload in done:
            error = upload.exception()
            if error is None:
                continue
            if not isinstance(error, _FAILURES):
                raise error
            yield Notice(
                f"hub: {name} was not uploaded to {self._config.repository}: {_first_line(error)}"
                " It is on disk; training goes on."
            )

    def _upload(self, path: Path, name: str) -> None:
        config = self._config
        where: dict[str, Any] = {"repo_id": config.repository, "repo_type": config.kind}
        if not self._is_made:
            self._api.create_repo(**where, private=not config.public, exist_ok=True)
            self._is_made = True
        there = f"{config.folder.strip('/')}/{name}".removeprefix("/")
        if path.is_dir():
            self._api.upload_folder(**where, folder_path=str(path), path_in_repo=there)
        else:
            self._api.upload_file(**where, path_or_fileobj=str(path), path_in_repo=there)


@dataclass(frozen=True, kw_only=True)
class _HubPlace:
    repository: str
    path: str
    revision: str | None
    kind: str


def find_state_folder(reference: Path, config: HubConfig, *, offline: bool) -> Path:
    """A folder on disk, or on the hub owner/name/path, with :revision and :kind after it if need be.

    What is on the hub is fetched into the cache of downloads. Raises FileError.
    """
    if reference.exists():
        return reference
    place = _parse(reference.as_posix())
    if place is None or Path(reference.parts[0]).is_dir():
        raise FileError(
            f"{reference}: there is no such folder. Give the folder of a run, one of its states, or"
            " owner/name/path[:revision[:model|dataset|space]] on the hub."
        )
    try:
        fetched = snapshot_download(
            place.repository,
            repo_type=place.kind,
            revision=place.revision,
            allow_patterns=[f"{place.path}/*"] if place.path else None,
            token=config.token or None,
            local_files_only=offline,
        )
    except _FAILURES as error:
        raise FileError(
            f"{reference}: is no folder here, and cannot be fetched from the hub: {_first_line(error)}"
            " Check the name and the network; a private repository needs `hf auth login`."
        ) from error
    folder = Path(fetched) / place.path
    if not folder.is_dir():
        raise FileError(f"{reference}: {place.repository} has no folder {place.path}. Check the path.")
    return folder


def _parse(text: str) -> _HubPlace | None:
    match = _ON_HUB.fullmatch(text)
    if match is None:
        return None
    return _HubPlace(
        repository=match["repository"],
        path=match["path"] or "",
        revision=match["revision"] or None,
        kind=match["kind"] or "model",
    )


def _first_line(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line if line.endswith(".") else f"{line}."
