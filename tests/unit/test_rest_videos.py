"""/v1/videos: what is asked, told, streamed, fetched and refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from reelwright.core.errors import ConfigError

from .studio_clients import ASKED, add_video, begin, calling, empty, finish, message, png, studio_of

CLIP = bytes(range(256)) * 8
FILES = {"video.mp4": CLIP, "contact_sheet.png": png(), "latent.safetensors": b"latents"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("studio")) as caller:
        yield caller


@pytest.fixture
def client(shared):
    """A caller of a studio whose queue is empty."""
    empty(studio_of(shared))
    return shared


def events_of(text: str) -> list[dict[str, Any]]:
    """What a stream of events told."""
    return [
        json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")
    ]


def test_a_video_that_is_asked_for_waits_with_the_fields_of_openai(client):
    video = client.post("/v1/videos", json={**ASKED, "size": "96x64", "seconds": "2", "seed": 7}).json()
    assert {name: video[name] for name in ("object", "model", "status", "progress", "size", "error")} == {
        **{"object": "video", "model": "cogvideox/tiny", "status": "queued"},
        **{"progress": 0, "size": "96x64", "error": None},
    }
    assert abs(float(video["seconds"]) - 2) < 0.5
    assert (video["completed_at"], isinstance(video["created_at"], int)) == (None, True)
    assert client.get(f"/v1/videos/{video['id']}").json() == video


def test_what_is_asked_for_is_what_the_job_does(client):
    config = {"steps": 3, "execution": {"tiling": True}, "negative-prompt": "blur"}
    video = add_video(client, size="96x64", seed=7, seconds=2, config=config)
    values = studio_of(client).queue.get(video).order.values
    assert values.pop("out") == str(studio_of(client).runs)
    # 17 frames at 8 a second are the length nearest to two seconds.
    told = {
        "model": "tiny",
        "prompt": ASKED["prompt"],
        "width": 96,
        "height": 64,
        "seed": 7,
        "num_frames": 17,
    }
    assert values == {**told, **config}


def test_a_family_that_is_told_seconds_is_told_them(client):
    video = add_video(client, model="framepack", seconds="3.5")
    assert studio_of(client).queue.get(video).order.values["video_seconds"] == 3.5


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"model": "cogvideo"}, "Did you mean cogvideox?"),
        ({"modle": "x"}, "modle: unknown key. Did you mean model?"),
        ({"size": "720"}, "WIDTHxHEIGHT"),
        ({"size": "0x480"}, "WIDTHxHEIGHT"),
        ({"size": "9999x64"}, "width: 9999 is too large"),
        ({"seconds": 99}, "does not make 99 seconds"),
        ({"seconds": "long"}, "seconds: 'long'"),
        ({"seconds": -1}, "seconds: -1 is too small"),
        ({"seconds": 2, "model": "cogvideox/someone/model"}, "config.num_frames"),
        ({"seed": 1.5}, "seed: 1.5 is not a whole number"),
        ({"seed": 2**64}, "seed: "),
        ({"prompt": 5}, "prompt: 5 is not text"),
        ({"prompt": "a\0b"}, "NUL"),
        ({"config": [1]}, "config: [1] is not a table"),
        (
            {"config": {"stps": 3, "height": -4}},
            "stps: unknown key. Did you mean steps?\norder: height: -4 is too",
        ),
        ({"config": {"prompt": "another"}}, "config.prompt: is said outside of config too"),
        ({"config": {"out": "/tmp"}}, "config.out: is decided by the studio"),
        ({"config": {"run": "x"}}, "config.run: is decided by the studio"),
        ({"config": {"save_merged_model": "x"}}, "config.save_merged_model: is decided by the studio"),
        ({"config": {"execution": {"tillng": 1}}}, "execution.tillng: unknown key"),
    ],
)
def test_what_is_not_legal_is_refused_in_the_words_of_the_command_line(client, fields, told: str):
    answer = client.post("/v1/videos", json={**ASKED, **fields})
    assert answer.status_code == 422, answer.text
    assert told in message(answer)
    assert client.get("/v1/videos").json()["data"] == []


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"seed": NaN}', b'{"a":' * 100_000, b'{"seed": 1' + b"0" * 5000 + b"}", b"'"],
)
def test_what_is_no_json_is_refused(client, body: bytes):
    answer = client.post("/v1/videos", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "not JSON" in message(answer)) == (400, True)


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"null", b'{"prompt": "\\ud800", "model": "cogvideox"}'])
def test_json_that_is_no_request_is_refused(client, body: bytes):
    answer = client.post("/v1/videos", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


def test_nesting_without_end_is_refused(client):
    nested: Any = 1
    for _ in range(500):
        nested = {"a": nested}
    answer = client.post("/v1/videos", json={**ASKED, "config": nested})
    assert (answer.status_code, "deep" in message(answer)) == (422, True)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_a_body_of_another_kind_is_refused(client, kind: str):
    answer = client.post("/v1/videos", content=json.dumps(ASKED), headers={"content-type": kind})
    assert answer.status_code == 415


def test_a_request_of_megabytes_is_refused(client):
    answer = client.post("/v1/videos", json={**ASKED, "prompt": "x" * 5_000_000})
    assert answer.status_code == 413


def outside(client, path: str, field: str = "image") -> Any:
    return client.post("/v1/videos", json={**ASKED, "model": "framepack", "config": {field: path}})


@pytest.mark.parametrize("field", ["image", "dit", "from_latent", "story", "video"])
@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "picture.png",
        "../picture.png",
        "~/picture.png",
        "{runs}/../picture.png",
        "{runs}/run/../../picture.png",
        "{runs}-of-another/a.png",
        "{runs}/link/passwd",
        "{runs}/loop/a.png",
        "{queue}/queue.sqlite",
        "{runs}",
        "{uploads}/a.png;;;1:/etc/passwd",
        "0:{uploads}/a.png;;; 1 - 2 : /etc/passwd",
        "-1:/etc/passwd",
        "",
    ],
)
def test_no_path_of_a_caller_leads_out_of_runs_and_uploads(client, path: str, field: str):
    studio = studio_of(client)
    links = {"link": Path("/etc"), "loop": studio.runs / "loop"}
    for name, target in links.items():
        if not (studio.runs / name).is_symlink():
            (studio.runs / name).symlink_to(target)
    named = path.format(runs=studio.runs, queue=studio.queue.folder, uploads=studio.uploads.folder)
    answer = outside(client, named, field)
    assert answer.status_code == 422, answer.text
    assert "--folders" in message(answer)


def test_paths_in_runs_and_uploads_are_taken(client):
    studio = studio_of(client)
    upload = client.post("/v1/uploads", files={"file": ("a", png())}).json()["id"]
    for path in (f"{studio.runs}/a/latent", f"upload:{upload}", f"0:upload:{upload};;;-1:upload:{upload}"):
        assert outside(client, path).status_code == 200
    newest = studio.queue.list()[-1].order.values["image"]
    assert newest.count(str(studio.uploads.folder)) == 2


@pytest.mark.parametrize(
    "model", ["cogvideox//etc", "cogvideox/../x", "cogvideox/.", "cogvideox/a/b/c", "cogvideox/src"]
)
def test_a_model_is_a_name_and_no_folder_of_the_machine(client, model: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    answer = client.post("/v1/videos", json={**ASKED, "model": model})
    assert (answer.status_code, "--folders" in message(answer)) == (422, True)


def test_folders_that_the_owner_opened_are_taken(tmp_path: Path):
    (tmp_path / "models").mkdir()
    with calling(tmp_path, folders=(tmp_path / "models",)) as client:
        add_video(client, config={"dit": f"{tmp_path}/models/a.safetensors"})
        add_video(client, model=f"cogvideox/{tmp_path}/models")
        assert outside(client, f"{tmp_path}/other/a.png").status_code == 422


@pytest.mark.parametrize(
    ("queue", "runs", "folders", "closed"),
    [
        ("q", "q/runs", (), "q/a.png"),
        ("r/.q", "r", ("r",), "r/.q/a.png"),
        ("r/q", "r", (".",), "r/q/jobs/a.png"),
    ],
)
def test_of_folders_in_folders_the_inner_one_decides(
    tmp_path: Path, queue: str, runs: str, folders, closed: str
):
    opened = tuple(tmp_path / folder for folder in folders)
    with calling(tmp_path, queue=tmp_path / queue, runs=tmp_path / runs, folders=opened) as client:
        for path in (
            f"{runs}/a/b.png",
            f"{queue}/uploads/a.png",
            *(f"{folder}/x/a.png" for folder in folders),
        ):
            assert outside(client, str(tmp_path / path)).status_code == 200, path
        assert outside(client, str(tmp_path / closed)).status_code == 422


def test_runs_and_queue_are_not_one_folder(tmp_path: Path):
    with pytest.raises(ConfigError, match="Name another"), calling(tmp_path, queue=tmp_path / "runs"):
        pass


def test_an_upload_that_is_not_there_is_told(client):
    assert client.post("/v1/videos", json={**ASKED, "input_reference": "up_0"}).status_code == 404
    assert (
        client.post("/v1/videos", json={**ASKED, "config": {"image": "upload:up_" + "0" * 32}}).status_code
        == 404
    )


def test_videos_are_listed_in_pages(client):
    made = [add_video(client, seed=seed) for seed in range(5)][::-1]
    page = client.get("/v1/videos", params={"limit": 2}).json()
    assert [video["id"] for video in page["data"]] == made[:2]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (made[0], made[1], True)
    rest = client.get("/v1/videos", params={"after": made[1]}).json()
    assert ([video["id"] for video in rest["data"]], rest["has_more"]) == (made[2:], False)
    first = client.get("/v1/videos", params={"limit": 1, "order": "asc"}).json()
    assert first["data"][0]["id"] == made[-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "order=up"])
def test_a_page_that_cannot_be_is_refused(client, query: str):
    answer = client.get(f"/v1/videos?{query}")
    assert (answer.status_code, query.partition("=")[0] in message(answer)) == (422, True)


@pytest.mark.parametrize("video", ["none", "..%2f..%2fetc", "%00", "%ff", "x" * 2000])
def test_a_video_that_is_not_there_is_not_found(client, video: str):
    for method, path in (
        *(("GET", path) for path in ("", "/events", "/content")),
        *(("POST", "/cancel"), ("DELETE", "")),
    ):
        answer = client.request(method, f"/v1/videos/{video}{path}")
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["error"]["type"] == "not_found_error"


def test_a_job_of_another_kind_is_no_video(client):
    job = client.post("/v1/jobs", json={"workflow": "doctor", "family": "cogvideox"}).json()["id"]
    assert client.get(f"/v1/videos/{job}").status_code == 404
    assert client.get("/v1/videos").json()["data"] == []


def test_progress_grows_step_by_step_and_is_100_only_when_all_is_done(client):
    video = add_video(client, config={"num_videos": 2})
    queue = studio_of(client).queue
    begin(studio_of(client))
    log = queue.log_of(video)
    told = []
    for event in (
        {"event": "step_done", "stage": "denoise", "step": 5, "total": 10},
        {"event": "step_done", "stage": "decode", "step": 1, "total": 10},
        {"event": "step_done", "stage": "denoise", "step": 10, "total": 10},
        {"event": "clip_finished", "clip": 1, "total": 2, "files": {}},
        {"event": "step_done", "stage": "denoise", "step": 10, "total": 10},
    ):
        log.append(event)
        told.append(client.get(f"/v1/videos/{video}").json()["progress"])
    assert told == [25, 25, 50, 50, 99]
    queue.finish(video, "done")
    ended = client.get(f"/v1/videos/{video}").json()
    assert (ended["status"], ended["progress"]) == ("completed", 100)
    assert ended["completed_at"] >= ended["created_at"]


def test_a_failure_says_why(client):
    video = add_video(client)
    job = finish(studio_of(client), {}, "failed")
    studio_of(client).queue.log_of(job.id).append(
        {"event": "failed", "kind": "CheckpointError", "message": "x"}
    )
    told = client.get(f"/v1/videos/{video}").json()
    assert (told["status"], told["error"]) == (
        "failed",
        {"code": "CheckpointError", "message": "It could not be made."},
    )


def test_a_cancelled_video_stays_cancelled_and_can_be_cancelled_again(client):
    video = add_video(client)
    for _ in range(2):
        assert client.post(f"/v1/videos/{video}/cancel").json()["status"] == "cancelled"


def test_what_is_done_cannot_be_cancelled(client):
    video = add_video(client)
    finish(studio_of(client), {})
    answer = client.post(f"/v1/videos/{video}/cancel")
    assert (answer.status_code, answer.json()["error"]["type"]) == (409, "state_error")


def test_a_video_is_fetched_whole_or_in_parts(client):
    video = add_video(client)
    finish(studio_of(client), FILES)
    path = f"/v1/videos/{video}/content"
    whole = client.get(path)
    assert (whole.content, whole.headers["content-type"]) == (CLIP, "video/mp4")
    part = client.get(path, headers={"range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, CLIP[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{len(CLIP)}"
    assert client.get(path, headers={"range": "bytes=-5"}).content == CLIP[-5:]
    assert client.get(path, headers={"range": "bytes=99999-"}).status_code == 416
    assert client.get(path, params={"variant": "thumbnail"}).content == png()
    assert client.get(path, params={"variant": "latent"}).content == b"latents"


def test_content_that_is_not_there_is_told(client):
    video = add_video(client)
    path = f"/v1/videos/{video}/content"
    early = client.get(path)
    assert (early.status_code, "not made yet" in message(early)) == (409, True)
    finish(studio_of(client), {"frames": b""})
    assert "there is frames" in message(client.get(path))
    assert client.get(path).status_code == client.get(path, params={"clip": 1}).status_code == 404
    assert client.get(path, params={"variant": "recipe"}).status_code == 422


def test_content_that_was_swapped_for_a_link_out_of_the_runs_is_not_given(client, tmp_path: Path):
    video = add_video(client)
    job = finish(studio_of(client), FILES)
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(b"secret")
    assert job.run is not None
    (job.run / "video.mp4").unlink()
    (job.run / "video.mp4").symlink_to(secret)
    assert client.get(f"/v1/videos/{video}/content").status_code == 404


def test_the_stream_tells_all_and_goes_on_where_it_was_left(client):
    video = add_video(client)
    finish(studio_of(client), FILES)
    path = f"/v1/videos/{video}/events"
    answer = client.get(path)
    assert answer.headers["content-type"].startswith("text/event-stream")
    everything = events_of(answer.text)
    told = [event["event"] for event in everything if event["event"] != "job"]
    assert told == ["clip_finished", "finished", "end"]
    assert everything[-1]["state"] == "done"
    for again in (client.get(path, headers={"last-event-id": "1"}), client.get(path, params={"after": 1})):
        assert events_of(again.text) == everything[1:]
    assert events_of(client.get(path, headers={"last-event-id": "99"}).text) == everything[-1:]
    assert client.get(path, headers={"last-event-id": "x"}).status_code == 422


def test_a_video_is_deleted_with_all_its_files(client):
    video = add_video(client)
    job = finish(studio_of(client), FILES)
    assert job.run is not None
    assert client.delete(f"/v1/videos/{video}").json() == {
        **{"id": video, "object": "video.deleted", "deleted": True}
    }
    assert not job.run.exists()
    assert client.get(f"/v1/videos/{video}").status_code == 404


def test_a_video_that_is_being_made_is_not_deleted(client):
    video = add_video(client)
    begin(studio_of(client))
    assert client.delete(f"/v1/videos/{video}").status_code == 409
    assert client.get(f"/v1/videos/{video}").json()["status"] == "in_progress"


def test_what_fails_unforeseen_is_an_answer_too(client, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("of the secret kind")

    monkeypatch.setattr("reelwright.web.rest.videos._videos", fail)
    answer = client.get("/v1/videos")
    assert answer.status_code == 500
    assert (answer.json()["error"]["code"], "secret" in answer.text) == ("ZeroDivisionError", False)


def test_every_model_that_is_listed_can_be_asked_for(client):
    models = client.get("/v1/models").json()["data"]
    assert "cogvideox/tiny" in [model["id"] for model in models]
    for model in models:
        add_video(client, model=model["id"])
