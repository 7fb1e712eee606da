"""Every output can be made again from itself alone, or says why not."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from reelwright.families.cogvideox.tiny import TINY_TRANSFORMER, write_model
from reelwright.workflows.clips import planning

STEM = "clip-001_seed-3"


@pytest.mark.parametrize("name", [f"{STEM}.mp4", f"{STEM}.sheet.png", f"{STEM}.latent.safetensors"])
def test_each_file_of_a_clip_makes_all_of_them_again(generate, reelwright, tmp_path, digests, name):
    generate("--run", "made", "--crf", "30", "--guidance-scale", "3")
    outcome = reelwright("replay", f"made/{name}", "--run", "again")
    assert outcome.code == 0, outcome.err
    assert digests(tmp_path / "made") == digests(tmp_path / "again")


def test_a_folder_of_frames_makes_itself_again(generate, reelwright, tmp_path, digests):
    generate("--run", "made", "--format", "png")
    assert reelwright("replay", f"made/{STEM}", "--run", "again").code == 0
    assert reelwright("replay", f"made/{STEM}/frame_00004.png", "--run", "third").code == 0
    assert digests(tmp_path / "made") == digests(tmp_path / "again") == digests(tmp_path / "third")
    assert len(digests(tmp_path / "made")) == 9 + 2


def test_without_metadata_no_file_tells_how_it_was_made(generate, refused, reelwright, tmp_path):
    generate("--run", "mp4", "--no-metadata")
    generate("--run", "png", "--no-metadata", "--format", "png")
    files = [
        f
        for run in ("mp4", "png")
        for f in (tmp_path / run).rglob("*")
        if f.suffix in (".mp4", ".png", ".safetensors")
    ]
    assert len(files) == 3 + 9 + 2
    for file in files:
        content = file.read_bytes()
        words = (b"red ball", b"tiny", b"cogvideox", b"CogVideoX", b"reelwright", b"Reelwright", b"torch")
        assert not any(word in content for word in words)
        said = refused("replay", file, code=1, command=reelwright)
        assert "carries no record" in said
        assert "--no-metadata" in said


@pytest.mark.parametrize(
    "name", ["missing.mp4", "notes.txt", "notes.png", "empty.mp4", "plain.png", "folder"]
)
def test_what_is_no_output_is_refused(reelwright, refused, tmp_path, picture, name):
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "notes.png").write_text("notes")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    shutil.copy(picture, tmp_path / "plain.png")
    assert name in refused("replay", name, code=1, command=reelwright)


@pytest.fixture
def image_clip(reelwright, tmp_path, model_of, picture):
    """A clip made from start.png with the model in the folder `model`."""
    shutil.copytree(model_of("image"), tmp_path / "model")
    shutil.copy(picture, tmp_path / "start.png")
    outcome = reelwright(
        *("generate", "cogvideox", "--model", "./model", "--image", "start.png", "--prompt", "a red ball"),
        *("--steps", "2", "--num-frames", "9", "--seed", "3", "--run", "made"),
    )
    assert outcome.code == 0, outcome.err
    return f"made/{STEM}.mp4"


def test_an_image_that_was_moved_can_be_named(image_clip, reelwright, refused, tmp_path, digests):
    (tmp_path / "start.png").rename(tmp_path / "moved.png")
    assert "start.png: there is no such file" in refused("replay", image_clip, code=1, command=reelwright)
    assert reelwright("replay", image_clip, "--image", "moved.png", "--run", "again").code == 0
    assert digests(tmp_path / "made") == digests(tmp_path / "again")


def test_a_model_that_was_moved_can_be_named(image_clip, reelwright, refused, tmp_path, digests):
    (tmp_path / "model").rename(tmp_path / "elsewhere")
    assert "model: there is no such model" in refused("replay", image_clip, code=1, command=reelwright)
    assert reelwright("replay", image_clip, "--model", "./elsewhere", "--run", "again").code == 0
    assert digests(tmp_path / "made") == digests(tmp_path / "again")


def test_an_image_that_was_changed_is_refused(image_clip, reelwright, refused, tmp_path):
    Image.open(tmp_path / "start.png").rotate(90).save(tmp_path / "start.png")
    said = refused("replay", image_clip, code=1, command=reelwright)
    assert "start.png is not the file that was used then" in said
    assert "--image" in said


def test_other_weights_are_refused(image_clip, reelwright, refused, tmp_path, model_of):
    other = replace(TINY_TRANSFORMER, in_channels=32, use_learned_positional_embeddings=True)
    write_model(tmp_path / "other", transformer=other, seed=1)
    for part in ("transformer", "vae"):
        shutil.rmtree(tmp_path / "model" / part)
        shutil.copytree(tmp_path / "other" / part, tmp_path / "model" / part)
        said = refused("replay", image_clip, code=1, command=reelwright)
        assert f"{part}: these are other weights" in said
        shutil.rmtree(tmp_path / "model" / part)
        shutil.copytree(model_of("image") / part, tmp_path / "model" / part)


def test_other_settings_beside_the_same_weights_are_refused(image_clip, reelwright, refused, tmp_path):
    path = tmp_path / "model" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "beta_end": 0.013}))
    assert "scheduler: " in refused("replay", image_clip, code=1, command=reelwright)


def test_other_versions_of_libraries_are_told(generate, reelwright, tmp_path, monkeypatch):
    generate("--run", "made")
    monkeypatch.setattr(planning, "library_versions", lambda: {"torch": "9.9"})
    outcome = reelwright("replay", f"made/{STEM}.mp4", "--run", "again")
    assert outcome.code == 0
    assert "Other versions than then" in outcome.notices
    assert "-> 9.9" in outcome.notices
