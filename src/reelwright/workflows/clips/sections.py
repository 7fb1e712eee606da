"""Sections of a clip on disk, kept as they are made, and the manifest that says what they are."""

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from reelwright.checkpoint.safetensors_io import open_tensors, save_safetensors
from reelwright.core.errors import FileError
from reelwright.core.paths import sha256_of, write_text_atomic
from reelwright.data.cache_store import content_digest
from reelwright.protocols.family import Section

_LATENTS = "latent"
_FACTS = "section"
_DIGEST = "digest"
MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class KeptSection:
    """One line of the manifest."""

    key: str
    index: int
    total: int
    file: str
    sha256: str
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shortcuts: Sequence[str] = ()


class SectionShelf:
    """The sections of one clip, those of other versions of it too: each is found by its key alone.

    A section whose file is missing or damaged counts as absent, and `notices` say so.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notices: list[str] = []
        self._kept = {kept.key: kept for kept in self._read() if self._is_whole(kept)}

    def find(self, key: str) -> Tensor | None:
        kept = self._kept.get(key)
        if kept is None:
            return None
        with open_tensors(self.folder / kept.file) as source:
            return source.read(_LATENTS)

    def shortcuts_of(self, key: str) -> tuple[str, ...]:
        """What was left out or rounded in making a section that is kept."""
        return tuple(self._kept[key].shortcuts) if key in self._kept else ()

    def keep(self, section: Section) -> Path:
        """Have the section on disk and in the manifest; its file."""
        kept = self._kept.get(section.key)
        if kept is None:
            kept = self._save(section)
        self._kept[section.key] = kept
        lines = [asdict(each) for each in self._kept.values()]
        write_text_atomic(self.folder / MANIFEST, json.dumps({"sections": lines}, indent=1) + "\n")
        return self.folder / kept.file

    def _save(self, section: Section) -> KeptSection:
        path = self.folder / f"section-{section.index:03d}_{section.key[:8]}.safetensors"
        facts: dict[str, Any] = {
            "key": section.key,
            "index": section.index,
            "total": section.total,
            "facts": dict(section.facts),
            "shortcuts": list(section.shortcuts),
        }
        text = json.dumps(facts, sort_keys=True, ensure_ascii=False)
        tensors = {_LATENTS: section.latents_BCTHW}
        save_safetensors(path, tensors, {_FACTS: text, _DIGEST: content_digest(tensors)})
        return KeptSection(**facts, file=path.name, sha256=sha256_of(path))

    def _read(self) -> list[KeptSection]:
        path = self.folder / MANIFEST
        if not path.exists():
            return self._read_files()
        try:
            lines = json.loads(path.read_text(encoding="utf-8"))["sections"]
            kept = [KeptSection(**line) for line in lines]
            if any(Path(each.file).name != each.file for each in kept):
                raise ValueError("a manifest lists files beside it only")
        except (ValueError, KeyError, TypeError, OSError):
            self.notices.append(f"{path}: is damaged; the sections are listed again from their files.")
            return self._read_files()
        return kept + self._read_files({each.file for each in kept})

    def _read_files(self, listed: Container[str] = ()) -> list[KeptSection]:
        """What files say of themselves that came too late for the manifest, or have none."""
        kept: list[KeptSection] = []
        for path in sorted(self.folder.glob("section-*.safetensors")):
            if path.name in listed:
                continue
            try:
                kept.append(_read_file(path))
            except (FileError, ValueError, KeyError, TypeError):
                self.notices.append(f"{path}: is damaged; its section is made again.")
        return kept

    def _is_whole(self, kept: KeptSection) -> bool:
        path = self.folder / kept.file
        fault = "is missing" if not path.is_file() else "is damaged"
        if path.is_file() and sha256_of(path) == kept.sha256:
            return True
        self.notices.append(f"{path}: {fault}; section {kept.index} is made again.")
        return False


def _read_file(path: Path) -> KeptSection:
    """What a file says of its section; of one that is damaged an error of several kinds."""
    with open_tensors(path) as source:
        metadata, latents = source.metadata, source.read(_LATENTS)
    if content_digest({_LATENTS: latents}) != metadata[_DIGEST]:
        raise ValueError("other values than those that were written")
    return KeptSection(**json.loads(metadata[_FACTS]), file=path.name, sha256=sha256_of(path))
