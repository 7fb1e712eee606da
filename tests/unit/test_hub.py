"""From a model's name to its folder, with a cache of downloads built by hand and no network."""

import json

import huggingface_hub
import pytest

from reelwright.checkpoint import hub
from reelwright.checkpoint.hub import find_model
from reelwright.core.errors import FileError

PATTERNS = ("transformer/*", "vae/*.safetensors", "model_index.json")
FILES = (
    *("transformer/config.json", "transformer/diffusion_pytorch_model.safetensors"),
    *("vae/diffusion_pytorch_model.safetensors", "model_index.json"),
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of our own; whatever would use the network fails as it does without one."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


def put(cache, repository, files=FILES, commit="a" * 40):
    """Files as the hub's own program stores them: blobs, and links to them in a snapshot."""
    root = cache / f"models--{repository.replace('/', '--')}"
    snapshot = root / "snapshots" / commit
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "blobs").mkdir()
    for number, name in enumerate(files):
        (root / "blobs" / str(number)).write_text("content")
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(root / "blobs" / str(number))
    return snapshot


def refuse_downloads(monkeypatch, found=None):
    """The hub as `found` describes it; returns the ids that were asked of it."""
    real, asked = hub.snapshot_download, []

    def snapshot_download(repository, *, local_files_only=False, **options):
        if local_files_only:
            return real(repository, local_files_only=True, **options)
        asked.append(repository)
        if repository in (found or {}):
            return str(found[repository])
        raise ConnectionError("no route to host\nlong explanation")

    monkeypatch.setattr(hub, "snapshot_download", snapshot_download)
    return asked


def test_a_folder_is_itself(tmp_path):
    (tmp_path / "model").mkdir()
    assert find_model(tmp_path / "model") == tmp_path / "model"
    assert find_model("model").samefile(tmp_path / "model")


def test_a_complete_download_is_found_without_asking_the_network(cache, monkeypatch):
    asked = refuse_downloads(monkeypatch)
    snapshot = put(cache, "owner/name")
    assert find_model("owner/name", patterns=PATTERNS) == snapshot
    assert find_model("owner/name", patterns=PATTERNS, offline=True) == snapshot
    assert asked == []


def test_the_first_repository_on_this_machine_is_taken(cache, monkeypatch):
    asked = refuse_downloads(monkeypatch)
    snapshot = put(cache, "old/name")
    assert find_model("2b", repositories=("new/name", "old/name"), patterns=PATTERNS) == snapshot
    assert asked == []


def test_an_incomplete_download_is_continued(cache, monkeypatch, tmp_path):
    asked = refuse_downloads(monkeypatch, {"owner/name": tmp_path})
    snapshot = put(cache, "owner/name", FILES[:1])
    assert find_model("owner/name", patterns=PATTERNS) == tmp_path
    assert asked == ["owner/name"]
    with pytest.raises(FileError, match=r"no vae/\*\.safetensors, no model_index\.json"):
        find_model("owner/name", patterns=PATTERNS, offline=True)
    assert snapshot.is_dir()


def test_settings_that_came_without_their_weights_are_no_model(cache):
    put(
        cache,
        "owner/name",
        [name for name in FILES if name != "transformer/diffusion_pytorch_model.safetensors"],
    )
    with pytest.raises(FileError, match="owner/name: no weights in transformer\n"):
        find_model("owner/name", patterns=PATTERNS, offline=True)


def test_a_shard_that_the_index_names_must_be_there(cache):
    snapshot = put(cache, "owner/name", (*FILES, "transformer/x-00001-of-00002.safetensors"))
    shards = {name: f"x-0000{number}-of-00002.safetensors" for number, name in ((1, "a"), (2, "b"))}
    (snapshot / "transformer/x.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(
        FileError, match=r"owner/name: no transformer/x-00002-of-00002\.safetensors\n"
    ) as caught:
        find_model("owner/name", patterns=PATTERNS, offline=True)
    assert "hf download owner/name" in str(caught.value)
    (snapshot / "transformer/x.safetensors.index.json").write_text("{")
    with pytest.raises(FileError, match=r"no readable transformer/x\.safetensors\.index\.json"):
        find_model("owner/name", patterns=PATTERNS, offline=True)


def test_a_file_whose_content_was_cleaned_away_counts_as_missing(cache):
    put(cache, "owner/name")
    (cache / "models--owner--name" / "blobs" / "3").unlink()
    with pytest.raises(FileError, match=r"no model_index\.json"):
        find_model("owner/name", patterns=PATTERNS, offline=True)


@pytest.mark.parametrize("by_environment", [True, False])
def test_offline_never_asks_the_network(monkeypatch, by_environment):
    asked = refuse_downloads(monkeypatch)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", by_environment)
    with pytest.raises(FileError, match="not on this machine") as caught:
        find_model("2b", repositories=("new/name", "old/name"), offline=not by_environment)
    assert "new/name: it is not in the cache" in str(caught.value)
    assert "old/name" in str(caught.value)
    assert asked == []


def test_every_repository_is_tried_and_each_failure_is_told_in_a_line(monkeypatch):
    asked = refuse_downloads(monkeypatch)
    with pytest.raises(FileError) as caught:
        find_model("2b", repositories=("new/name", "old/name"))
    message = str(caught.value)
    assert asked == ["new/name", "old/name"]
    assert "  old/name: no route to host\n" in message
    assert "long explanation" not in message
    assert "hf download new/name" in message


def test_a_wrong_name_offers_the_nearest_folder_or_variant(tmp_path):
    (tmp_path / "models" / "CogVideoX-2b").mkdir(parents=True)
    with pytest.raises(FileError, match="Did you mean models/CogVideoX-2b"):
        find_model("models/CogVideoX-2B-", repositories=("models/CogVideoX-2B-",))
    with pytest.raises(FileError, match=r"Did you mean 5b-i2v\?"):
        find_model("5b_i2w", repositories=("5b_i2w",), variants=("tiny", "5b-i2v"))
    with pytest.raises(FileError, match="Give one of tiny, 2b, a folder, or a hub id such as owner/name"):
        find_model("./nowhere/at/all", variants=("tiny", "2b"))
    with pytest.raises(FileError, match=r"Give a folder, or a hub id"):
        find_model("nothing")
    (tmp_path / "file.safetensors").touch()
    with pytest.raises(FileError, match="is a file where a model's folder is needed"):
        find_model("file.safetensors")
