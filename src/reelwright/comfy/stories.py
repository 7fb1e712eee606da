"""Sections of a storyboard, from nodes to the file that a family reads."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from reelwright.comfy import host
from reelwright.core.config import from_mapping
from reelwright.core.paths import write_text_atomic
from reelwright.protocols.storyboards import StorySchema


def keep_story(schema: StorySchema, parts: Sequence[Mapping[str, Any]]) -> Path:
    """The file with these parts, named by what is in it. Raises ConfigError for what the schema refuses."""
    for number, part in enumerate(parts, start=1):
        from_mapping(schema.part, part, f"section {number}")
    text = tomli_w.dumps({schema.tables: [dict(part) for part in parts]})
    folder = host.output_folder() / "inputs"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.story.toml"
    write_text_atomic(path, text)
    return path
