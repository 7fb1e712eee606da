"""Tell how an output was made, from the record inside it."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from reelwright.core.events import Event, Facts
from reelwright.workflows.replay import read_record


def run(file: Path) -> Iterator[Event]:
    """Version, workflow and family, and the settings as JSON. Raises FileError where there is no record."""
    record = asdict(read_record(file))
    told = {name: str(record[name]) for name in ("version", "workflow", "family")}
    yield Facts({**told, "config": json.dumps(record["config"], ensure_ascii=False)})
