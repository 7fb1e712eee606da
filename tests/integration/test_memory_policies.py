"""Ways to need less memory for weights change no byte of what is made."""

from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from reelwright import families
from reelwright.checkpoint.rooms import Room
from reelwright.core.config import from_mapping
from reelwright.core.events import Event, StepDone
from reelwright.execution import offload
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.media.video_writer import write_mp4
from reelwright.workflows import generate as workflow

COGVIDEOX = (
    *("generate", "cogvideox", "--prompt", "a red ball", "--seed", "3", "--format", "latent"),
    *("--steps", "2", "--num-frames", "9", "--height", "64", "--width", "64", "--num-videos", "2"),
    *("--preview-every", "1"),  # a preview needs the autoencoder, between two steps of the transformer
)
FRAMEPACK = (
    *("generate", "framepack", "--prompt", "a red ball", "--seed", "3", "--format", "latent"),
    *("--steps", "1", "--height", "64", "--width", "64", "--latent-window-size", "2"),
    *("--video-sections", "2", "--no-preview-sections", "--preview-every", "0"),
)
SWAP = ("--execution.block-swap", "2")
SPARING: dict[str, tuple[str, ...]] = {
    "swap": (*SWAP, "--execution.offload"),
    "disk": (*SWAP, "--execution.swap-home", "disk", "--execution.stream-encoders"),
}


@pytest.fixture(scope="session")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of four blocks, of which two can be swapped."""
    folder = tmp_path_factory.mktemp("deep")
    write_model(folder, transformer=replace(TINY_TRANSFORMER, num_layers=4))
    return folder


@pytest.fixture
def on_device(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of networks that were brought back to the device, or sent away, in order."""
    moved: list[str] = []
    monkeypatch.setattr(offload, "move_weights", lambda network, device: moved.append(type(network).__name__))
    return moved


def _latents(folder: Path) -> list[Tensor]:
    files = sorted(folder.glob("clip-*.latent.safetensors"))
    assert files
    return [load_file(file)["latent"] for file in files]


def _events(settings: dict[str, Any], **more: Any) -> Generator[Event]:
    config = from_mapping(families.configs("cogvideox").GENERATE, {**settings, **more}, "test")
    events = workflow.run("cogvideox", config)
    assert isinstance(events, Generator)
    return events


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_the_latents_are_the_same_to_the_last_bit(
    family: str, reelwright: Callable[..., Any], tmp_path: Path, deep: Path, on_device: list[str]
) -> None:
    command = (*COGVIDEOX, "--model", deep) if family == "cogvideox" else FRAMEPACK
    for name, flags in {"plain": (), **SPARING}.items():
        # Each run has prompts to encode.
        outcome = reelwright(*command, "--run", name, *flags)
        assert outcome.code == 0, outcome.err
        # Networks take their turns, and are loaded once for all clips and sections.
        assert bool(on_device) == ("--execution.offload" in flags)
        on_device.clear()
        transformers = [loaded for loaded in outcome.loaded if "Transformer" in loaded]
        assert len(transformers) == 1
    expected = _latents(tmp_path / "plain")
    for name in SPARING:
        found = _latents(tmp_path / name)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


def test_a_run_that_is_stopped_half_way_leaves_nothing_on_the_device(
    tmp_path: Path, deep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rooms: list[Room] = []
    opened = Room.open

    def note(room: Room) -> None:
        opened(room)
        rooms.append(room)

    monkeypatch.setattr(Room, "open", note)
    settings: dict[str, Any] = {
        **{"model": str(deep), "prompt": "a red ball", "seed": 3, "format": "latent"},
        **{"steps": 3, "num_frames": 9, "height": 64, "width": 64},
    }
    run = _events(settings, run=str(tmp_path / "stopped"), execution={"block_swap": 2})
    assert any(isinstance(event, StepDone) for event in run)
    run.close()
    assert rooms
    assert not any(room.is_open for room in rooms)
    for name, execution in (("again", {"block_swap": 2}), ("plain", {})):
        assert list(_events(settings, run=str(tmp_path / name), execution=execution))
    (again,), (plain,) = _latents(tmp_path / "again"), _latents(tmp_path / "plain")
    assert torch.equal(again, plain)


def test_too_many_blocks_are_refused_before_anything_is_loaded(
    refused: Callable[..., str], deep: Path
) -> None:
    said = refused("--model", deep, "--execution.block-swap", "3", code=2)
    assert "largest number for this model is 2" in said


def test_loras_cannot_be_merged_into_a_file(
    refused: Callable[..., str], deep: Path, lora_of: Callable[..., Path]
) -> None:
    said = refused("--model", deep, *SPARING["disk"], "--lora", lora_of("cogvideox"), code=2)
    assert "--save-merged-model" in said


@pytest.mark.parametrize("family", ["cogvideox", "framepack"])
def test_captions_are_cached_the_same_with_encoders_that_come_layer_by_layer(
    family: str, reelwright: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(2):
        frames = torch.full((5, 64, 64, 3), 80 * number, dtype=torch.uint8)
        write_mp4(tmp_path / "clips" / f"{number}.mp4", [frames], fps=8)
        (tmp_path / "clips" / f"{number}.txt").write_text(f"a square numbered {number}")
    (tmp_path / "data.toml").write_text(
        '[general]\nresolution = [64, 64]\ncaption_extension = ".txt"\n[[datasets]]\n'
        'video_directory = "clips"\ncache_directory = "cache"\n'
    )
    opened: list[Room] = []
    open_room = Room.open
    monkeypatch.setattr(Room, "open", lambda room: (opened.append(room), open_room(room)))
    command = ("cache", "text", family, "--dataset", "data.toml", "--force")
    found: list[dict[str, bytes]] = []
    for flags in ((), ("--execution.stream-encoders",)):
        assert not opened
        outcome = reelwright(*command, *flags)
        assert outcome.code == 0, outcome.err
        found.append({path.name: path.read_bytes() for path in (tmp_path / "cache").glob("*.safetensors")})
    assert opened
    assert len(found[0]) == 2
    assert found[0] == found[1]
    refused = reelwright(*command, "--execution.stream-encoders", "--execution.text-weights", "fp8")
    assert refused.code == 2
    assert "nothing to round" in refused.err
