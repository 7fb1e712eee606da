"""A real ComfyUI on a free port of this machine, with these nodes and folders of its own."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx

PATIENCE = 300.0
"""Seconds that a server may take to start, and a small workflow to end, on a machine with other work."""
NODES = Path(__file__).parents[2] / "comfyui"
_ENDS = ("execution_success", "execution_error", "execution_interrupted")
_STEP = "progress"


@dataclass
class Told:
    """What a client heard while a prompt ran."""

    refusal: dict[str, Any] | None = None
    """Of a prompt that was not taken, as ComfyUI's page shows it."""
    end: str = ""
    error: dict[str, Any] = field(default_factory=dict)
    steps: list[tuple[int, int]] = field(default_factory=list)
    num_previews: int = 0
    cached: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)


class ComfyUIProcess:
    """One server."""

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        for name in ("custom_nodes", "input", "output", "models", "user", "temp"):
            (folder / name).mkdir(parents=True)
        (folder / "custom_nodes" / "reelwright").symlink_to(NODES, target_is_directory=True)
        shutil.copy(program / "input" / "example.png", folder / "input")
        self._program = program
        self._log = folder / "server.log"
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "ComfyUIProcess":
        port = _free_port()
        python = os.environ.get("REELWRIGHT_COMFYUI_PYTHON", sys.executable)
        flags = ("--cpu", "--disable-api-nodes", "--database-url", "sqlite:///:memory:")
        places = ("--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(self.folder))
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [python, "main.py", *flags, *places], cwd=self._program, stdout=log, stderr=log
            )
        self.address = f"http://127.0.0.1:{port}"
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            assert self._process.poll() is None, self.log
            try:
                httpx.get(f"{self.address}/system_stats", trust_env=False).raise_for_status()
            except httpx.HTTPError:
                time.sleep(0.2)
                continue
            return self
        raise TimeoutError(self.log)

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:]

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def get(self, path: str) -> Any:
        return httpx.get(f"{self.address}{path}", timeout=PATIENCE, trust_env=False).json()

    def post(self, path: str, content: Mapping[str, Any]) -> None:
        httpx.post(f"{self.address}{path}", json=dict(content), timeout=PATIENCE, trust_env=False)

    def run(self, prompt: Mapping[str, Any], *, cancel_at: int = 0) -> Told:
        """Send a prompt and listen to its end. cancel_at: a step after which it is interrupted."""
        with ThreadPoolExecutor(1) as thread:  # a browser may have this thread's loop
            return thread.submit(asyncio.run, self._run(prompt, cancel_at)).result()

    async def _run(self, prompt: Mapping[str, Any], cancel_at: int) -> Told:
        client, told = uuid.uuid4().hex, Told()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as session,
            session.ws_connect(f"{self.address}/ws?clientId={client}", max_msg_size=0) as socket_,
        ):
            asked = {"prompt": prompt, "client_id": client}
            async with session.post(f"{self.address}/prompt", json=asked) as answer:
                said = await answer.json()
                if answer.status != httpx.codes.OK:
                    told.refusal = said
                    return told
            async for message in socket_:
                if message.type == aiohttp.WSMsgType.BINARY:
                    told.num_previews += 1
                    continue
                heard = json.loads(message.data)
                _hear(told, heard["type"], heard["data"])
                if heard["type"] == _STEP and told.steps[-1][0] == cancel_at:
                    async with session.post(f"{self.address}/interrupt"):
                        cancel_at = 0
                if told.end:
                    break
            while not (history := await _history(session, self.address, said["prompt_id"])):
                await asyncio.sleep(0.1)
        told.outputs = history["outputs"]
        return told

    def file(self, shown: Mapping[str, str]) -> Path:
        return self.folder / "output" / shown["subfolder"] / shown["filename"]


def _hear(told: Told, kind: str, data: Mapping[str, Any]) -> None:
    if kind == _STEP:
        told.steps.append((data["value"], data["max"]))
    elif kind == "execution_cached":
        told.cached = list(data["nodes"])
    elif kind in _ENDS:
        told.end = kind.removeprefix("execution_")
        told.error = dict(data)


async def _history(session: aiohttp.ClientSession, address: str, prompt: str) -> dict[str, Any] | None:
    async with session.get(f"{address}/history/{prompt}") as answer:
        return (await answer.json()).get(prompt)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
