"""Callers of a studio without workers, and jobs that came to an end without one."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from reelwright.jobs.job_record import Job
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.app import create_app
from reelwright.web.studio import Studio

ADDRESS = "http://127.0.0.1:7860"
ASKED = {"model": "cogvideox/tiny", "prompt": "a red ball rolls"}


def config_in(folder: Path, **fields: Any) -> StudioConfig:
    return StudioConfig(**{"runs": folder / "runs", "queue": folder / "queue", "workers": 0, **fields})


@contextmanager
def calling(folder: Path, **fields: Any) -> Iterator[TestClient]:
    """A caller of a studio of its own."""
    app = create_app(config_in(folder, **fields), with_pages=False)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


def studio_of(client: TestClient) -> Studio:
    return client.app.state.studio  # pyright: ignore[reportAttributeAccessIssue, reportFunctionMemberAccess]


def add_video(client: TestClient, **fields: Any) -> str:
    answer = client.post("/v1/videos", json={**ASKED, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def empty(studio: Studio) -> None:
    """Leave no job in the queue."""
    for job in studio.queue.list():
        if job.has_worker:
            studio.queue.finish(job.id, "failed")
        studio.queue.remove(job.id, files=True)


def begin(studio: Studio) -> Job:
    """The first waiting job runs from now on, though no worker does it."""
    job = studio.queue.claim("a test")
    assert job is not None
    studio.queue.folder_of(job.id).mkdir(parents=True, exist_ok=True)
    return job


def finish(studio: Studio, files: dict[str, bytes], state: str = "done") -> Job:
    """The first waiting job, as a worker would leave it: `files` is kind and suffix -> content."""
    job = begin(studio)
    assert job.run is not None
    job.run.mkdir(parents=True)
    (job.run / "recipe.toml").write_text('workflow = "generate"\n')
    made: dict[str, str] = {}
    for name, content in files.items():
        (job.run / name).write_bytes(content)
        made[name.partition(".")[0]] = str(job.run / name)
    log = studio.queue.log_of(job.id)
    log.append({"event": "clip_finished", "clip": 1, "total": 1, "files": made})
    log.append({"event": "finished", "files": [made], "seconds": 1.0, "peak_memory": 0})
    return studio.queue.finish(job.id, state, "" if state == "done" else "It could not be made.")  # pyright: ignore[reportArgumentType]


def message(answer: Any) -> str:
    """What the body of an error says."""
    return answer.json()["error"]["message"]


def png(width: int = 2, height: int = 2, *, declared: tuple[int, int] | None = None) -> bytes:
    """A gray picture with a comment; it may declare another size than it has."""
    wide, high = declared or (width, height)
    rows = b"".join(b"\0" + b"\x80" * width for _ in range(height))
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)),
        (b"tEXt", b"Comment\0a seed of 7"),
    ]
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    )
