"""/v1/jobs: work of every kind, its place in the queue, and what its state allows."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .studio_clients import ASKED, add_video, begin, calling, empty, message, studio_of

DOCTOR = {"workflow": "doctor", "family": "cogvideox"}
ACTS = ("move", "pause", "go_on", "retry", "cancel")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("studio")) as caller:
        yield caller


@pytest.fixture
def client(shared):
    empty(studio_of(shared))
    return shared


def add(client, **fields: object) -> str:
    answer = client.post("/v1/jobs", json={**DOCTOR, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def act(client, job: str, name: str, **fields: object):
    bodies = {"move": {"before": None}, "pause": {"at": "step"}}
    body = {**bodies.get(name, {}), **fields}
    return client.post(f"/v1/jobs/{job}/{name}", json=body if name in bodies else None)


def states(client) -> Counter[str]:
    return Counter(job["state"] for job in client.get("/v1/jobs").json()["data"])


def test_a_job_says_what_it_does_and_where_it_stands(client):
    values = {"prompt": "a ball", "seed": 7}
    job = client.post(
        "/v1/jobs", json={"workflow": "generate", "family": "cogvideox", "values": values}
    ).json()
    assert job["order"]["values"] == {**values, "out": str(studio_of(client).runs)}
    assert (job["object"], job["state"], job["title"], job["attempts"]) == ("job", "queued", "a ball", 0)
    assert "/" not in job["run"]
    assert client.get(f"/v1/jobs/{job['id']}").json() == job


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"workflow": "dokter"}, "Did you mean doctor?"),
        ({"workflow": "generate", "family": "cogvideo"}, "Did you mean cogvideox?"),
        ({"options": {"fit": True}}, "fit: unknown key. Did you mean fits?"),
        ({"values": {"steps": 3}}, "values"),
        ({"option": {}}, "option: unknown key. Did you mean options?"),
        ({"title": "x" * 201}, "title"),
        ({"workflow": None}, "workflow"),
        ({"options": {"out": "/etc"}}, "--folders"),
        (
            {"workflow": "lora", "family": "", "options": {"action": "inspect", "file": "/etc/passwd"}},
            "--folders",
        ),
        ({"workflow": "generate", "values": {"run": "/etc/x"}}, "--folders"),
        ({"workflow": "generate", "values": {"run": "{runs}"}}, "--folders"),
        ({"workflow": "generate", "values": {"save_merged_model": "{queue}/queue.sqlite"}}, "--folders"),
        ({"workflow": "train", "values": {"dataset": "/etc/data.toml"}}, "--folders"),
    ],
)
def test_work_that_cannot_be_is_refused(client, fields, told: str):
    places = {"runs": studio_of(client).runs, "queue": studio_of(client).queue.folder}
    named = {name: str(path) for name, path in places.items()}
    if isinstance(fields.get("values"), dict):
        values = fields["values"].items()
        fields = {**fields, "values": {k: v.format(**named) if isinstance(v, str) else v for k, v in values}}
    answer = client.post("/v1/jobs", json={**DOCTOR, **fields})
    assert answer.status_code == 422, answer.text
    assert told in message(answer)
    assert states(client) == {}


def test_an_edit_is_checked_as_a_new_order_is(client):
    video = add_video(client)
    order = {"workflow": "generate", "family": "cogvideox"}
    edited = client.put(f"/v1/jobs/{video}", json={**order, "values": {"prompt": "a cube"}})
    assert (edited.status_code, edited.json()["title"]) == (200, "a cube")
    refused = client.put(f"/v1/jobs/{video}", json={**order, "values": {"image": "/etc/passwd"}})
    assert (refused.status_code, "--folders" in message(refused)) == (422, True)
    begin(studio_of(client))
    assert client.put(f"/v1/jobs/{video}", json=order).status_code == 409


def test_jobs_change_places(client):
    first, second, third = (add(client) for _ in range(3))
    assert act(client, third, "move", before=first).status_code == 200
    assert act(client, first, "move").status_code == 200
    listed = [job["id"] for job in client.get("/v1/jobs").json()["data"]]
    assert listed == [third, second, first]
    assert act(client, first, "move", before="none").status_code == 404


def test_jobs_are_listed_by_state(client):
    kept, cancelled = add(client), add(client)
    before = client.get("/v1/jobs").json()["revision"]
    act(client, cancelled, "cancel")
    found = client.get("/v1/jobs", params={"state": ["queued", "running"]}).json()
    assert [job["id"] for job in found["data"]] == [kept]
    assert found["revision"] > before
    assert client.get("/v1/jobs", params={"state": "asleep"}).status_code == 422


def test_what_a_state_does_not_allow_is_a_conflict_that_says_what_can_be_done(client):
    def allowed(job: str) -> set[str]:
        return {name for name in ACTS if act(client, job, name).status_code == 200}

    job = add(client)
    assert {name: act(client, job, name).status_code for name in ("go_on", "retry")} == {
        "go_on": 409,
        "retry": 409,
    }
    refusal = act(client, job, "retry")
    assert refusal.json()["error"]["type"] == "state_error"
    assert "cancelled" in message(refusal)
    assert act(client, job, "pause").json()["state"] == "paused"
    assert act(client, job, "go_on").json()["state"] == "queued"
    begin(studio_of(client))
    assert client.delete(f"/v1/jobs/{job}").status_code == 409
    assert act(client, job, "move").status_code == 409
    assert act(client, job, "pause", at="section").json()["wish"] == "pause at section"
    assert act(client, job, "cancel").json()["wish"] == "cancel"
    studio_of(client).queue.finish(job, "done")
    assert allowed(job) == set()
    assert client.delete(f"/v1/jobs/{job}").json() == {"id": job, "object": "job.deleted", "deleted": True}


@pytest.mark.parametrize("name", ACTS)
def test_a_job_that_is_not_there_is_not_found(client, name: str):
    assert act(client, "none", name).status_code == 404


@pytest.mark.parametrize("body", [{"at": "noon"}, {"att": "step"}, {"at": 5}, []])
def test_a_pause_that_cannot_be_is_refused(client, body):
    assert client.post(f"/v1/jobs/{add(client)}/pause", json=body).status_code == 422


def test_files_outside_of_the_runs_are_never_removed(client, tmp_path: Path):
    """A job that the command line added may have its run anywhere."""
    queue = studio_of(client).queue
    client.post("/v1/videos", json=ASKED)
    order = queue.list()[0].order
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "recipe.toml").write_text("")
    job = queue.add(order, run=elsewhere).id
    for answer in (client.delete(f"/v1/jobs/{job}?files=true"), client.delete(f"/v1/videos/{job}")):
        assert answer.status_code == 422
    assert client.delete(f"/v1/jobs/{job}").status_code == 200
    assert (elsewhere / "recipe.toml").exists()


def test_a_full_disk_is_told_and_no_job_is_half_there(client):
    """SQLite is told that the file may not grow, and says what it says of a full disk."""
    kept = [add(client) for _ in range(3)]
    rows = studio_of(client).queue._file
    with rows.reading():
        pages = rows._connection.execute("PRAGMA page_count").fetchone()[0]
        rows._connection.execute(f"PRAGMA max_page_count = {pages}")
    answers = [client.post("/v1/jobs", json={**DOCTOR, "title": "x" * 200}) for _ in range(40)]
    assert {answer.status_code for answer in answers} == {200, 507}
    assert "Free some space" in message(answers[-1])
    added = [answer.json()["id"] for answer in answers if answer.status_code == 200]
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == [*kept, *added]
    with rows.reading():
        rows._connection.execute("PRAGMA max_page_count = 1000000")
    assert client.post("/v1/jobs", json=DOCTOR).status_code == 200


def test_200_jobs_wait_in_the_order_in_which_they_came(client):
    added = [add(client) for _ in range(200)]
    assert [job["id"] for job in client.get("/v1/jobs").json()["data"]] == added


def test_fifty_callers_at_once_lose_no_job_and_each_comes_to_one_end(client):
    """While others take jobs and end them, as workers do."""
    queue = studio_of(client).queue
    ended: list[str] = []

    def call(number: int) -> str:
        draw = random.Random(number)
        job = add(client, title=f"caller {number}")
        for _ in range(4):
            answer = act(client, job, draw.choice(ACTS))
            assert answer.status_code in (200, 409), answer.text
        assert act(client, job, "cancel").status_code in (200, 409)
        return job

    def work(_: int) -> None:
        for _ in range(5):
            if (job := queue.claim("a test")) is not None:
                wish = queue.get(job.id).wish
                queue.finish(job.id, "cancelled" if wish == "cancel" else "done")
                ended.append(job.id)

    with ThreadPoolExecutor(54) as pool:
        working = [pool.submit(work, number) for number in range(4)]
        added = list(pool.map(call, range(50)))
        for worker in working:
            worker.result()
    assert len(set(added)) == 50
    assert sorted(job["id"] for job in client.get("/v1/jobs").json()["data"]) == sorted(added)
    assert set(states(client)) <= {"done", "cancelled"}
    assert states(client).total() == 50
