"""A real studio in a process of its own, called over HTTP, with workers that make real clips."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from reelwright.jobs.dispatcher import Dispatcher
from reelwright.jobs.job_record import FINAL

from ..e2e.studio_process import PATIENCE, StudioProcess

ROOT = Path(__file__).parents[2]
LIMIT_MB = 2


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StudioProcess]:
    """A studio in which jobs wait until somebody works on its queue."""
    more = ("--max-upload-mb", str(LIMIT_MB), "--workers", "0")
    studio = StudioProcess(tmp_path_factory.mktemp("studio"), *more).start()
    yield studio
    studio.stop()


@pytest.fixture
def busy(studio: StudioProcess) -> Iterator[StudioProcess]:
    """The same, with a worker."""
    studio.cancel_all()
    dispatcher = Dispatcher(studio.jobs())
    dispatcher.start()
    yield studio
    studio.cancel_all()
    dispatcher.stop()


@contextlib.contextmanager
def calling(studio: StudioProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=studio.address, timeout=PATIENCE) as client:
        yield client


def add_video(studio: StudioProcess) -> str:
    with calling(studio) as client:
        return client.post("/v1/videos", json={"model": "cogvideox"}).json()["id"]


def wait_until(is_so: Callable[[], bool]) -> None:
    """Look until it is so; a loaded machine gets all the time it needs."""
    until = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < until, "it never came to be so"
        time.sleep(0.05)


def connections(studio: StudioProcess) -> int:
    """How many callers the studio has."""
    found = psutil.Process(studio.pid).net_connections(kind="tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED for each in found)


def raw(studio: StudioProcess, method: str, path: str, *headers: str) -> socket.socket:
    """A caller that sends the head of a request, and whatever else it likes."""
    host, port = str(urlsplit(studio.address).hostname), int(urlsplit(studio.address).port or 0)
    caller = socket.create_connection((host, port), timeout=PATIENCE)
    lines = (f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", "")
    caller.sendall("\r\n".join(lines).encode())
    return caller


def test_the_example_makes_a_video_over_rest(busy: StudioProcess, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "rest_client.py", busy.address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "denoise: step 4 of 4" in done.stdout
    clip = (tmp_path / "rest.mp4").read_bytes()
    assert clip[4:8] == b"ftyp"
    with calling(busy) as client:
        video = client.get("/v1/videos").json()["data"][0]
        assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
        path = f"/v1/videos/{video['id']}/content"
        part = client.get(path, headers={"range": "bytes=10-29"})
        assert (part.status_code, part.content) == (206, clip[10:30])
        assert client.get(path, params={"variant": "thumbnail"}).content[:4] == b"\x89PNG"
        deleted = client.delete(f"/v1/videos/{video['id']}").json()
    assert (deleted["deleted"], list(busy.runs.glob("*/*.mp4"))) == (True, [])


def test_callers_who_leave_in_the_middle_of_a_stream_are_forgotten(
    studio: StudioProcess,
):
    video = add_video(studio)
    callers = [raw(studio, "GET", f"/v1/videos/{video}/events") for _ in range(30)]
    for caller in callers:
        assert caller.recv(12) == b"HTTP/1.1 200"
    assert connections(studio) == 30
    for caller in callers:
        caller.close()
    wait_until(lambda: connections(studio) == 0)


def test_callers_who_leave_in_the_middle_of_an_upload_leave_nothing(studio: StudioProcess):
    before = {path.name for path in (studio.queue / "uploads").iterdir()}
    kind = "Content-Type: multipart/form-data; boundary=b"
    for _ in range(5):
        caller = raw(studio, "POST", "/v1/uploads", kind, "Content-Length: 1000000")
        caller.sendall(
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"\0" * 9999
        )
        caller.close()
    wait_until(lambda: connections(studio) == 0)
    assert {path.name for path in (studio.queue / "uploads").iterdir()} == before


def test_two_gigabytes_never_reach_the_disk(studio: StudioProcess):
    """Sent without a length: the answer comes, and the door is shut, soon after the limit."""
    kind = "Content-Type: multipart/form-data; boundary=b"
    caller = raw(studio, "POST", "/v1/uploads", kind, "Transfer-Encoding: chunked")
    piece, sent = b"\0" * 100_000, 0
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\0\0\0\x18ftypmp42'
    with contextlib.suppress(OSError):
        caller.sendall(f"{len(head):x}\r\n".encode() + head + b"\r\n")
        while sent < 2_000_000_000:
            caller.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            sent += len(piece)
    assert sent < 50_000_000
    with contextlib.suppress(OSError):
        assert b"413" in caller.recv(100)
    caller.close()
    assert all(path.stat().st_size < LIMIT_MB * 10**6 for path in (studio.queue / "uploads").iterdir())


def test_fifty_callers_at_once_while_a_worker_works(busy: StudioProcess):
    """Each adds a job and takes it back, or not: each comes to one end, and says so at most once."""
    kept = range(0, 50, 25)

    def call(number: int) -> str:
        with calling(busy) as caller:
            work = {"workflow": "models", "options": {"action": "list"}, "title": f"{number}"}
            job = caller.post("/v1/jobs", json=work).json()["id"]
            if number not in kept:
                assert caller.post(f"/v1/jobs/{job}/cancel").status_code in (200, 409)
        return job

    with ThreadPoolExecutor(50) as pool:
        added = list(pool.map(call, range(50)))
    queue = busy.jobs()
    wait_until(lambda: all(queue.get(job).is_final for job in added))
    states = [queue.get(job).state for job in added]
    assert len(set(added)) == 50
    assert set(states) <= {"done", "cancelled"}
    assert [states[number] for number in kept] == ["done", "done"]
    for job, state in zip(added, states, strict=True):
        told = [event["state"] for event in queue.events(job) if event["event"] == "job"]
        ends = [each for each in told if each in FINAL]
        assert ends == [state] or (ends == [] and state == "cancelled")


def test_a_studio_that_is_told_to_stop_ends_well_though_callers_listen(studio: StudioProcess):
    video = add_video(studio)
    listener = raw(studio, "GET", f"/v1/videos/{video}/events")
    assert listener.recv(12) == b"HTTP/1.1 200"
    assert studio.stop() == 0
    listener.close()
    assert "Traceback" not in studio.log()
