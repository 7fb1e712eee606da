"""Make a video with a studio that runs, over REST: ask, follow, fetch. Start one first: reelwright studio"""

import json
import os
import sys
import urllib.request
from http.client import HTTPResponse
from pathlib import Path

STUDIO = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:7860"
HEADERS = {"content-type": "application/json"}
if token := os.environ.get("REELWRIGHT_TOKEN"):
    HEADERS["authorization"] = f"Bearer {token}"


def call(path: str, body: dict[str, object] | None = None) -> HTTPResponse:
    data = None if body is None else json.dumps(body).encode()
    return urllib.request.urlopen(urllib.request.Request(f"{STUDIO}{path}", data, HEADERS))


video = json.load(
    call(
        "/v1/videos",
        {"model": "cogvideox/tiny", "prompt": "a red ball rolls over the floor", "config": {"steps": 4}},
    )
)
with call(f"/v1/videos/{video['id']}/events") as stream:
    for line in stream:
        if line.startswith(b"data: "):
            event = json.loads(line[len("data: ") :])
            if event["event"] == "step_done":
                print(f"{event['stage']}: step {event['step']} of {event['total']}")

video = json.load(call(f"/v1/videos/{video['id']}"))
print(video["status"], video["error"] or "")
if video["status"] == "completed":
    Path("rest.mp4").write_bytes(call(f"/v1/videos/{video['id']}/content").read())
    print("rest.mp4")
