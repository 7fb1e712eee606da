"""The sections of a run, as its folder tells them: what is made, what each shows, how the clip grows."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

PREVIEW = "preview.mp4"
_SECTIONS = Path("sections", "clip-001")
_MANIFEST = "manifest.json"
_EVENTS = "events.jsonl"


@dataclass(frozen=True, kw_only=True)
class RunSection:
    """One section that is made."""

    index: int
    """Its place in time, from 0."""
    total: int
    made: int
    """Its place in the order in which sections are made, from 0."""
    prompt: str
    seed: int | None
    clip: Path | None
    """Its frames alone, for a look at it."""

    def made_again_with(self, others: Iterable["RunSection"]) -> tuple[int, ...]:
        """The places of the sections that are made again after this one is, since they saw it."""
        return tuple(sorted(each.index for each in others if each.made > self.made))


def read_sections(run: Path) -> dict[int, RunSection]:
    """The newest version of each section that a run has made, by its place in time."""
    folder = run / _SECTIONS
    known = {section["file"]: section for section in _manifest(folder) if "file" in section}
    newest: dict[int, RunSection] = {}
    for name in [*known, *_saved_in_order(run)]:
        if name in known and (found := _section(folder, known[name])) is not None:
            newest[found.index] = found
    return dict(sorted(newest.items()))


def grown_preview(run: Path) -> Path | None:
    """The clip as far as it is made."""
    path = run / PREVIEW
    return path if path.is_file() else None


def finished_clip(run: Path) -> Path | None:
    """The whole clip of a run that has one."""
    clips = sorted(path for path in run.glob("clip-*.mp4") if path.is_file())
    return clips[0] if clips else None


def read_events(run: Path) -> Iterator[dict[str, Any]]:
    """What happened in a run, from its first start on; a line that is cut off is left out."""
    with suppress(OSError), (run / _EVENTS).open(encoding="utf-8") as lines:
        for line in lines:
            with suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict):
                    yield cast("dict[str, Any]", event)


def _saved_in_order(run: Path) -> Iterator[str]:
    """Names of section files as they came: a section that was made again, or taken back, comes later."""
    for event in read_events(run):
        if event.get("event") == "file_saved" and event.get("kind") == "section":
            yield Path(str(event.get("path", ""))).name


def _manifest(folder: Path) -> list[dict[str, Any]]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        listed = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))["sections"]
        return [cast("dict[str, Any]", each) for each in listed if isinstance(each, dict)]
    return []


def _section(folder: Path, kept: dict[str, Any]) -> RunSection | None:
    facts = kept.get("facts", {})
    try:
        clip = (folder / Path(str(kept["file"])).name).with_suffix(".mp4")
        return RunSection(
            index=int(kept["index"]),
            total=int(kept["total"]),
            made=int(facts.get("made", kept["index"])),
            prompt=str(facts.get("prompt", "")),
            seed=facts.get("seed"),
            clip=clip if clip.is_file() else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
