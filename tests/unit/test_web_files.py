"""Files that pages show: whole, by ranges, and never of a length that was told before they were replaced."""

import os
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from reelwright.web.whole_files import WholeFiles


@pytest.fixture
def caller(tmp_path: Path) -> TestClient:
    (tmp_path / "clip.mp4").write_bytes(bytes(range(100)))
    app = Starlette()
    app.mount("/files", WholeFiles(directory=tmp_path))
    return TestClient(app)


def test_a_file_comes_whole_and_by_ranges(caller: TestClient):
    whole = caller.get("/files/clip.mp4")
    assert (whole.content, whole.headers["content-type"]) == (bytes(range(100)), "video/mp4")
    part = caller.get("/files/clip.mp4", headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/100"
    rest = caller.get("/files/clip.mp4", headers={"range": "bytes=90-"})
    assert rest.content == bytes(range(90, 100))


def test_a_range_beyond_the_end_is_refused(caller: TestClient):
    assert caller.get("/files/clip.mp4", headers={"range": "bytes=100-"}).status_code == 416


def test_a_file_that_was_seen_before_is_not_sent_again(caller: TestClient):
    tag = caller.get("/files/clip.mp4").headers["etag"]
    assert caller.get("/files/clip.mp4", headers={"if-none-match": tag}).status_code == 304


def test_a_file_that_is_replaced_while_it_is_looked_up_has_the_length_that_is_told(
    caller: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usual = WholeFiles.lookup_path

    def replace_after(files: WholeFiles, path: str) -> tuple[str, os.stat_result | None]:
        found = usual(files, path)
        (tmp_path / "clip.mp4").write_bytes(b"shorter")
        return found

    monkeypatch.setattr(WholeFiles, "lookup_path", replace_after)
    answer = caller.get("/files/clip.mp4")
    assert (answer.content, answer.headers["content-length"]) == (b"shorter", "7")
