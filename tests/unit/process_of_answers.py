"""A stand-in for the process that answers: tells its number, or does what the family of the order says."""

import json
import os
import sys
import time
from pathlib import Path

for line in sys.stdin:
    order = json.loads(line)
    word, _, path = order["family"].partition(" ")
    if word == "die":
        os._exit(1)
    if word == "babble":
        sys.stdout.write('{"event": "half')
        sys.stdout.flush()
        os._exit(0)
    if word == "wait":
        Path(path).with_suffix(".asked").touch()
        while not Path(path).exists():
            time.sleep(0.02)
    for event in (
        {"event": "facts", "facts": {"process": os.getpid(), "asked": word}},
        {"event": "answered"},
    ):
        sys.stdout.write(json.dumps(event) + "\n")
        sys.stdout.flush()
