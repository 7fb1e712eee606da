"""Files that the browser may see: those of runs and uploads, and nothing else."""

import pytest

pytest.importorskip("nicegui", reason="the pages need NiceGUI: install reelwright[studio]")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from reelwright.web.pages.files import mount_files, url_of

from .studio_pages import idle_studio


@pytest.fixture
def studio(tmp_path):
    return idle_studio(tmp_path)


@pytest.fixture
def client(studio):
    app = FastAPI()
    mount_files(app, studio)
    return TestClient(app)


def _write(path, content=b"0123456789"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_clip_of_a_run_is_served_in_parts(studio, client):
    clip = _write(studio.runs / "a run ä" / "clip-001.mp4")
    answer = client.get(url_of(studio, clip), headers={"Range": "bytes=2-4"})
    assert (answer.status_code, answer.content) == (206, b"234")


def test_an_upload_is_served(studio, client):
    picture = _write(studio.uploads.folder / "up_1.png")
    assert client.get(url_of(studio, picture)).content == b"0123456789"


def test_the_address_changes_with_the_file(studio):
    picture = _write(studio.runs / "a" / "preview.png")
    before = url_of(studio, picture)
    picture.with_name("new").write_bytes(b"x")
    picture.with_name("new").replace(picture)
    assert url_of(studio, picture) != before


def test_other_files_have_no_address(studio, tmp_path):
    assert url_of(studio, _write(tmp_path / "secret.png")) == ""
    assert url_of(studio, studio.runs / "missing.png") == ""


@pytest.mark.parametrize(
    "path",
    [
        "/files/runs/../secret.txt",
        "/files/runs/%2e%2e/secret.txt",
        "/files/runs/..%2fsecret.txt",
        "/files/runs/.queue/queue.sqlite",
        "/files/runs/link/secret.txt",
        "/files/runs/a/",
    ],
)
def test_nothing_outside_or_hidden_is_served(studio, client, tmp_path, path):
    _write(tmp_path / "secret.txt")
    _write(studio.runs / ".queue" / "queue.sqlite")
    _write(studio.runs / "a" / "clip.mp4")
    (studio.runs / "link").symlink_to(tmp_path)
    assert client.get(path).status_code == 404
