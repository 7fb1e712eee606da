"""Caches made by processes that are killed at any moment: nothing is half there, and the next run goes on."""

import os
import random
import shutil
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from multiprocessing import active_children
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from reelwright.core.config import from_mapping
from reelwright.core.events import Event, StepDone
from reelwright.families.cogvideox.config import CogVideoXCacheLatents
from reelwright.jobs.job import run_workflow
from reelwright.workflows import cache

from .forks import FORKING
from .stopped_runs import half_built, wait_for

NUM_CLIPS = 24
ENCODING = "encode latents"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory, clip_of: Callable[[int], Path]) -> Path:
    """A folder of clips, all different."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    folder.mkdir()
    for number in range(NUM_CLIPS):
        shutil.copy(clip_of(9 + number), folder / f"clip_{number:02}.mp4")
    return folder


def make_data(folder: Path, clips: Path) -> Path:
    """The file of a data set whose cache is in `folder`."""
    file = folder / "data.toml"
    file.write_text(
        "[[datasets]]\nresolution = [32, 32]\ntarget_frames = [9]\n"
        f'video_directory = "{clips}"\ncache_directory = "{folder / "cache"}"\n'
    )
    return file


def arguments(data: Path, **values: object) -> dict[str, Any]:
    mapping = {"dataset": str(data), "execution": {"device": "cpu"}, **values}
    config = from_mapping(CogVideoXCacheLatents, mapping, "test")
    return {"family": "cogvideox", "kind": "latents", "config": config}


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, clips: Path) -> Files:
    """The files of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REELWRIGHT_CACHE", str(folder / "reelwright-cache"))
        assert run_workflow("cache", arguments(make_data(folder, clips)), ()) == 0
    files = made(folder)
    assert len(files) == NUM_CLIPS
    return files


@pytest.fixture
def data(tmp_path: Path, clips: Path) -> Path:
    return make_data(tmp_path, clips)


def paths(folder: Path) -> list[Path]:
    try:
        return sorted((folder / "cache").glob("[!.]*.safetensors"))
    except FileNotFoundError:  # a run that begins tries for a moment whether it could make the folder
        return []


def made(folder: Path) -> Files:
    return {path.name: path.read_bytes() for path in paths(folder)}


def places(folder: Path) -> dict[str, tuple[int, int]]:
    """Tells a file from another that was written over it."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in paths(folder)}


def check_whole(folder: Path, expected: Files) -> None:
    """Every file under its own name is complete and what it should be, though the run was killed."""
    for path in paths(folder):
        load_file(path)
        assert path.read_bytes() == expected[path.name]


def finish(folder: Path, data: Path, expected: Files, **values: object) -> None:
    """Run to the end; what was there stays as it is, nothing is left over, all is as it should be."""
    before = places(folder)
    assert run_workflow("cache", arguments(data, **values), ()) == 0
    assert made(folder) == expected
    assert {name: place for name, place in places(folder).items() if name in before} == before
    assert half_built(folder / "cache") == []


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if is_so():
            return
        time.sleep(0.001)
    raise AssertionError("it did not come to that")


def descendants(pid: int) -> dict[int, str]:
    """The processes that a process started, and those that they started, with their command lines."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                status = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    found = {pid}
    while new := {child for child, parent in parents.items() if parent in found} - found:
        found |= new
    return {child: _command_of(child) for child in found - {pid}}


def _command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def is_running(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def is_encoded(event: dict[str, Any]) -> bool:
    return event["event"] == "step_done" and event["stage"] == ENCODING


@pytest.fixture(scope="module")
def start_run() -> Callable[..., ForkServerProcess]:
    """Start a run in a process that need not import anything."""

    def start(data: Path, **values: object) -> ForkServerProcess:
        process = FORKING.Process(target=run_workflow, args=("cache", arguments(data, **values), ()))
        process.start()
        return process

    return start


def test_a_run_that_is_killed_again_and_again_loses_nothing(tmp_path, data, expected, start_run):
    draw = random.Random(4)
    for _ in range(6):
        target = len(paths(tmp_path)) + draw.randint(0, 4)
        process = start_run(data)
        wait_until(
            lambda target=target, process=process: len(paths(tmp_path)) >= target or not process.is_alive()
        )
        time.sleep(draw.random() / 20)
        before = places(tmp_path)
        process.kill()
        process.join()
        check_whole(tmp_path, expected)
        assert before.items() <= places(tmp_path).items()
    finish(tmp_path, data, expected)


def test_workers_end_with_the_run_that_is_killed(tmp_path, data, expected, start_run):
    process = start_run(data, processes=2)
    wait_until(lambda: bool(paths(tmp_path)))
    workers = descendants(process.pid)
    process.kill()
    process.join()
    wait_until(lambda: not any(map(is_running, workers)))
    check_whole(tmp_path, expected)
    assert len(paths(tmp_path)) < NUM_CLIPS
    finish(tmp_path, data, expected)


def test_an_interrupted_run_stops_its_workers_and_leaves_nothing_half_built(tmp_path, data, expected, start):
    process = start("cache", "latents", "cogvideox", "--dataset", data, "--processes", 2)
    wait_for(process, is_encoded)
    workers = descendants(process.pid)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not any(map(is_running, workers)))
    assert half_built(tmp_path / "cache") == []
    finish(tmp_path, data, expected)


def encoded(event: Event) -> bool:
    return isinstance(event, StepDone) and event.stage == ENCODING


def test_a_run_goes_on_when_one_of_its_workers_is_killed(tmp_path, data, expected):
    with closing(cache.run(**arguments(data, processes=2))) as events:
        for event in events:
            if encoded(event) and event.step == 1:
                worker = active_children()[0]
                worker.kill()
                worker.join()
    assert made(tmp_path) == expected
    assert half_built(tmp_path / "cache") == []
    assert active_children() == []


def test_a_ray_cluster_is_killed_and_then_loses_a_worker(tmp_path, data, expected, start_run):
    process = start_run(data, processes=2, executor="ray")
    wait_until(lambda: bool(paths(tmp_path)))
    # Ray's own agents, which touch no file, take a minute to see that they are alone.
    workers = [pid for pid, command in descendants(process.pid).items() if "Agent" not in command]
    process.kill()
    process.join()
    wait_until(lambda: not any(map(is_running, workers)))
    check_whole(tmp_path, expected)
    before = places(tmp_path)
    assert len(before) < NUM_CLIPS
    with ThreadPoolExecutor(1) as aside:
        killed = aside.submit(kill_a_task, lambda: len(paths(tmp_path)) > len(before))
        finish(tmp_path, data, expected, processes=2, executor="ray")
        assert killed.result()
    assert not [command for command in descendants(os.getpid()).values() if "ray" in command]


def kill_a_task(is_time: Callable[[], bool]) -> bool:
    """Kill a process of Ray while it encodes, as soon as it is time."""
    wait_until(is_time)
    tasks: list[int] = []

    def found() -> bool:
        commands = descendants(os.getpid())
        tasks.extend(pid for pid, command in commands.items() if "ray::_encode" in command)
        return bool(tasks)

    wait_until(found)
    os.kill(tasks[0], signal.SIGKILL)
    return True


def quiet_port() -> int:
    """A free one that systems give to nobody unasked: the ranks meet there only after all their work."""
    for port in random.sample(range(20_000, 30_000), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


def test_ranks_share_the_work(tmp_path, data, expected, start):
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(quiet_port())}
    ranks = [
        start("cache", "latents", "cogvideox", "--dataset", data, **shared, RANK=rank, LOCAL_RANK=rank)
        for rank in "01"
    ]
    said = [process.communicate() for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], said
    taken = [out.count(f'"step_done", "stage": "{ENCODING}"') for out, _ in said]
    assert sum(taken) == NUM_CLIPS
    assert min(taken) > 0
    assert made(tmp_path) == expected
