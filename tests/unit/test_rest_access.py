"""Who may call a studio: programs of this machine, its own pages, and whoever shows the token."""

import subprocess
import sys
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from reelwright.cli.main import main
from reelwright.core.errors import ConfigError
from reelwright.protocols.studio_config import StudioConfig
from reelwright.web.access import check_access, is_loopback
from reelwright.web.pages.files import mount_files
from reelwright.web.server import bound_socket
from reelwright.web.studio import Studio

from .studio_clients import ADDRESS, ASKED, calling, config_in, message

TOKEN = "a-token-of-24-characters"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("open")) as caller:
        yield caller


@pytest.fixture(scope="module")
def guarded_studio(tmp_path_factory: pytest.TempPathFactory):
    with calling(tmp_path_factory.mktemp("guarded"), token=TOKEN, host="0.0.0.0") as caller:
        yield caller


@pytest.fixture
def guarded(guarded_studio):
    """A caller that has not logged in yet."""
    guarded_studio.cookies.clear()
    return guarded_studio


@pytest.mark.parametrize("host", ["127.0.0.1", "127.5.0.1", "::1", "localhost"])
def test_addresses_of_this_machine_need_no_token(host: str):
    assert is_loopback(host)
    check_access(StudioConfig(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org", "", "localhost.example.org"])
def test_addresses_that_others_reach_are_refused_without_a_token(host: str):
    with pytest.raises(ConfigError, match="REELWRIGHT_TOKEN"):
        check_access(StudioConfig(host=host))
    check_access(StudioConfig(host=host, token=TOKEN))


@pytest.mark.parametrize(
    "token", ["secret", "eleven-chars", "ümlauts are no token at all", "with\nnewline-and-more"]
)
def test_a_token_that_is_easily_guessed_or_no_header_can_hold_is_refused(token: str):
    with pytest.raises(ConfigError, match="token_urlsafe"):
        check_access(StudioConfig(token=token))


def test_a_port_that_is_taken_is_told_with_the_way_out(tmp_path: Path):
    with bound_socket(StudioConfig(port=0)) as first, pytest.raises(ConfigError, match=r"taken.*--port"):
        bound_socket(StudioConfig(port=first.getsockname()[1]))


def test_a_studio_that_cannot_listen_ends_with_a_sentence_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REELWRIGHT_TOKEN", raising=False)
    with bound_socket(StudioConfig(port=0)) as first:
        port = str(first.getsockname()[1])
        assert main(["studio", "--port", port]) == main(["studio", "--host", "0.0.0.0"]) == 2
    told = capsys.readouterr().err
    assert f"port: {port} is taken" in told
    assert "so callers must show a token" in told
    assert list(tmp_path.iterdir()) == []


def test_a_studio_whose_queue_is_broken_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "queue.sqlite").write_bytes(b"no database at all, but long enough to be one")
    folders = ["--queue", str(tmp_path / "queue"), "--runs", str(tmp_path / "runs")]
    assert main(["studio", "--port", "0", *folders]) == 1
    assert "the queue cannot be used" in capsys.readouterr().err


def test_an_address_of_another_machine_is_told():
    with pytest.raises(ConfigError, match="no such address"):
        bound_socket(StudioConfig(host="192.0.2.1", token=TOKEN, port=0))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "127.0.0.1@evil.example"])
def test_a_name_that_was_pointed_at_this_machine_is_turned_away(client, host: str):
    answer = client.get("/v1/videos", headers={"host": host})
    assert answer.status_code == 403
    assert "--allowed-hosts" in message(answer)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000", "LOCALHOST", "[::1]:7860"])
def test_the_names_of_this_machine_are_answered_at_any_port(client, host: str):
    assert client.get("/v1/videos", headers={"host": host}).status_code == 200


def test_a_name_that_the_owner_allows_is_answered(tmp_path: Path):
    with calling(tmp_path, allowed_hosts=("studio.example",)) as caller:
        own = {"host": "studio.example", "origin": "https://studio.example"}
        assert caller.post("/v1/videos", json=ASKED, headers=own).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "http://localhost:7860"},
        {"origin": "null"},
        {"origin": "http://[broken"},
        {"origin": f"{ADDRESS}.evil.example"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_pages_of_other_sites_change_nothing(client, headers: dict[str, str]):
    before = client.get("/v1/jobs").json()
    assert client.post("/v1/videos", json=ASKED, headers=headers).status_code == 403
    assert client.delete("/v1/videos/x", headers=headers).status_code == 403
    assert client.get("/v1/jobs").json() == before


@pytest.mark.parametrize("headers", [{}, {"origin": ADDRESS}, {"sec-fetch-site": "same-origin"}])
def test_programs_and_the_studios_own_pages_may_write(client, headers: dict[str, str]):
    assert client.post("/v1/videos", json=ASKED, headers=headers).status_code == 200


def test_a_page_of_another_site_opens_no_socket(client):
    with (
        pytest.raises(WebSocketDisconnect) as refusal,
        client.websocket_connect("/_nicegui_ws/socket.io", headers={"origin": "http://evil.example"}),
    ):
        pass
    assert refusal.value.code == 1008


def test_without_the_token_nothing_is_told(guarded):
    for path in ("/v1/videos", "/v1/models", "/openapi.json", "/no/such/page"):
        answer = guarded.get(path)
        assert (answer.status_code, answer.headers["www-authenticate"][:6]) == (401, "Bearer")
    with pytest.raises(WebSocketDisconnect), guarded.websocket_connect("/_nicegui_ws/socket.io"):
        pass


@pytest.mark.parametrize(
    "shown",
    [f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer \xfc"],
)
def test_a_token_that_is_not_quite_right_opens_nothing(guarded, shown: str):
    assert guarded.get("/v1/videos", headers={"authorization": shown.encode("latin-1")}).status_code == 401


def test_the_token_opens_everything_under_any_name(guarded):
    shown = {"authorization": f"Bearer {TOKEN}", "host": "my-machine.lan"}
    assert guarded.post("/v1/videos", json=ASKED, headers=shown).status_code == 200


def test_a_browser_is_led_to_the_login_and_back(guarded):
    sent_on = guarded.get("/queue", headers={"accept": "text/html"})
    assert (sent_on.status_code, sent_on.headers["location"]) == (303, "/login?next=/queue")
    page = guarded.get("/login?next=/queue")
    assert 'action="/login?next=/queue"' in page.text
    back = guarded.post("/login?next=/queue", data={"token": TOKEN})
    assert (back.status_code, back.headers["location"]) == (303, "/queue")
    cookie = back.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=lax" in cookie.lower()
    assert TOKEN not in cookie
    assert guarded.get("/v1/videos").status_code == 200  # the client keeps the cookie


def test_the_cookie_alone_lets_no_other_site_write(guarded):
    guarded.post("/login", data={"token": TOKEN})
    assert (
        guarded.post("/v1/videos", json=ASKED, headers={"origin": "http://evil.example"}).status_code == 403
    )
    assert guarded.post("/v1/videos", json=ASKED, headers={"origin": ADDRESS}).status_code == 200


def test_a_wrong_token_gets_no_cookie(guarded):
    answer = guarded.post("/login", data={"token": "wrong"})
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers
    assert "not the token" in answer.text


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:x", "/a\nb"]
)
def test_the_login_leads_to_no_other_site(guarded, target: str):
    answer = guarded.post("/login", params={"next": target}, data={"token": TOKEN})
    assert answer.headers["location"] == "/"


def test_the_login_page_holds_no_script_of_a_caller(guarded):
    page = guarded.get("/login", params={"next": '/"><script>alert(1)</script>'})
    assert "<script>" not in page.text


def test_no_answer_may_be_framed_guessed_at_or_embedded_elsewhere(client):
    headers = client.get("/v1/models").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["content-security-policy"] == "frame-ancestors 'none'"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/files/runs/a/clip.mp4", 200),
        ("/files/runs/.queue/queue.sqlite", 404),
        ("/files/runs/a/../.queue/queue.sqlite", 404),
        ("/files/runs/%2equeue/queue.sqlite", 404),
        ("/files/runs/a%2f..%2f.queue/queue.sqlite", 404),
        ("/files/runs/link/passwd", 404),
        ("/files/runs/..%2f..%2fetc/passwd", 404),
        ("/files/runs//etc/passwd", 404),
        ("/files/runs/%00", 404),
        ("/files/uploads/..%2fqueue.sqlite", 404),
    ],
)
def test_of_the_folders_only_what_is_made_is_shown(tmp_path: Path, path: str, status: int):
    runs = tmp_path / "runs"
    app, studio = FastAPI(), Studio(config_in(tmp_path, queue=runs / ".queue"))
    studio.start()
    mount_files(app, studio)
    (runs / "a").mkdir()
    (runs / "a" / "clip.mp4").write_bytes(b"content")
    (runs / "link").symlink_to("/etc")
    assert studio.queue.list() == []
    assert (runs / ".queue" / "queue.sqlite").is_file()
    assert TestClient(app, raise_server_exceptions=False).get(path).status_code == status


def test_the_process_of_the_studio_never_imports_torch(tmp_path: Path):
    """Asked for a page's worth of things, in an interpreter that knows nothing yet."""
    code = (
        "import sys; from pathlib import Path; from tests.unit.studio_clients import add_video, calling\n"
        "with calling(Path(sys.argv[1])) as client:\n"
        "    add_video(client, seconds=2)\n"
        "    assert client.get('/v1/models').status_code == client.get('/openapi.json').status_code == 200\n"
        "print(*({'torch', 'transformers', 'av', 'PIL', 'accelerate'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stdout + done.stderr
