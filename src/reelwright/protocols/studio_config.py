"""What the studio may be told: where it listens, whom it lets in, where it keeps things. No torch here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from annotated_types import Ge, Le

RUNS = Path("outputs")
"""Where run folders are made unless another folder is named, as by `generate`."""
QUEUE = RUNS / ".queue"
"""Where the queue is kept unless another folder is named: shared by page, REST and command line."""


@dataclass(frozen=True, kw_only=True)
class StudioConfig:
    """The studio: pages in the browser and REST, on this machine alone unless told otherwise."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    host: str = "127.0.0.1"
    """Address to listen on. Any other than this machine's own needs a token."""
    port: Annotated[int, Ge(0), Le(65535)] = 7860
    """Port to listen on; 0 takes a free one and prints it."""
    token: str = ""
    """Secret that callers must show, of 16 letters or more; $REELWRIGHT_TOKEN says it without being seen in
    the list of processes. Pages ask for it once."""
    allowed_hosts: tuple[str, ...] = ()
    """Names under which pages may call beside the address itself, such as that of a proxy in front."""

    runs: Path = RUNS
    """Folder of run folders: what is made goes there, the gallery shows what is there."""
    queue: Path = QUEUE
    """Folder of the queue, the logs of its jobs and the uploads."""
    folders: tuple[Path, ...] = ()
    """Further folders whose files jobs may name: models, LoRAs, data sets. Without them, jobs from outside
    read only runs and uploads."""
    workers: Annotated[int, Ge(0), Le(64)] = 1
    """Jobs that run at a time; 0 runs none here, for a queue that is worked on elsewhere."""
    devices: tuple[str, ...] = ()
    """GPUs to share out among the workers, as in CUDA_VISIBLE_DEVICES; none leaves the choice to each job."""
    max_upload_mb: Annotated[int, Ge(1), Le(1_000_000)] = 500
    """Largest upload in megabytes."""
    keep_uploads_hours: Annotated[int, Ge(0)] = 24
    """How long an upload that no job uses is kept; 0 keeps it for ever."""
