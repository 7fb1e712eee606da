"""The command line as a user meets it: in this process, or in its own where that matters."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from reelwright import families
from reelwright.checkpoint import loading
from reelwright.cli.main import main
from reelwright.families.cogvideox.config import TransformerConfig
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.media.video_writer import write_mp4
from reelwright.protocols.adapter_targets import AdapterTargets

from .forks import Fork

LAYOUTS: dict[str, TransformerConfig] = {
    "text": TINY_TRANSFORMER,
    "image": replace(TINY_TRANSFORMER, in_channels=32, use_learned_positional_embeddings=True),
    "control": replace(TINY_TRANSFORMER, in_channels=32),
    "inpaint": replace(TINY_TRANSFORMER, in_channels=33),
    "second": replace(TINY_TRANSFORMER, patch_size_t=2, patch_bias=False),
    "second-image": replace(
        TINY_TRANSFORMER, patch_size_t=2, patch_bias=False, in_channels=32, ofs_embed_dim=64
    ),
    "wide-text": replace(TINY_TRANSFORMER, text_embed_dim=96),
}
PACKED = (
    *("--steps", "2", "--height", "64", "--width", "64", "--seed", "3", "--latent-window-size", "2"),
    *("--video-sections", "3", "--no-preview-sections", "--preview-every", "0"),
)
"""A small video of three sections; each is eight frames long."""
SMALL = ("--steps", "2", "--num-frames", "9", "--height", "64", "--width", "64", "--seed", "3")


@dataclass(frozen=True)
class Outcome:
    """What one command line did."""

    code: int
    out: str
    err: str
    loaded: list[str] = field(default_factory=list[str])
    """Networks whose weights were loaded, in order; known only for commands in this process."""

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def notices(self) -> str:
        return "\n".join(line for line in self.err.splitlines() if line.startswith("note: "))


Command = Callable[..., Outcome]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The classes of the networks that get weights while the test runs."""
    names: list[str] = []
    load = loading.load_weights

    def note_and_load(model: torch.nn.Module, *arguments: Any, **named: Any) -> None:
        names.append(type(model).__name__)
        load(model, *arguments, **named)

    for module in [module for name, module in sys.modules.items() if name.startswith("reelwright.")]:
        if getattr(module, "load_weights", None) is load:
            monkeypatch.setattr(module, "load_weights", note_and_load)
    return names


@pytest.fixture
def reelwright(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], loaded: list[str]
) -> Command:
    """Run `reelwright ...` in this process, from an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Outcome:
        loaded.clear()
        capsys.readouterr()
        code = main([str(word) for word in words])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err, list(loaded))

    return run


@pytest.fixture
def generate(reelwright: Command) -> Command:
    """Run `reelwright generate` for a small clip of a red ball."""

    def run(*words: object) -> Outcome:
        return reelwright("generate", "cogvideox", *SMALL, "--prompt", "a red ball", *words)

    return run


@pytest.fixture
def packed(reelwright: Command) -> Command:
    """Run `reelwright generate framepack` for a small video of a red ball."""

    def run(*words: object) -> Outcome:
        return reelwright("generate", "framepack", *PACKED, "--prompt", "a red ball", *words)

    return run


@pytest.fixture
def latents_of(packed: Command, tmp_path: Path) -> Callable[..., torch.Tensor]:
    """The latents [1, C, T, H, W] that `packed` makes, or those in a run's folder or in a file."""
    count = itertools.count()

    def read(*words: object, at: str | Path = "") -> torch.Tensor:
        path = tmp_path / (at or f"latents-{next(count)}")
        if not at:
            outcome = packed("--format", "latent", "--run", path, *words)
            assert outcome.code == 0, outcome.err
        (file,) = path.glob("clip-*.latent.safetensors") if path.is_dir() else [path]
        return load_file(file)["latent"]

    return read


@pytest.fixture
def refused(generate: Command, tmp_path: Path) -> Callable[..., str]:
    """Expect that a command ends in an error before anything is loaded or written; returns the error."""

    def run(*words: object, code: int, command: Command = generate) -> str:
        before = sorted(tmp_path.rglob("*"))
        outcome = command(*words)
        assert outcome.code == code, outcome.err
        assert "Traceback" not in outcome.err
        assert all(line.startswith("error: ") for line in outcome.err.splitlines()), outcome.err
        assert outcome.loaded == []
        new = [path for path in sorted(tmp_path.rglob("*")) if path not in before]
        assert [path for path in new if "reelwright-cache" not in path.parts] == []
        return outcome.err

    return run


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder with a small model of a layout, written once."""
    root = tmp_path_factory.mktemp("models")

    def write(layout: str) -> Path:
        folder = root / layout
        if not folder.exists():
            write_model(folder, transformer=LAYOUTS[layout])
        return folder

    return write


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of 140 x 90 pixels in which no two corners look the same."""
    rows, columns = np.mgrid[:90, :140]
    pixels = np.stack([rows * 2, columns, rows + columns], axis=-1).astype(np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory, picture: Path) -> Callable[[int], Path]:
    """An mp4 of so many frames, 8 per second, in which the picture moves to the right."""
    root = tmp_path_factory.mktemp("clips")

    def write(num_frames: int) -> Path:
        pixels = np.asarray(Image.open(picture).crop((0, 0, 128, 80)))
        frames = np.stack([np.roll(pixels, 4 * index, axis=1) for index in range(num_frames)])
        path = root / f"{num_frames}.mp4"
        write_mp4(path, [torch.from_numpy(frames)], fps=8)
        return path

    return write


def _command_line(*words: object) -> list[str]:
    start = "import sys; from reelwright.cli.main import main; sys.exit(main())"
    return [sys.executable, "-c", start, *map(str, words)]


@pytest.fixture
def in_process(tmp_path: Path) -> Command:
    """Run `reelwright ...` in a process of its own; `limits` is called there first."""

    def run(*words: object, limits: Callable[[], None] | None = None, **variables: str) -> Outcome:
        done = subprocess.run(
            _command_line(*words),
            cwd=tmp_path,
            env={**os.environ, **variables},
            preexec_fn=limits,
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Fork]]:
    """Start `reelwright ... --json`; its events are read from stdout. Killed at the end of the test."""
    started: list[Fork] = []

    def run(*words: object, **variables: str) -> Fork:
        started.append(Fork([*map(str, words), "--json"], tmp_path, {**os.environ, **variables}))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """Name -> hash of every file that a run made for its clips, those in folders too."""

    def hash_all(run: Path) -> dict[str, str]:
        files = [file for clip in run.glob("clip-*") for file in (clip, *clip.rglob("*")) if file.is_file()]
        return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    return hash_all


def tiny_targets(family: str) -> AdapterTargets:
    return next(each for each in families.load(family).adapter_targets() if each.name.endswith("tiny"))


@pytest.fixture
def lora_of(tmp_path: Path) -> Callable[..., Path]:
    """A LoRA for all usual modules of a family's tiny model, in kohya's names."""

    def write(family: str, seed: int = 0) -> Path:
        targets = tiny_targets(family)
        random = torch.Generator().manual_seed(seed)
        tensors: dict[str, torch.Tensor] = {}
        for module in targets.usual_modules():
            rows, columns = targets.shapes[module]
            located = targets.layouts[0].key_map.locate(f"{module}.weight")
            assert located is not None
            name = "lora_unet_" + located.file_name.removesuffix(".weight").replace(".", "_")
            tensors[f"{name}.lora_down.weight"] = torch.randn(4, columns, generator=random) / 8
            tensors[f"{name}.lora_up.weight"] = torch.randn(rows, 4, generator=random) / 8
            tensors[f"{name}.alpha"] = torch.tensor(4.0)
        path = tmp_path / f"{family}-{seed}.safetensors"
        save_file(tensors, path)
        return path

    return write
