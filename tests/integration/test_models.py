"""`reelwright models`: the files of models found, read, fetched from a hub on loopback, and rewritten."""

import json
import shutil
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from reelwright import families
from reelwright.checkpoint import downloads, hub
from reelwright.protocols.model_folder import embedded_roots

from ..unit.released_files import framepack_transformer, sparse_safetensors
from .hub_stand_in import COMMIT, Hub, serve


def tiny(family: str) -> Path:
    return embedded_roots(families.configs(family).VARIANTS)["tiny"]


@pytest.fixture
def own_tiny(tmp_path):
    """A folder of one's own with the whole of a tiny model."""

    def copy(family: str, name: str = "mine") -> Path:
        return shutil.copytree(tiny(family), tmp_path / name)

    return copy


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of downloads."""
    folder = tmp_path / "hub-cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def online(cache, monkeypatch):
    """A hub on loopback with the tiny models under released names, which may be asked."""

    def files(family: str, *parts: str) -> dict[str, bytes]:
        root = tiny(family)
        found = (path for path in root.rglob("*") if path.is_file())
        names = {path.relative_to(root).as_posix(): path.read_bytes() for path in found}
        return {name: data for name, data in names.items() if not parts or name.split("/")[0] in parts}

    packed = files("framepack", "transformer")
    stand_in = Hub(
        {
            "THUDM/CogVideoX-2b": files("cogvideox"),
            "lllyasviel/FramePackI2V_HY": {Path(name).name: data for name, data in packed.items()},
            "hunyuanvideo-community/HunyuanVideo": files("framepack"),
            "lllyasviel/flux_redux_bfl": files("framepack", "image_encoder"),
        }
    )
    with serve(stand_in) as running:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        whole = partial(huggingface_hub.snapshot_download, endpoint=running.url)
        monkeypatch.setattr(hub, "snapshot_download", whole)
        monkeypatch.setattr(downloads, "snapshot_download", whole)
        single = partial(huggingface_hub.hf_hub_download, endpoint=running.url)
        monkeypatch.setattr(downloads, "hf_hub_download", single)
        yield running


def facts_of(outcome) -> list[dict[str, str]]:
    return [event["facts"] for event in outcome.events if event["event"] == "facts"]


def findings_of(outcome) -> list[dict[str, str]]:
    return [event for event in outcome.events if event["event"] == "item_finding"]


def test_every_released_model_is_listed_with_what_gets_it(reelwright, cache):
    listed = {each["model"]: each for each in facts_of(reelwright("models", "list", "--json"))}
    names = [
        f"{family} {each.name}" for family in families.names() for each in families.configs(family).VARIANTS
    ]
    assert list(listed) == names
    assert listed["cogvideox tiny"]["transformer"] == str(tiny("cogvideox") / "transformer")
    assert listed["cogvideox tiny"]["use it"] == "reelwright generate cogvideox --model tiny"
    released = listed["framepack f1"]
    assert released["license"] == "Tencent Hunyuan Community License"
    assert released["image_encoder"] == "missing (lllyasviel/flux_redux_bfl)"
    assert released["get it"] == "reelwright models download framepack f1"


def test_what_is_fetched_is_what_the_model_needs_and_generates(reelwright, online, generate, cache):
    outcome = reelwright("models", "download", "cogvideox", "2b", "--json")
    assert outcome.code == 0, outcome.err
    said, done = facts_of(outcome)
    # Of the two organizations that had it, the hub knows one.
    assert said["repository"] == "THUDM/CogVideoX-2b"
    assert said["license"] == "Apache-2.0"
    assert said["size"].endswith("MB in 10 files")
    assert said["parts"] == "transformer, vae, text_encoder, tokenizer, scheduler, index"
    assert done["folder"] == str(cache / "models--THUDM--CogVideoX-2b" / "snapshots" / COMMIT)
    (told,) = [
        each for each in facts_of(reelwright("models", "list", "--json")) if each["model"][-2:] == "2b"
    ]
    assert told["vae"].endswith(f"/vae (revision {COMMIT[:12]})")
    again = reelwright("models", "download", "cogvideox", "2b", "--json")
    assert facts_of(again) == [{"model": "cogvideox 2b", "missing": "nothing"}]
    assert generate("--model", "2b", "--offline", "--steps", "1", "--format", "latent").code == 0


def test_a_model_of_three_repositories_is_fetched_from_all_and_verified_by_hash(reelwright, online):
    assert reelwright("models", "download", "framepack", "base", "--part", "vae").code == 0
    assert {name.split("/")[0] for name, _ in online.sent} == {"vae"}
    outcome = reelwright("models", "download", "framepack", "base", "--json")
    assert outcome.code == 0, outcome.err
    said = facts_of(outcome)[:3]
    assert [each["repository"] for each in said] == [
        "lllyasviel/FramePackI2V_HY",
        "hunyuanvideo-community/HunyuanVideo",
        "lllyasviel/flux_redux_bfl",
    ]
    assert said[1]["license"] == "Tencent Hunyuan Community License; its own: see the repository"
    assert [name for name, _ in online.sent if name.startswith("vae/")] == [
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
    ]
    verified = reelwright("models", "verify", "framepack", "base", "--json")
    assert verified.code == 0, verified.err
    told = facts_of(verified)[0]
    assert told["transformer"].endswith("in 2 files; the hash of 2 is right")
    assert told["tokenizer_2"].startswith("sound: ")


def test_a_download_that_was_cut_goes_on_where_it_stopped(reelwright, online, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 10_000)
    online.breaks_after = 100_000
    outcome = reelwright("models", "download", "cogvideox", "2b", "--part", "vae")
    assert outcome.code == 1
    assert outcome.err.splitlines()[-1].startswith("error: Check the name and the network")
    # The library asked for the rest again and again; the hub had nothing more.
    assert ("vae/diffusion_pytorch_model.safetensors", 100_000) in online.sent
    listed = facts_of(reelwright("models", "list", "cogvideox", "--json"))[1]
    assert listed["vae"] == "missing: no weights in vae (THUDM/CogVideoX-2b)"
    online.breaks_after = 0
    before = len(online.sent)
    assert reelwright("models", "download", "cogvideox", "2b", "--part", "vae").code == 0
    assert [name for name, _ in online.sent[before:]] == ["vae/diffusion_pytorch_model.safetensors"]
    assert reelwright("models", "verify", "cogvideox", "2b").code == 0


def test_a_size_can_be_asked_for_and_offline_is_refused(reelwright, online, cache):
    outcome = reelwright("models", "download", "cogvideox", "2b", "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    assert online.sent == []
    refused = reelwright("models", "download", "cogvideox", "2b", "--offline")
    assert refused.code == 2
    assert "a download needs the network" in refused.err
    unknown = reelwright("models", "download", "cogvideox", "2b", "--part", "veA")
    assert "Did you mean vae?" in unknown.err


def test_damage_is_found_in_headers_shapes_and_content(reelwright, online, own_tiny, tmp_path):
    cut = own_tiny("cogvideox", "cut")
    weights = cut / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    tensors = load_file(cut / "transformer" / "diffusion_pytorch_model.safetensors")
    tensors["proj_out.bias"] = torch.zeros(3)
    save_file(tensors, cut / "transformer" / "diffusion_pytorch_model.safetensors")
    outcome = reelwright("models", "verify", "cogvideox", cut, "--json")
    assert outcome.code == 1
    found = {each["kind"]: each["message"] for each in findings_of(outcome)}
    assert set(found) == {"vae", "transformer"}
    assert "1,000 bytes are missing" in found["vae"]
    assert "proj_out.bias is [3]" in found["transformer"]
    assert facts_of(outcome)[0]["text_encoder"].startswith("sound: ")
    reelwright("models", "download", "cogvideox", "2b")
    (stored,) = (Path(huggingface_hub.constants.HF_HUB_CACHE)).rglob("tokenizer/spiece.model")
    content = bytearray(stored.read_bytes())
    content[-1] ^= 1
    stored.resolve().write_bytes(content)
    outcome = reelwright("models", "verify", "cogvideox", "2b", "--json")
    assert outcome.code == 1
    assert any("its content is not what it was" in each["message"] for each in findings_of(outcome))


def test_files_and_models_in_the_folders_of_comfyui_are_told_apart(reelwright, own_tiny, lora_of, tmp_path):
    models = tmp_path / "ComfyUI" / "models"
    elsewhere = tmp_path / "shared"
    for folder in ("vae", "loras", "diffusion_models", "CogVideo"):
        (models / folder).mkdir(parents=True)
    (elsewhere / "encoders").mkdir(parents=True)
    shutil.copy(lora_of("framepack"), models / "loras" / "dance.safetensors")
    packed = models / "diffusion_models" / "packed.safetensors"
    sparse_safetensors(packed, framepack_transformer())
    shutil.copy(
        tiny("cogvideox") / "text_encoder" / "model.safetensors", elsewhere / "encoders" / "t5.safetensors"
    )
    (models / "vae" / "broken.safetensors").write_bytes(b"<!doctype html>")
    save_file({"a": torch.zeros(1)}, models / "vae" / "strange.safetensors")
    own_tiny("cogvideox", "ComfyUI/models/CogVideo/whole")
    extra = f"shared:\n    base_path: {elsewhere}\n    text_encoders: |\n        encoders\n        gone\n"
    (tmp_path / "ComfyUI" / "extra_model_paths.yaml").write_text(extra)
    outcome = reelwright("models", "list", "--comfyui", tmp_path / "ComfyUI", "--json")
    assert outcome.code == 0, outcome.err
    files = {Path(each["file"]).name: each for each in facts_of(outcome) if "file" in each}
    assert {name: each["is"] for name, each in files.items()} == {
        "dance.safetensors": "lora of framepack FramePack tiny",
        "packed.safetensors": "transformer of framepack",
        "t5.safetensors": "text_encoder of cogvideox",
        "strange.safetensors": "nothing that a family here knows",
    }
    assert files["packed.safetensors"]["use it"].startswith("reelwright generate framepack --dit ")
    assert [Path(each["item"]).name for each in findings_of(outcome)] == ["broken.safetensors"]
    whole = [each for each in facts_of(outcome) if each.get("model", "").endswith("whole")]
    assert [each["use it"].split()[2] for each in whole] == ["cogvideox"]


@pytest.mark.parametrize(
    ("family", "part"),
    [
        *(("cogvideox", part) for part in ("transformer", "vae", "text_encoder")),
        *(
            ("framepack", part)
            for part in ("transformer", "vae", "text_encoder", "text_encoder_2", "image_encoder")
        ),
    ],
)
def test_a_folder_becomes_a_file_and_a_folder_again_with_the_same_numbers(reelwright, tmp_path, family, part):
    source = tiny(family) / part
    assert reelwright("models", "convert", source, "one.safetensors", "--part", part).code == 0
    # The tiny models' heads are of no released size, which their config.json alone tells.
    (tmp_path / "one").mkdir()
    stem = "model" if "encoder" in part else "diffusion_pytorch_model"
    shutil.copy("one.safetensors", tmp_path / "one" / f"{stem}.safetensors")
    shutil.copy(source / "config.json", tmp_path / "one")
    outcome = reelwright("models", "convert", "one", "folder", "--part", part)
    assert outcome.code == 0, outcome.err
    original, single = load_file(source / f"{stem}.safetensors"), load_file("one.safetensors")
    assert {name: (t.dtype, t.sum()) for name, t in single.items()} == {
        name: (t.dtype, t.sum()) for name, t in original.items()
    }
    again = load_file(tmp_path / "folder" / f"{stem}.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in original.items())
    whole = shutil.copytree(tiny(family), tmp_path / "whole")
    shutil.rmtree(whole / part)
    shutil.copytree(tmp_path / "folder", whole / part)
    assert reelwright("models", "verify", family, whole).code == 0


def test_eight_bits_are_written_as_save_merged_model_writes_them_and_undone(reelwright, tmp_path):
    source = tiny("framepack") / "transformer"
    words = ("generate", "framepack", "--dit", source, "--execution.weights", "fp8_scaled")
    assert reelwright(*words, "--save-merged-model", "merged.safetensors").code == 0
    assert reelwright("models", "convert", source, "fp8.safetensors", "--weights", "fp8_scaled").code == 0
    merged, converted = load_file("merged.safetensors"), load_file("fp8.safetensors")
    assert merged.keys() == converted.keys()
    assert {t.dtype for t in converted.values()} >= {torch.float8_e4m3fn}
    for name, tensor in converted.items():
        assert torch.equal(tensor.float(), merged[name].float()), name
    (tmp_path / "fp8").mkdir()
    shutil.copy("fp8.safetensors", tmp_path / "fp8" / "diffusion_pytorch_model.safetensors")
    shutil.copy(source / "config.json", tmp_path / "fp8")
    outcome = reelwright("models", "convert", "fp8", "full", "--weights", "full", "--dtype", "float32")
    assert outcome.code == 0, outcome.err
    full = load_file(tmp_path / "full" / "diffusion_pytorch_model.safetensors")
    original = load_file(source / "diffusion_pytorch_model.safetensors")
    assert {t.dtype for t in full.values()} == {torch.float32}
    for name, tensor in original.items():
        assert torch.allclose(full[name], tensor.float(), rtol=0.07, atol=0.01), name
    told, before = (json.loads((each / "config.json").read_text()) for each in (tmp_path / "full", source))
    assert {key: told[key] for key in before if not key.startswith("_")} == {
        key: value for key, value in before.items() if not key.startswith("_")
    }


def test_what_cannot_be_converted_is_refused_before_anything_is_written(reelwright, lora_of, tmp_path, cache):
    source = tiny("cogvideox")
    save_file({"a": torch.zeros(1)}, tmp_path / "strange.safetensors")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_text("")
    single = tmp_path / "vae.safetensors"
    shutil.copy(source / "vae" / "diffusion_pytorch_model.safetensors", single)
    for words, message in (
        ((source, "out", "--part", "vae", "--weights", "fp8"), "programs expect no vae in fp8"),
        ((lora_of("cogvideox"), "out"), "Use `reelwright lora convert`"),
        ((tmp_path / "strange.safetensors", "out"), "no family here knows its tensors"),
        ((source, "there"), "is there already"),
        (("2b", "out", "--family", "cogvideox"), "Get it: reelwright models download cogvideox 2b"),
        ((source, "out", "--dtype", "float8"), "float8"),
    ):
        outcome = reelwright("models", "convert", *words)
        assert outcome.code in (1, 2), words
        assert message in outcome.err
        assert not (tmp_path / "out").exists()


def test_a_lora_tells_its_own_hash(reelwright, lora_of, tmp_path):
    reelwright("lora", "convert", lora_of("cogvideox"), "told.safetensors")
    outcome = reelwright("models", "verify", "cogvideox", "told.safetensors", "--json")
    assert facts_of(outcome)[0]["hash"] == "right"
    content = bytearray((tmp_path / "told.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "told.safetensors").write_bytes(content)
    assert reelwright("models", "verify", "cogvideox", "told.safetensors").code == 1
