"""The command lines of the guide that users of another program know, as they stand there."""

import io
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from reelwright import families
from reelwright.cli.musubi import generate_video

TINY = Path(families.__file__).parents[1] / "assets" / "framepack-tiny"
SCRIPT = "python src/musubi_tuner/fpack_generate_video.py"
PLACES = {
    "dit_model": "transformer",
    "vae_model.safetensors": "vae",
    "text_encoder1": "text_encoder",
    "text_encoder2": "text_encoder_2",
    "image_encoder": "image_encoder",
    "image_encoder_model.safetensors": "image_encoder",
    "tokenizer": "tokenizer",
    "tokenizer_2": "tokenizer_2",
}
"""Names under path/to/ in the guide, and the part of the tiny model that lies there."""
PARTS = (
    *("--dit", "path/to/dit_model", "--vae", "path/to/vae_model.safetensors"),
    *("--text_encoder1", "path/to/text_encoder1", "--text_encoder2", "path/to/text_encoder2"),
    *("--image_encoder", "path/to/image_encoder"),
)
SMALL = (
    "--video_size",
    "64",
    "96",
    "--video_seconds",
    "0.6",
    "--infer_steps",
    "2",
    "--latent_window_size",
    "2",
)
"""In place of sizes of minutes; all else stays as the guide has it."""

ONE_VIDEO = rf"""{SCRIPT} \
--dit path/to/dit_model \
--vae path/to/vae_model.safetensors \
--text_encoder1 path/to/text_encoder1 \
--text_encoder2 path/to/text_encoder2 \
--image_encoder path/to/image_encoder_model.safetensors \
--image_path path/to/start_image.jpg \
--prompt "A cat walks on the grass, realistic style." \
--video_size 512 768 --video_seconds 5 --fps 30 --infer_steps 25 \
--attn_mode sdpa --fp8_scaled \
--vae_chunk_size 32 --vae_spatial_tile_sample_min_size 128 \
--save_path path/to/save/dir --output_type both \
--seed 1234 --lora_multiplier 1.0 --lora_weight path/to/lora.safetensors
"""
BATCH = f"""{SCRIPT} --from_file prompts.txt
--dit path/to/dit_model --vae path/to/vae_model.safetensors
--text_encoder1 path/to/text_encoder1 --text_encoder2 path/to/text_encoder2
--image_encoder path/to/image_encoder_model.safetensors --save_path output_directory
"""
INTERACTIVE = BATCH.replace("--from_file prompts.txt", "--interactive")
PROMPTS = """A beautiful sunset over mountains --w 832 --h 480 --f 5 --d 42 --s 20 --i path/to/start_image.jpg
A busy city street at night --w 480 --h 832 --i path/to/another_start.jpg
"""
SMALL_PROMPTS = (
    PROMPTS.replace("832", "96").replace("480", "64").replace("--f 5", "--f 0.6").replace("s 20", "s 2")
)
SECTIONS = rf"""{SCRIPT} \
--prompt "0:A dog runs towards a thrown ball, catches it, and runs back;;;1:The dog catches the ball and then runs back towards the viewer;;;2:The dog runs back towards the viewer holding the ball" \
--image_path "0:./img_start_running.png;;;1:./img_catching.png;;;2:./img_running_back.png" \
--end_image_path ./img_returned.png \
--save_path ./output \
# ... other arguments
"""  # noqa: E501 - as it stands in the guide


@pytest.fixture
def guide(reelwright, tmp_path, capsys, loaded) -> Callable[..., tuple[int, str, str]]:
    """Run a command line of the guide, with words after it, where its paths lead somewhere."""
    for name, part in PLACES.items():
        place = tmp_path / "path" / "to" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(TINY / part)
    colors = {"path/to/start_image.jpg": 40, "path/to/another_start.jpg": 90, "img_start_running.png": 120}
    colors |= {"img_catching.png": 150, "img_running_back.png": 180, "img_returned.png": 210}
    for name, color in colors.items():
        pixels = np.full((90, 140, 3), color, np.uint8)
        pixels[:, :70] //= 2
        Image.fromarray(pixels).save(tmp_path / name)
    _write_lora(tmp_path / "path" / "to" / "lora.safetensors")

    def run(line: str, *words: str) -> tuple[int, str, str]:
        given = shlex.split(line.replace("\\\n", " "), comments=True)[2:]
        capsys.readouterr()
        loaded.clear()
        code = generate_video([*given, *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def _write_lora(path: Path) -> None:
    """A LoRA for one module, by the name of the other program's trainer."""
    module = "single_transformer_blocks.0.attn.to_q"
    with safe_open(TINY / "transformer" / "diffusion_pytorch_model.safetensors", "pt") as weights:
        rows, columns = weights.get_slice(f"{module}.weight").get_shape()
    name = f"lora_unet_{module.replace('.', '_')}"
    random = torch.Generator().manual_seed(0)
    tensors = {
        f"{name}.lora_down.weight": torch.randn(4, columns, generator=random),
        f"{name}.lora_up.weight": torch.randn(rows, 4, generator=random),
        f"{name}.alpha": torch.tensor(4.0),
    }
    save_file(tensors, path)


def made(out: str) -> dict[str, list[Path]]:
    """Kind -> the files that a command says it made."""
    files: dict[str, list[Path]] = {}
    for line in out.splitlines():
        kind, _, path = line.partition(": ")
        files.setdefault(kind, []).append(Path(path))
    return files


def frames_of(path: Path) -> torch.Tensor:
    with av.open(path) as video:
        return torch.stack(
            [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in video.decode(video=0)]
        )


def latents(path: Path) -> torch.Tensor:
    return load_file(path)["latent"]


def test_the_guide_s_first_command_line_is_our_command_under_its_names(guide, reelwright):
    code, out, err = guide(ONE_VIDEO, *SMALL)
    assert code == 0, err
    assert "1 of 1 modules match" in err
    (video,), (latent,) = made(out)["video"], made(out)["latent"]
    assert video.is_relative_to("path/to/save/dir")
    assert video.stat().st_size > 0
    # 0.6 s at windows of 2 is two sections: 17 frames, five latents.
    assert latents(latent).shape == (1, 16, 5, 8, 12)
    ours = reelwright(
        *("generate", "framepack", "--run", "ours", "--model", TINY, "--direction", "backward"),
        *("--image", "path/to/start_image.jpg", "--prompt", "A cat walks on the grass, realistic style."),
        *("--height", "64", "--width", "96", "--video-seconds", "0.6", "--steps", "2", "--seed", "1234"),
        *("--latent-window-size", "2", "--lora", "path/to/lora.safetensors", "--execution.tiling"),
        *("--execution.tile-size", "128", "--format", "latent", "--execution.weights", "fp8_scaled"),
    )
    assert ours.code == 0, ours.err
    assert torch.equal(latents(Path("ours/clip-001_seed-1234.latent.safetensors")), latents(latent))


def test_the_guide_s_batch_makes_every_line_with_networks_loaded_once(guide, loaded):
    Path("prompts.txt").write_text(SMALL_PROMPTS)
    code, out, err = guide(BATCH.replace("\n", " "), *SMALL)
    assert code == 0, err
    assert [path.name[:8] for path in made(out)["video"]] == ["clip-001", "clip-002"]
    first, second = (latents(path) for path in made(out)["latent"])
    assert (first.shape[-2:], second.shape[-2:]) == ((8, 12), (12, 8))
    assert made(out)["video"][0].name == "clip-001_seed-42.mp4"
    assert len(loaded) == len(set(loaded)) == 5


def test_the_guide_s_interactive_mode_reads_the_same_lines(guide, monkeypatch, loaded):
    monkeypatch.setattr("sys.stdin", io.StringIO(SMALL_PROMPTS))
    code, out, err = guide(INTERACTIVE.replace("\n", " "), *SMALL)
    assert code == 0, err
    assert len(made(out)["video"]) == 2
    assert made(out)["video"][0].is_relative_to("output_directory")
    assert len(loaded) == len(set(loaded)) == 5


def test_the_guide_s_sections_each_have_their_prompt_and_image(guide):
    code, out, err = guide(SECTIONS, *PARTS, *SMALL, "--video_sections", "3", "--seed", "1")
    assert code == 0, err
    (video,) = made(out)["video"]
    manifest = json.loads(next((video.parent / "sections").rglob("manifest.json")).read_text())
    text = json.dumps(manifest)
    assert "The dog runs back towards the viewer holding the ball" in text
    for name in ("img_start_running.png", "img_catching.png", "img_running_back.png"):
        assert name in text
    plain = guide(
        SECTIONS, *PARTS, *SMALL, "--video_sections", "3", "--seed", "1", "--latent_paddings", "0,0,0"
    )
    assert plain[0] == 0, plain[2]
    assert not torch.equal(latents(made(plain[1])["latent"][0]), latents(made(out)["latent"][0]))


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("video", {"latent", "video", "contact_sheet"}),
        ("images", {"latent", "frames", "contact_sheet"}),
        ("latent", {"latent"}),
        ("both", {"latent", "video", "contact_sheet"}),
        ("latent_images", {"latent", "frames", "contact_sheet"}),
    ],
)
def test_every_output_type_writes_its_files(guide, kind, files):
    line = f"{SCRIPT} --prompt 'a cat' --save_path out --seed 3 --output_type {kind}"
    code, out, err = guide(line, *PARTS, *SMALL)
    assert code == 0, err
    assert set(made(out)) == files
    assert all(path.exists() for paths in made(out).values() for path in paths)


def test_single_frames_are_made_of_control_images(guide):
    line = f"{SCRIPT} --prompt 'a cat' --save_path out --output_type latent_images --video_sections 1"
    options = ["--one_frame_inference", "target_index=1,control_index=0;10,no_2x,no_4x,no_post"]
    controls = ["--control_image_path", "path/to/start_image.jpg", "img_catching.png"]
    code, out, err = guide(
        line, *PARTS, *SMALL, *options, *controls, "--image_path", "path/to/start_image.jpg"
    )
    assert code == 0, err
    assert latents(made(out)["latent"][0]).shape == (1, 16, 1, 8, 12)
    code, _, err = guide(line, *PARTS, *SMALL, "--one_frame_inference", "zero_post")
    assert code == 2
    assert "zero_post no longer exists" in err


def test_saved_latents_are_decoded_with_the_autoencoder_alone(guide, loaded):
    line = f"{SCRIPT} --prompt 'a cat' --save_path first --seed 3"
    _, out, _ = guide(line, *PARTS, *SMALL)
    (latent,), (video,) = made(out)["latent"], made(out)["video"]
    again = f"{SCRIPT} --latent_path {latent} {latent} --vae path/to/vae_model.safetensors --save_path again"
    code, out, err = guide(again)
    assert code == 0, err
    assert loaded == ["FramePackAutoencoder"] * 2
    first, second = (frames_of(path) for path in made(out)["video"])
    assert torch.equal(first, second)
    assert torch.equal(first, frames_of(video))


def test_a_merged_model_is_written_without_encoders_and_works_alone(guide, loaded):
    merge = f"{SCRIPT} --dit path/to/dit_model --lora_weight path/to/lora.safetensors"
    code, _, err = guide(merge, "--save_merged_model", "merged")
    assert code == 0, err
    assert loaded == ["FramePackTransformer"]
    line = f"{SCRIPT} --prompt 'a cat' --save_path out --seed 3"
    with_lora = guide(line, *PARTS, *SMALL, "--lora_weight", "path/to/lora.safetensors")
    merged = guide(line, *PARTS, *SMALL, "--dit", "merged")
    assert (with_lora[0], merged[0]) == (0, 0), merged[2]
    first, second = (latents(made(out)["latent"][0]) for _, out, _ in (with_lora, merged))
    assert (first - second).abs().max() < 0.02  # the merged file is rounded to half precision


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--f1", "--end_image_path", "img_returned.png"), "end_image: F1 makes sections forward"),
        (("--f1", "--latent_paddings", "0,0"), "latent_paddings: F1 makes sections forward"),
        (("--magcache_k", "3"), "--magcache_k: is for the step cache. Give --magcache_mag_ratios too"),
        (("--latent_paddings", "0,0,0,0,0"), "latent_paddings"),
        (("--image_path", "9:img_returned.png"), "image"),
        (("--one_frame_inference", "no_3x"), "no_3x is unknown"),
        (("--from_file", "a.txt", "--interactive"), "typed with --interactive"),
        (("--lora_weigth", "a"), "Did you mean --lora_weight?"),
    ],
)
def test_what_cannot_apply_is_refused_before_anything_loads(guide, loaded, words, said):
    code, _, err = guide(f"{SCRIPT} --prompt 'a cat' --save_path out", *PARTS, *SMALL, *words)
    assert code == 2
    assert said in err
    assert loaded == []
    assert not Path("out").exists()
