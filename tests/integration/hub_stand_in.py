"""A model hub on loopback with the few answers that downloads need, ranges and hashes included."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c" * 40


@dataclass
class Hub:
    """Repositories as name -> file -> content, and what was asked for."""

    repositories: dict[str, dict[str, bytes]]
    url: str = ""
    sent: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    """Files whose content was sent, and from which byte on."""
    breaks_after: int = 0
    """Close the line where so many bytes of a file were sent; 0 never."""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Answer on a free port until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub))
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: Hub, *arguments: object) -> None:
        self._hub = hub
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(has_body=False)

    def do_GET(self) -> None:
        self._answer(has_body=True)

    def _answer(self, *, has_body: bool) -> None:
        path = self.path.split("?")[0].strip("/")
        if path.startswith("api/models/"):
            self._list(path.removeprefix("api/models/"))
            return
        name, _, rest = path.partition("/resolve/")
        file = rest.partition("/")[2]
        content = self._hub.repositories.get(name, {}).get(file)
        if content is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if has_body:
            self._hub.sent.append((file, start))
        limit = max(0, self._hub.breaks_after - start) if self._hub.breaks_after else None
        self._send(206 if start else 200, content[start:], headers, has_body=has_body, limit=limit)

    def _list(self, path: str) -> None:
        """What a repository is, or the files in it."""
        name, _, is_tree = path.partition("/tree/")
        name = name.partition("/revision")[0]
        files = self._hub.repositories.get(name)
        if files is None:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        listed = [
            {"type": "file", "path": file, "size": len(data), "oid": "0" * 40} for file, data in files.items()
        ]
        siblings = [{"rfilename": file} for file in files]
        info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False}
        self._send(
            200, json.dumps(listed if is_tree else info).encode(), {"Content-Type": "application/json"}
        )

    def _send(
        self,
        status: int,
        body: bytes,
        headers: Mapping[str, str],
        *,
        has_body: bool = True,
        limit: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if has_body:
            self.wfile.write(body[:limit])
