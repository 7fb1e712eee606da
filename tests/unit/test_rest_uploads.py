"""Files that callers send: whatever they are called and whatever they hold, nothing bad comes of them."""

import asyncio
import errno
import os
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from reelwright.web.uploads import Uploads, UploadTooLargeError

from .studio_clients import ASKED, add_video, calling, message, png, studio_of

SAFETENSORS = struct.pack("<Q", 2) + b"{}" + b"\0" * 30
MP4 = b"\0\0\0\x18ftypmp42" + b"\0" * 40
JPEG_HEAD = b"\xff\xd8\xff\xe1" + struct.pack(">H", 40_002) + b"e" * 40_000 + b"\xff\xff\xc0"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("studio"), max_upload_mb=1) as caller:
        yield caller


def send(client, content: bytes, name: str = "picture.png") -> Any:
    return client.post("/v1/uploads", files={"file": (name, content)})


def kept(client) -> list[Path]:
    return sorted(studio_of(client).uploads.folder.iterdir())


def jpeg(width: int, height: int) -> bytes:
    """One with much metadata and a byte of padding before the header that tells its size."""
    return JPEG_HEAD + struct.pack(">HBHHB", 17, 8, height, width, 3) + b"\0" * 20


def webp(form: bytes, rest: bytes) -> bytes:
    return b"RIFF\x40\0\0\0WEBP" + form + b"\x20\0\0\0" + rest + b"\0" * 40


@pytest.mark.parametrize(
    ("content", "kind", "suffix"),
    [
        (png(), "image", ".png"),
        (jpeg(640, 480), "image", ".jpg"),
        (b"GIF89a" + struct.pack("<HH", 3, 4) + b"\0" * 30, "image", ".gif"),
        (b"BM" + b"\0" * 16 + struct.pack("<ii", 3, -4) + b"\0" * 30, "image", ".bmp"),
        (webp(b"VP8X", b"\0" * 4 + b"\x07\0\0\x05\0\0"), "image", ".webp"),
        (webp(b"VP8L", b"\x2f\x02\xc0\0\0"), "image", ".webp"),
        (webp(b"VP8 ", b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 8, 8)), "image", ".webp"),
        (MP4, "video", ".mp4"),
        (b"\x1aE\xdf\xa3" + b"\0" * 40, "video", ".mkv"),
        (b"RIFF\x40\0\0\0AVI LIST" + b"\0" * 40, "video", ".avi"),
        (SAFETENSORS, "tensors", ".safetensors"),
    ],
)
def test_a_file_is_known_by_its_content_and_kept_to_the_last_byte(client, content, kind, suffix):
    answer = send(client, content, "notes.exe")
    assert answer.status_code == 200, answer.text
    facts = answer.json()
    assert (facts["kind"], facts["bytes"]) == (kind, len(content))
    path = studio_of(client).uploads.get(facts["id"]).path
    assert (path.suffix, path.read_bytes()) == (suffix, content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PN",
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        b"<html><script>alert(1)</script></html>",
        b"PK\x03\x04" + b"\0" * 40,
        b"\x80\x04\x95" + b"\0" * 40,
        b"MZ" + b"\0" * 40,
        b"#!/bin/sh\nrm -rf /\n" + b"\0" * 40,
        b"\0\0\0\x18ftypavif" + b"\0" * 40,
        struct.pack("<Q", 2**62) + b"{}" + b"\0" * 40,
    ],
)
def test_what_has_no_use_is_refused_whatever_it_is_called(client, content: bytes):
    before = kept(client)
    answer = send(client, content, "picture.png")
    assert answer.status_code == 415, answer.text
    assert "PNG" in message(answer)
    assert kept(client) == before


@pytest.mark.parametrize(
    "content",
    [
        png(declared=(60_000, 60_000)),
        jpeg(65_000, 65_000),
        b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + b"\0" * 30,
        webp(b"VP8X", b"\0" * 4 + b"\xff\xff\xff\xff\xff\xff"),
    ],
)
def test_a_picture_that_would_fill_the_memory_is_refused_by_its_header(client, content: bytes):
    before = kept(client)
    answer = send(client, content)
    assert (answer.status_code, "pixels" in message(answer)) == (413, True)
    assert kept(client) == before


@pytest.mark.parametrize(
    "content", [png(declared=(0, 5)), png()[:8] + b"\0" * 40, b"\xff\xd8\xff" + b"\xd9" * 60]
)
def test_a_picture_without_a_size_is_refused(client, content: bytes):
    before = kept(client)
    answer = send(client, content)
    assert (answer.status_code, "broken" in message(answer)) == (415, True)
    assert kept(client) == before


@pytest.mark.parametrize(
    "name", ["../../../etc/cron.d/x", "/etc/passwd", "a\0b.png", "..\\..\\x", "%2e%2e%2fx", "x" * 3000]
)
def test_the_name_of_a_file_never_becomes_a_path(client, name: str):
    before = kept(client)
    answer = send(client, png(), name)
    assert answer.status_code == 200, answer.text
    (new,) = set(kept(client)) - set(before)
    assert new.name == f"{answer.json()['id']}.png"


def test_a_large_file_is_refused_by_what_it_declares(client):
    """Its two gigabytes are never sent."""
    headers = {"content-type": "multipart/form-data; boundary=b", "content-length": str(2 * 10**9)}
    answer = client.post("/v1/uploads", content=iter([b"--b\r\n"]), headers=headers)
    assert (answer.status_code, "--max-upload-mb" in message(answer)) == (413, True)


def test_a_large_file_that_declares_nothing_is_stopped_on_the_way(client):
    taken, sent = 0, []
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n' + MP4

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 100_000
        assert taken < 10_000_000, "the studio takes all of it"
        return {
            "type": "http.request",
            "body": head if taken == 100_000 else b"\0" * 100_000,
            "more_body": True,
        }

    async def send_back(answer: dict[str, Any]) -> None:
        sent.append(answer)

    before = kept(client)
    headers = [(b"host", b"127.0.0.1"), (b"content-type", b"multipart/form-data; boundary=b")]
    scope = {"type": "http", "method": "POST", "path": "/v1/uploads", "headers": headers, "query_string": b""}
    asyncio.run(client.app(scope, receive, send_back))
    assert sent[0]["status"] == 413
    assert kept(client) == before


def keep(uploads: Uploads, *chunks: bytes):
    async def coming() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    return asyncio.run(uploads.keep(coming()))


def test_a_file_over_the_limit_leaves_nothing_and_reads_no_further(tmp_path: Path):
    uploads = Uploads(tmp_path, max_bytes=1000)
    taken = []

    async def coming() -> AsyncIterator[bytes]:
        for _ in range(1000):
            taken.append(1)
            yield MP4 + b"\0" * 400

    with pytest.raises(UploadTooLargeError):
        asyncio.run(uploads.keep(coming()))
    assert len(taken) <= 4
    assert list(tmp_path.iterdir()) == []


def test_a_sender_who_leaves_in_the_middle_leaves_nothing(tmp_path: Path):
    async def coming() -> AsyncIterator[bytes]:
        yield MP4
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        asyncio.run(Uploads(tmp_path, max_bytes=1000).keep(coming()))
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_crumbs_is_known_too(tmp_path: Path):
    picture = png()
    upload = keep(Uploads(tmp_path, max_bytes=1000), *(picture[at : at + 1] for at in range(len(picture))))
    assert (upload.kind, upload.path.read_bytes()) == ("image", picture)


def test_what_a_killed_studio_left_half_written_is_removed(tmp_path: Path):
    (tmp_path / ".0123456789ab.png").write_bytes(b"half")
    uploads = Uploads(tmp_path, max_bytes=1000)
    kept_one = keep(uploads, png())
    uploads.start()
    assert list(tmp_path.iterdir()) == [kept_one.path]


def test_old_uploads_go_unless_a_job_names_them(tmp_path: Path):
    with calling(tmp_path) as client:
        old, used, new = (send(client, png()).json()["id"] for _ in range(3))
        for upload in (old, used):
            os.utime(studio_of(client).uploads.get(upload).path, (0, 0))
        add_video(client, config={"image": f"upload:{used}"})
    with calling(tmp_path) as client:
        statuses = {upload: client.get(f"/v1/uploads/{upload}").status_code for upload in (old, used, new)}
    assert statuses == {old: 404, used: 200, new: 200}


def test_old_uploads_that_nobody_names_go_when_another_comes(tmp_path: Path):
    with calling(tmp_path) as client:
        old, used, drafted = (send(client, png()).json()["id"] for _ in range(3))
        studio = studio_of(client)
        paths = {upload: studio.uploads.get(upload).path for upload in (old, used, drafted)}
        for path in paths.values():
            os.utime(path, (0, 0))
        studio.drafts = lambda: str({"image": str(paths[drafted])})
        add_video(client, config={"image": f"upload:{used}"})
        new = send(client, png()).json()["id"]
        left = {path.stem for path in kept(client)}
    assert left == {used, drafted, new}


def test_an_upload_that_a_waiting_job_uses_stays(client):
    upload = send(client, png()).json()["id"]
    video = add_video(client, input_reference=upload)
    assert client.delete(f"/v1/uploads/{upload}").status_code == 409
    client.post(f"/v1/videos/{video}/cancel")
    assert client.delete(f"/v1/uploads/{upload}").json()["deleted"] is True
    assert client.get(f"/v1/uploads/{upload}").status_code == 404


@pytest.mark.parametrize(
    "name", ["up_0", "..%2f..%2fetc%2fpasswd", "up_" + "0" * 32, "*", "up_" + "f" * 31 + "*", "%00"]
)
def test_an_upload_that_is_not_there_is_not_found(client, name: str):
    assert client.get(f"/v1/uploads/{name}").status_code == 404
    assert client.delete(f"/v1/uploads/{name}").status_code == 404


def test_a_full_disk_is_told_as_such(client, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("reelwright.web.uploads._check_picture", refuse)
    answer = send(client, png())
    assert (answer.status_code, "full" in message(answer)) == (507, True)
    assert answer.json()["error"]["type"] == "server_error"
    assert not [path for path in kept(client) if path.name.startswith(".")]


def test_a_picture_in_the_form_of_a_video_becomes_its_first_frame(client):
    answer = client.post(
        "/v1/videos", data={**ASKED, "seed": "7"}, files={"input_reference": ("../a", png())}
    )
    assert answer.status_code == 200, answer.text
    values = studio_of(client).queue.get(answer.json()["id"]).order.values
    assert (Path(values["image"]).read_bytes(), values["seed"]) == (png(), 7)


def test_a_file_whose_video_is_refused_is_not_kept(client):
    before = kept(client)
    data = {**ASKED, "config": '{"stps": 3}'}
    answer = client.post("/v1/videos", data=data, files={"input_reference": ("a", png())})
    assert (answer.status_code, "Did you mean steps?" in message(answer)) == (422, True)
    assert kept(client) == before


@pytest.mark.parametrize(
    ("data", "files", "status"),
    [
        ({**ASKED, "promt": "x"}, {"input_reference": png()}, 422),
        (ASKED, {"image": png()}, 422),
        ({**ASKED, "config": "{"}, {"input_reference": png()}, 400),
        ({**ASKED, "seed": "many"}, {"input_reference": png()}, 422),
        (ASKED, {"input_reference": SAFETENSORS}, 422),
        (ASKED, {"input_reference": b"text"}, 415),
    ],
)
def test_a_form_that_is_not_right_is_refused_and_leaves_nothing(client, data, files, status):
    before = kept(client)
    answer = client.post("/v1/videos", data=data, files=files)
    assert answer.status_code == status, answer.text
    assert kept(client) == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        b"\0" * 100,
        b"--c\r\nx",
    ],
)
def test_a_form_that_is_broken_is_refused(client, body: bytes):
    headers = {"content-type": "multipart/form-data; boundary=b"}
    for path in ("/v1/uploads", "/v1/videos"):
        assert client.post(path, content=body, headers=headers).status_code in (400, 422)
    assert (
        client.post("/v1/uploads", content=body, headers={"content-type": "multipart/form-data"}).status_code
        == 400
    )
