"""Control clips beside clips: encoded for the same frames and size, told by name where they differ."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from reelwright.families.cogvideox.autoencoder import CogVideoXAutoencoder
from reelwright.families.cogvideox.checkpoints import load_autoencoder, read_autoencoder_config
from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER
from reelwright.media.video_writer import write_mp4

SIZE, LENGTH = 64, 9


def clip(path: Path, num_frames: int, *, fps: float = 8, width: int = SIZE, shade: int = 0) -> None:
    """Squares that move: no two frames are alike."""
    columns = (np.arange(width) * 3 + shade) % 256
    frames = [
        np.broadcast_to(np.roll(columns, 5 * n)[None, :, None], (SIZE, width, 3)) for n in range(num_frames)
    ]
    path.parent.mkdir(exist_ok=True)
    write_mp4(path, [torch.from_numpy(np.stack(frames).astype(np.uint8))], fps=fps)


@pytest.fixture
def data(tmp_path: Path, model_of):
    """Two clips with control clips of their names, one of which begins the same and is longer."""
    for index, stem in enumerate(("ant", "bee")):
        clip(tmp_path / "clips" / f"{stem}.mp4", LENGTH, shade=40 * index)
        clip(tmp_path / "poses" / f"{stem}.mp4", LENGTH + 8 * index, shade=100 + 40 * index)
    keys = f'resolution = {SIZE}\ncache_directory = "cache"\nbatch_size = 2\n'
    folders = 'video_directory = "clips"\ncontrol_directory = "poses"\n'
    (tmp_path / "data.toml").write_text(f"[[datasets]]\n{keys}{folders}")
    return tmp_path


@pytest.fixture
def encode(reelwright, model_of, data):
    def run(*words: object, layout: str = "control"):
        model = ("--model", model_of(layout)) if layout else ()
        return reelwright("cache", "latents", "cogvideox", *model, "--dataset", "data.toml", *words)

    return run


def autoencoder(folder: Path) -> CogVideoXAutoencoder:
    class Files:
        autoencoder_path = folder / "vae"
        autoencoder = read_autoencoder_config(folder / "vae", TINY_TRANSFORMER)

    return load_autoencoder(Files(), torch.device("cpu"), torch.float32)


def pixels(path: Path) -> torch.Tensor:
    with av.open(path) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames[:LENGTH])).permute(3, 0, 1, 2)[None].float() / 127.5 - 1


def test_a_control_clip_is_encoded_as_generation_encodes_it(encode, data, model_of):
    outcome = encode("--posterior", "moments")
    assert outcome.code == 0, outcome.err
    network = autoencoder(model_of("control"))
    files = sorted((data / "cache").glob("*.safetensors"))
    assert len(files) == 2
    for path, stem in zip(files, ("ant", "bee"), strict=True):
        tensors = load_file(path)
        (key,) = [name for name in tensors if name.startswith("control_latents_3x8x8")]
        with torch.no_grad():
            expected = network.encode(pixels(data / "poses" / f"{stem}.mp4")).mean[0] * 0.7
        torch.testing.assert_close(tensors[key].float(), expected, atol=0.02, rtol=0.02)
        assert expected.std() > 0.1


def test_a_control_clip_that_changes_is_encoded_again(encode, data):
    assert encode().code == 0
    clip(data / "poses" / "bee.mp4", LENGTH, shade=7)
    assert "encoded: 1" in encode().out


def test_a_model_of_control_clips_learns_from_them(encode, data, model_of, reelwright):
    for stem in ("ant", "bee"):
        (data / "clips" / f"{stem}.txt").write_text(stem)
    model = ("--model", model_of("control"), "--dataset", "data.toml")
    assert encode().code == 0
    assert reelwright("cache", "text", "cogvideox", *model).code == 0
    outcome = reelwright("train", "cogvideox", *model, "--steps", 2, "--seed", 1, "--run", "run")
    assert outcome.code == 0, outcome.err
    changes = load_file(data / "run" / "trained.safetensors")
    assert all(tensor.any() for name, tensor in changes.items() if "lora_B" in name)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_frames": 5}, ("has 5 frames", "up to frame 9")),
        ({"num_frames": 34, "fps": 30}, ("has 30 frames per second", "8")),
        ({"num_frames": LENGTH, "width": 96}, ("is 96 x 64", "64 x 64")),
    ],
    ids=["shorter", "another rate", "another shape"],
)
def test_a_control_clip_that_does_not_fit_is_told_by_name(encode, data, wrong, said):
    clip(data / "poses" / "bee.mp4", **wrong)
    outcome = encode()
    assert outcome.code != 0
    assert f"{data / 'poses' / 'bee.mp4'}: " in outcome.err
    assert str(data / "clips" / "bee.mp4") in outcome.err
    for part in said:
        assert part in outcome.err
    assert len(list((data / "cache").glob("*.safetensors"))) == 1


def test_a_missing_control_clip_is_told_by_the_name_of_its_clip(encode, data):
    (data / "poses" / "bee.mp4").unlink()
    outcome = encode()
    assert outcome.code != 0
    assert "bee.mp4: there is no control of its name in poses" in outcome.err


def test_lines_name_their_control_clips(encode, data):
    lines = [
        f'{{"video_path": "clips/{stem}.mp4", "caption": "", "control_path": "poses/{stem}.mp4"}}'
        for stem in ("ant", "bee")
    ]
    (data / "data.jsonl").write_text("\n".join([*lines, '{"video_path": "other.mp4", "caption": ""}']))
    shutil.copy(data / "clips" / "ant.mp4", data / "other.mp4")
    keys = f'resolution = {SIZE}\nvideo_jsonl_file = "data.jsonl"\ncache_directory = "cache"\n'
    (data / "data.toml").write_text(f"[[datasets]]\n{keys}")
    outcome = encode()
    assert "other.mp4: has no control clip, which this model reads" in outcome.err
    files = list((data / "cache").glob("*.safetensors"))
    assert len(files) == 2
    assert all(any(name.startswith("control_latents") for name in load_file(path)) for path in files)


@pytest.mark.parametrize("layout", ["", "image"])
def test_models_without_room_for_control_clips_refuse_them(encode, layout):
    outcome = encode(layout=layout)
    assert outcome.code == 2
    assert "control_directory" in outcome.err
