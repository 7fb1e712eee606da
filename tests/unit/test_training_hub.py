"""What is saved goes to the hub if that is wanted; what fails there stops nothing."""

import threading
from pathlib import Path
from typing import Any

import pytest

from reelwright.core.errors import ConfigError, FileError
from reelwright.core.events import Event, Notice
from reelwright.protocols.train_configs import HubConfig
from reelwright.workflows.training import hub
from reelwright.workflows.training.hub import Uploads, check_hub, find_state_folder


class FakeHub:
    """Remembers what it was asked; `failure` is what it raises for every upload."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.failure = failure
        self.opened = threading.Event()
        self.opened.set()

    def create_repo(self, **named: Any) -> None:
        self.asked.append(("create", named))

    def upload_file(self, **named: Any) -> None:
        assert self.opened.wait(timeout=30)
        if self.failure is not None:
            raise self.failure
        self.asked.append(("file", named))

    def upload_folder(self, **named: Any) -> None:
        self.asked.append(("folder", named))

    def names(self) -> list[str]:
        return [named["path_in_repo"] for kind, named in self.asked if kind != "create"]


def uploads(fake: FakeHub, **config: Any) -> Uploads:
    return Uploads(HubConfig(**{"repository": "me/foxes", **config}), fake)  # type: ignore[arg-type]


def send(sender: Uploads, path: Path, **how: Any) -> list[Event]:
    return list(sender.send(path, path.name, **how))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "fox.safetensors"
    path.write_bytes(b"weights")
    return path


def test_without_a_repository_nothing_is_sent(saved: Path):
    fake = FakeHub()
    assert send(uploads(fake, repository=""), saved) == []
    assert fake.asked == []


@pytest.mark.parametrize("is_public", [False, True], ids=["private", "public"])
def test_the_repository_is_made_once_and_private_unless_told_otherwise(saved: Path, is_public: bool):
    fake = FakeHub()
    sender = uploads(fake, public=is_public, kind="dataset")
    send(sender, saved)
    send(sender, saved)
    created = [named for kind, named in fake.asked if kind == "create"]
    assert created == [
        {"repo_id": "me/foxes", "repo_type": "dataset", "private": not is_public, "exist_ok": True}
    ]


@pytest.mark.parametrize("folder", ["", "runs/one", "/runs/one/"])
def test_files_and_folders_go_where_they_belong(tmp_path: Path, saved: Path, folder: str):
    fake = FakeHub()
    sender = uploads(fake, folder=folder)
    state = tmp_path / "step-00000010"
    state.mkdir()
    send(sender, saved)
    send(sender, state, is_waited_for=True)
    start = "runs/one/" if folder else ""
    assert fake.names() == [f"{start}fox.safetensors", f"{start}step-00000010"]
    assert fake.asked[1][1]["path_or_fileobj"] == str(saved)
    assert fake.asked[2][1]["folder_path"] == str(state)


@pytest.mark.parametrize(
    "error", [OSError("no network"), ValueError("bad name"), RuntimeError("upload broke")]
)
def test_what_fails_is_told_and_stops_nothing(saved: Path, error: Exception):
    fake = FakeHub(error)
    sender = uploads(fake)
    [notice] = send(sender, saved)
    assert isinstance(notice, Notice)
    assert str(error) in notice.message
    assert "fox.safetensors was not uploaded to me/foxes" in notice.message
    fake.failure = None
    assert send(sender, saved) == []
    assert fake.names() == ["fox.safetensors"]


def test_training_goes_on_while_files_are_uploaded_and_the_end_waits(saved: Path):
    fake = FakeHub()
    fake.opened.clear()
    sender = uploads(fake, in_background=True)
    assert send(sender, saved) == []
    assert fake.names() == []
    fake.opened.set()
    assert list(sender.finish()) == []
    assert fake.names() == ["fox.safetensors"]


def test_failures_in_the_background_are_told_at_the_latest_at_the_end(saved: Path):
    fake = FakeHub(OSError("no network"))
    fake.opened.clear()
    sender = uploads(fake, in_background=True)
    assert send(sender, saved) == []
    fake.opened.set()
    [notice] = sender.finish()
    assert isinstance(notice, Notice)
    assert "no network" in notice.message


def test_a_state_on_this_machine_is_taken_as_it_is(tmp_path: Path):
    assert find_state_folder(tmp_path, HubConfig(), offline=True) == tmp_path


@pytest.mark.parametrize(
    ("text", "path", "revision", "kind"),
    [
        ("me/foxes/runs/one-state", "runs/one-state", None, "model"),
        ("me/foxes/one:v2", "one", "v2", "model"),
        ("me/foxes/one:v2:dataset", "one", "v2", "dataset"),
        ("me/foxes", "", None, "model"),
    ],
    ids=["path", "revision", "kind", "whole"],
)
def test_a_state_on_the_hub_is_fetched(
    tmp_path: Path, monkeypatch, text: str, path: str, revision, kind: str
):
    asked: dict[str, Any] = {}

    def fetch(repository: str, **named: Any) -> str:
        asked.update(named, repository=repository)
        (tmp_path / path).mkdir(parents=True, exist_ok=True)
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    found = find_state_folder(Path(text), HubConfig(token="secret"), offline=False)
    assert found == tmp_path / path
    assert asked == {
        "repository": "me/foxes",
        "repo_type": kind,
        "revision": revision,
        "allow_patterns": [f"{path}/*"] if path else None,
        "token": "secret",
        "local_files_only": False,
    }


def test_a_state_that_is_nowhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(FileError, match=r"no such folder.*owner/name/path"):
        find_state_folder(tmp_path / "missing", HubConfig(), offline=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs").mkdir()
    with pytest.raises(FileError, match="no such folder"):
        find_state_folder(Path("outputs/run/states"), HubConfig(), offline=False)

    def refuse(repository: str, **_: Any) -> str:
        raise OSError(f"{repository} is not there")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(FileError, match="cannot be fetched from the hub: me/foxes is not there"):
        find_state_folder(Path("me/foxes/one"), HubConfig(), offline=False)


def test_a_repository_that_cannot_be_is_refused_before_anything_is_trained_for_it():
    check_hub(HubConfig())
    check_hub(HubConfig(repository="me/fox"))
    with pytest.raises(ConfigError, match=r"hub\.repository: 'not a name' is no name.*Write owner/name"):
        check_hub(HubConfig(repository="not a name"))
